"""The real series through the real command line, on git repositories of the fake trees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from patchgen.cli import run
from patchgen.engine.series import load_default_series
from tests.fakeqemu import ERAS, Era, changed, describe, fake_tree, render
from tests.minirepo import git, make_repo
from tests.unit.test_cli import checked

COUNT = len(load_default_series().entries)


@pytest.fixture(params=ERAS.values(), ids=ERAS)
def era(request: pytest.FixtureRequest) -> Era:
    chosen: Era = request.param
    return chosen


@pytest.fixture
def repo(era: Era, tmp_path: Path) -> Path:
    return make_repo(tmp_path / "qemu", fake_tree(era), era.tag)


def test_apply_twice_gives_the_same_ids(
    era: Era, repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def apply(where: Path) -> dict[str, object]:
        assert run(["apply", era.tag, "--repo", str(where), "--json"]) == 0
        data = checked("apply", capsys.readouterr().out)
        assert data["ok"] is True
        result: dict[str, object] = data["result"]
        return result

    first = apply(repo)
    assert (first["state"], first["version"]) == ("created", era.version)
    patches = first["patches"]
    assert isinstance(patches, list) and len(patches) == COUNT
    assert {(p["state"], *p["by_text"]) for p in patches} == {("applied",)}
    assert apply(repo) == {**first, "state": "unchanged", "previous": first["head"]}
    other = apply(make_repo(tmp_path / "elsewhere", fake_tree(era), era.tag))
    assert other["patches"] == patches
    assert git(repo, "status", "--porcelain") == ""
    git(repo, "fsck", "--strict")


def test_git_am_of_the_mails_gives_the_same_tree(era: Era, repo: Path) -> None:
    assert run(["apply", era.tag, "--repo", str(repo), "--signoff"]) == 0
    branch = f"cpr/{era.tag}"
    mails = subprocess.run(
        ["git", "format-patch", "--stdout", f"{era.tag}..{branch}"],
        cwd=repo,
        check=True,
        capture_output=True,
    ).stdout
    git(repo, "checkout", "-q", "--detach", era.tag)
    subprocess.run(["git", "am", "-q"], cwd=repo, input=mails, check=True, capture_output=True)
    assert git(repo, "rev-parse", "HEAD^{tree}") == git(repo, "rev-parse", f"{branch}^{{tree}}")
    assert git(repo, "rev-list", "--count", f"{era.tag}..HEAD") == str(COUNT)
    assert git(repo, "diff", "--check", era.tag, branch) == ""


def test_upto_and_show(era: Era, repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--repo", str(repo), "--json"]
    assert run(["apply", era.tag, "--upto", "3", *at]) == 0
    part = checked("apply", capsys.readouterr().out)["result"]
    assert len(part["patches"]) == 3
    assert run(["apply", era.tag, *at]) == 0
    whole = checked("apply", capsys.readouterr().out)["result"]
    assert (whole["state"], whole["previous"]) == ("replaced", part["head"])
    assert whole["patches"][:3] == part["patches"]
    refs = git(repo, "for-each-ref")
    assert run(["show", "4", "--tag", era.tag, *at]) == 0
    shown = checked("show", capsys.readouterr().out)["result"]
    assert shown["state"] == "applied"
    markup = "+@findex cprsave\n" if era.markup == "texinfo" else "+``cprsave`` *file* *mode*\n"
    assert markup in shown["diff"]
    assert "qmp_cprsave(file, mode, &err);" in shown["diff"]
    assert git(repo, "for-each-ref") == refs


def test_drift_writes_nothing_and_tells_where_to_look(
    era: Era, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = changed(describe(era), era.vl, lambda t: None if t.name == "wakeup_reason_mask" else t)
    repo = make_repo(tmp_path / "qemu", render(gone), era.tag)
    before = git(repo, "count-objects", "-v"), git(repo, "for-each-ref")
    argv = ["apply", era.tag, "--repo", str(repo)]
    assert run([*argv, "--json"]) == 3
    data = checked("apply", capsys.readouterr().out)
    assert data["ok"] is False
    assert data["result"]["state"] == "not-written"
    states = {p["number"]: p["state"] for p in data["result"]["patches"]}
    assert {n for n, state in states.items() if state == "drifted"} >= {5, 7, 9}
    assert all(states[n] == "applied" for n in (1, 2, 3, 4, 6, 8))
    drifts = [d for p in data["result"]["patches"] for d in p["drifts"]]
    assert "PG351" in {d["code"] for d in drifts if d["patch"] == 5}
    assert [d["needs"] for d in drifts if d["patch"] == 7] == [[5]]
    assert run(argv) == 3
    out = capsys.readouterr().out
    assert "PG351" in out and "needs patch 5, which drifted" in out and "was not written" in out
    assert (git(repo, "count-objects", "-v"), git(repo, "for-each-ref")) == before
    # What comes before the drift can be had.
    assert run([*argv, "--upto", "4"]) == 0
