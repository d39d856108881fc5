"""The built QEMU, and guests that end with the test."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchgen.cli import run

from .guest import FIRMWARE, Guest


@pytest.fixture(scope="session")
def qemu() -> Path:
    """The binary of the distribution's 5.2 with the series."""
    out = io.StringIO()
    # Made once for all tests, before the environment of the first of them is sealed.
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "Test User")
            patch.setenv(f"GIT_{who}_EMAIL", "test@example.org")
        code = run(["build", "v5.2.0", "--source", "distro", "--json"])
    data = json.loads(out.getvalue())
    assert code == 0, data
    return Path(data["result"]["binary"])


@pytest.fixture
def guests(qemu: Path, tmp_path: Path) -> Iterator[Any]:
    """A function that starts guests, all in one directory; they are ended with the test."""
    if not all(directory.is_dir() for directory in FIRMWARE):
        pytest.skip("no firmware: the packages seabios and qemu-system-data are not installed")
    started: list[Guest] = []

    def start(*more: str, **options: Any) -> Guest:
        started.append(Guest(qemu, tmp_path, *more, **options))
        return started[-1]

    yield start
    for guest in started:
        guest.quit()
