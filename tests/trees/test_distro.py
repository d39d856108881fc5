"""The distribution's real source packages, through the host's apt and its mirror."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.trees, pytest.mark.timeout(900)]


def _run(cache: Path, *words: str) -> Any:
    env = {**os.environ, "PATCHGEN_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-m", "patchgen", *words, "--json"],
        env=env,
        capture_output=True,
        check=False,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A cache with the suites' indexes, and what `sources` says of the distribution."""
    cache = tmp_path_factory.mktemp("cache")
    result = _run(cache, "sources", "--source", "distro")["result"]
    if not result["versions"]:
        reasons = "; ".join(f"{x['place']}: {x['reason']}" for x in result["places"])
        pytest.skip(f"the distribution's mirror cannot be reached: {reasons}")
    return cache, result


def test_sources_lists_the_suites(listed: tuple[Path, dict[str, Any]]) -> None:
    tags = [x["tag"] for x in listed[1]["versions"]]
    for start in ("v5.2.0", "v7.2.0", "v10.0.", "v10.2."):
        assert any(x.startswith(start) for x in tags), (start, listed[1]["places"])


def _resolve(cache: Path, tag: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    from patchgen.config import Config
    from patchgen.source.resolve import resolve
    from patchgen.ui import Ui

    monkeypatch.setenv("PATCHGEN_CACHE", str(cache))
    return resolve(tag, repo=None, source="distro", config=Config(), ui=Ui(quiet=True))


def test_bullseye_has_5_2_and_its_id_is_the_same_again(
    listed: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _resolve(listed[0], "v5.2.0", monkeypatch)
    assert (first.version, first.date, first.origin) == ("5.2.0", 1607442919, "distro")
    assert first.place.startswith("bullseye qemu 1:5.2+dfsg-")
    # The orig tarball of bullseye does not change any more, so neither does its tree.
    assert first.tree == "4b0e4503cd42fa0d504d481aefa924668753679b"
    again = _resolve(listed[0], "v5.2.0", monkeypatch)
    assert again.commit == first.commit
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    other = _resolve(tmp_path / "other", "v5.2.0", monkeypatch)
    assert (other.commit, other.tree) == (first.commit, first.tree)
