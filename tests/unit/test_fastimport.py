"""One fast-import process: ids that git can read at once, and a failure in git's own words."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from patchgen.errors import GitFailed
from patchgen.git.fastimport import FastImport, NewCommit
from patchgen.git.repo import Identity, Repo
from tests.minirepo import git, make_repo

AUTHOR = Identity("Test User", "test@example.org")


def commit(number: int) -> NewCommit:
    """A commit of one small file."""
    return NewCommit(f"number {number}\n", 1_600_000_000 + number, {"f": b"%d\n" % number}, {})


def test_commits_can_be_read_while_the_process_goes_on(tmp_path: Path) -> None:
    place = make_repo(tmp_path / "qemu")
    base = git(place, "rev-parse", "HEAD")
    with closing(FastImport(Repo(place / ".git"), "refs/x", base, AUTHOR)) as importer:
        first = importer.add([commit(1)])
        assert git(place, "show", f"{first[0]}:f") == "1"
        rest = importer.add([commit(2), commit(3)])
    log = git(place, "log", "--reverse", "--format=%H %s", f"{base}..refs/x").splitlines()
    assert log == [f"{name} number {n}" for n, name in enumerate([*first, *rest], 1)]
    git(place, "fsck", "--strict")


def test_a_failure_is_told(tmp_path: Path) -> None:
    with (
        closing(FastImport(Repo(tmp_path / "none"), "refs/x", "0" * 40, AUTHOR)) as importer,
        pytest.raises(GitFailed, match="not a git repository"),
    ):
        importer.add([commit(1)])


def test_a_base_that_is_not_there_is_told(tmp_path: Path) -> None:
    place = make_repo(tmp_path / "qemu")
    with (
        closing(FastImport(Repo(place / ".git"), "refs/x", "1" * 40, AUTHOR)) as importer,
        pytest.raises(GitFailed, match="fast-import failed"),
    ):
        importer.add([commit(1)])
