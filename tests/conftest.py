"""Fixtures of all tests: a sealed environment, no test touches the user's things."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patchgen.paths import cache_dir

# Taken before the environment is sealed: tests on real sources share the user's cache, so that
# they are fetched and compiled once.
_REAL_CACHE = os.environ.get("PATCHGEN_CACHE") or str(cache_dir())
_REAL_HOME = os.environ.get("HOME", "/")


@pytest.fixture(autouse=True)
def sealed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """An empty HOME, no git configuration, a fixed identity; a cache of the test's own.

    Tests marked ``trees`` or ``live`` keep the real cache.
    """
    home = tmp_path_factory.mktemp("home")
    shared = any(request.node.get_closest_marker(name) for name in ("trees", "live"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATCHGEN_CACHE", _REAL_CACHE if shared else str(home / "cache"))
    monkeypatch.setenv("PATCHGEN_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("PATCHGEN_REVIEWS", str(home / "reviews.toml"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test User")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.org")
    for name in (
        "PATCHGEN_QEMU_REPO",
        "PATCHGEN_UPSTREAM",
        "PATCHGEN_DEBUG",
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def real_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's HOME again, for programs that keep their own state there (apt, pip)."""
    monkeypatch.setenv("HOME", _REAL_HOME)
