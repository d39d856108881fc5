"""The whole series on real sources: applied and pinned on 5.2, told as drift on what is newer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchgen.cli import run
from patchgen.config import Config
from patchgen.engine.generate import State, generate
from patchgen.engine.series import load_default_series
from patchgen.engine.tree import Tree
from patchgen.errors import SourceUnavailable
from patchgen.git.objects import CommitFiles
from patchgen.git.repo import Repo
from patchgen.source.resolve import Base, resolve
from patchgen.ui import Ui

pytestmark = [pytest.mark.trees, pytest.mark.timeout(900), pytest.mark.xdist_group("trees")]

BRANCH = f"test/{os.getpid()}"


def base(tag: str) -> Base:
    """The distribution's sources of *tag*; skips where the mirror cannot be reached."""
    try:
        return resolve(tag, repo=None, source="distro", config=Config(), ui=Ui(quiet=True))
    except SourceUnavailable as exc:
        pytest.skip(f"the distribution's {tag} cannot be had: {exc.message}")


@pytest.fixture
def applied(capsys: pytest.CaptureFixture[str]) -> Iterator[dict[str, Any]]:
    """The record of `apply` on the distribution's 5.2, on a branch of the test's own."""
    repo = base("v5.2.0").repo
    code = run(["apply", "v5.2.0", "--source", "distro", "--branch", BRANCH, "--signoff", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert code == 0, data
    yield data["result"]
    repo.git("update-ref", "-d", f"refs/heads/{BRANCH}")


def git(record: dict[str, Any], *args: str) -> str:
    """One git command on the record's repository."""
    return Repo(Path(record["repo"])).line(*args)


def test_every_patch_applies_and_is_pinned(applied: dict[str, Any]) -> None:
    assert [p["state"] for p in applied["patches"]] == ["applied"] * len(applied["patches"])
    assert applied["pin"] == "equal"
    assert not any(p["by_text"] for p in applied["patches"])
    subjects = git(applied, "log", "--reverse", "--format=%s", f"{applied['base']}..{BRANCH}")
    assert subjects.splitlines() == [p["subject"] for p in applied["patches"]]
    assert git(applied, "fsck", "--connectivity-only", "--no-dangling", BRANCH) == ""


def test_a_second_run_is_unchanged(
    applied: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["apply", "v5.2.0", "--source", "distro", "--branch", BRANCH, "--signoff", "--json"]
    assert run(argv) == 0
    again = json.loads(capsys.readouterr().out)["result"]
    assert (again["state"], again["head"]) == ("unchanged", applied["head"])


def test_applied_again_everything_is_already_there() -> None:
    at = base("v5.2.0")
    series = load_default_series()
    with CommitFiles(at.repo, at.commit) as files:
        tree = Tree(files)
        generate(series, tree)
        for result in generate(series, tree):
            assert result.state is State.ALREADY_THERE, result
            assert not result.files


def test_git_am_of_the_patches_gives_the_same_tree(applied: dict[str, Any], tmp_path: Path) -> None:
    repo = applied["repo"]
    mails = subprocess.run(
        ["git", "--git-dir", repo, "format-patch", "--stdout", f"{applied['base']}..{BRANCH}"],
        check=True,
        capture_output=True,
    ).stdout

    def there(*args: str, stdin: bytes | None = None) -> str:
        done = subprocess.run(
            ["git", *args], cwd=tmp_path, input=stdin, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    there("clone", "-q", "--shared", "--no-checkout", repo, ".")
    there("checkout", "-q", "--detach", applied["base"])
    there("am", "-q", stdin=mails)
    assert there("rev-parse", "HEAD^{tree}") == applied["tree"]


def test_exported_files_are_the_branch(applied: dict[str, Any], tmp_path: Path) -> None:
    """`export` on a clone, then `git am` of its files: the same tree, the same mails again."""
    clone, out = tmp_path / "a clone", tmp_path / "out"

    def there(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=clone, check=True, capture_output=True)
        return done.stdout.decode().strip()

    clone.mkdir()
    there("clone", "-q", "--shared", "--no-checkout", applied["repo"], ".")
    argv = [
        "export",
        applied["base"],
        "--repo",
        str(clone),
        "-o",
        str(out),
        "--no-gate=compile",
        "--signoff",
    ]
    assert run(argv) == 0
    mails = sorted(out.glob("*.patch"))
    assert len(mails) == len(applied["patches"]) + 1
    there("checkout", "-q", "--detach", applied["base"])
    there("am", "-q", "--empty=drop", *map(str, mails))
    assert there("rev-parse", "HEAD^{tree}") == applied["tree"]
    before = [path.read_bytes() for path in mails]
    argv[argv.index(str(out))] = str(tmp_path / "again")
    assert run(argv) == 0
    assert [path.read_bytes() for path in sorted((tmp_path / "again").glob("*.patch"))] == before


def test_checkpatch_of_the_tag_finds_nothing(applied: dict[str, Any], tmp_path: Path) -> None:
    """0 errors, 0 warnings; what a patch accepts stands in its series file, with the reason."""
    script = tmp_path / "checkpatch.pl"
    script.write_text(git(applied, "show", f"{applied['base']}:scripts/checkpatch.pl"), "utf-8")
    accepted = {e.number: e.patch.checkpatch for e in load_default_series().entries}
    for patch in applied["patches"]:
        mail = git(applied, "format-patch", "-1", "--stdout", patch["commit"])
        done = subprocess.run(
            ["perl", str(script), "--no-tree", "--no-color", "-"],
            input=mail,
            capture_output=True,
            text=True,
            check=False,
        )
        found = [x for x in done.stdout.splitlines() if x.startswith(("ERROR: ", "WARNING: "))]
        left = [
            x for x in found if not any(y.split(" | ")[0] in x for y in accepted[patch["number"]])
        ]
        assert left == [], patch["subject"]
        assert "total: " in done.stdout, done.stderr


@pytest.mark.parametrize("start", ["v7.2.", "v10.0.", "v10.2."])
def test_newer_trees_are_told_as_drift_never_as_a_crash(start: str) -> None:
    from patchgen.source.tags import known_tags

    tags = [tag for tag in known_tags() if tag.startswith(start)]
    for tag in reversed(tags):
        try:
            at = resolve(tag, repo=None, source="distro", config=Config(), ui=Ui(quiet=True))
        except SourceUnavailable:
            continue
        with CommitFiles(at.repo, at.commit) as files:
            results = generate(load_default_series(), Tree(files))
        drifts = [drift for result in results for drift in result.drifts]
        assert all(drift.code.startswith("PG35") and drift.reason for drift in drifts)
        print(tag, [result.state.value for result in results], file=sys.stderr)
        return
    pytest.skip(f"the mirror serves no {start}x now")
