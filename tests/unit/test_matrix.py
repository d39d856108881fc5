"""Patch by tag: patterns, states, needs, errors as cells, the same whatever the number of jobs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from patchgen.cli import run
from patchgen.commands.matrix import spans
from patchgen.engine.generate import PatchResult, _PatchRun
from patchgen.engine.series import Series, load_default_series
from patchgen.errors import SourceUnavailable
from patchgen.matrix import Outcome, Prober, Task
from patchgen.source import pick
from patchgen.source.resolve import Base, resolve
from tests.fakeqemu import ERAS, changed, describe, fake_tree, render
from tests.minirepo import git, make_repo
from tests.unit.test_cli import checked

SERIES = load_default_series()
COUNT = len(SERIES.entries)
TREES = {era.tag: fake_tree(era) for era in ERAS.values()}
OLD, MIDDLE, NEW = TREES


def drifting(name: str) -> dict[str, bytes]:
    """A tree in which a function that patch 5 hooks is gone, and others wait for that patch."""
    era = ERAS[name]
    gone = changed(describe(era), era.vl, lambda t: None if t.name == "wakeup_reason_mask" else t)
    return render(gone)


def tagged(path: Path, trees: Mapping[str, Mapping[str, bytes]]) -> Path:
    """A repository with a commit and a tag for each tree."""
    for number, (tag, files) in enumerate(trees.items()):
        if number == 0:
            make_repo(path, files, tag)
            continue
        git(path, "rm", "-rq", ".")
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        git(path, "add", "-A")
        git(path, "commit", "-q", "--allow-empty", "-m", tag)
        git(path, "tag", tag)
    return path


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """All eras, not in the order of the releases, and names that a pattern leaves out."""
    trees = {tag: TREES[tag] for tag in (NEW, OLD, MIDDLE)}
    trees |= {"v4.1.0": TREES[OLD], "v5.2.0-rc1": TREES[NEW], "stable-5.0": TREES[MIDDLE]}
    return tagged(tmp_path / "qemu", trees)


@pytest.fixture
def matrix(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Runs the command; exit code and result."""

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        code = run(["matrix", *words, "--json"])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        data = checked("matrix", said.out)
        assert data["ok"] is (code == 0)
        return code, data["result"] if "result" in data else data["error"]

    return call


Call = Callable[..., tuple[int, dict[str, Any]]]


def states(result: dict[str, Any], tag: str) -> list[str]:
    """The states of a tag's cells by patch."""
    return [cell["state"] for cell in result["cells"] if cell["tag"] == tag]


def test_a_pattern_means_the_releases_in_their_order(repo: Path, matrix: Call) -> None:
    before = git(repo, "count-objects", "-v"), git(repo, "for-each-ref")
    code, result = matrix("v*", "--repo", str(repo))
    assert code == 0
    assert [tag["tag"] for tag in result["tags"]] == [OLD, MIDDLE, NEW]
    assert [tag["version"] for tag in result["tags"]] == [tag[1:] for tag in (OLD, MIDDLE, NEW)]
    assert [patch["number"] for patch in result["patches"]] == list(range(1, COUNT + 1))
    order = [(cell["tag"], cell["patch"]) for cell in result["cells"]]
    assert order == [(tag, n) for tag in (OLD, MIDDLE, NEW) for n in range(1, COUNT + 1)]
    assert {cell["state"] for cell in result["cells"]} == {"applied"}
    assert all(cell["files"] for cell in result["cells"])
    assert result["series"] == SERIES.digest
    assert (git(repo, "count-objects", "-v"), git(repo, "for-each-ref")) == before


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (["v5.2.0-rc*"], ["v5.2.0-rc1"]),
        (["v5.[12].0"], ["v5.1.0", "v5.2.0"]),
        (["v4.1.0", "v5.2.0-rc1"], ["v4.1.0", "v5.2.0-rc1"]),
        (["stable-5.0", "v5.2.0", "v*"], ["stable-5.0", "v5.2.0", "v4.2.0", "v5.1.0"]),
    ],
)
def test_what_is_meant(words: list[str], tags: list[str], repo: Path, matrix: Call) -> None:
    code, result = matrix(*words, "--repo", str(repo), "--upto", "1")
    assert code == 0
    assert [tag["tag"] for tag in result["tags"]] == tags
    assert len(result["cells"]) == len(tags)
    assert {tag["pin"] for tag in result["tags"]} == {"unknown"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["v5.2.0", "v9.9.9"], "PG113", "v9.9.9"),
        (["v9*"], "PG113", "fits no release tag"),
        (["v4.1*"], "PG113", "releases before 4.2"),
        (["v5.2.0", "--jobs", "-1"], "PG101", "--jobs"),
        (["v5.2.0", "--upto", "99"], "PG301", "99"),
    ],
)
def test_wrong_input(words: list[str], code: str, said: str, repo: Path, matrix: Call) -> None:
    exit_code, error = matrix(*words, "--repo", str(repo))
    assert (exit_code, error["code"]) == (2, code)
    assert said in error["message"]


def test_a_pattern_without_a_place_is_over_the_cache(matrix: Call) -> None:
    code, error = matrix("v*")
    assert (code, error["code"]) == (2, "PG113")
    assert "cache" in error["message"]
    code, error = matrix("v*", "--repo", "/nowhere/at/all")
    assert (code, error["code"]) == (2, "PG201")


def test_drift_with_needs_is_said_once(
    tmp_path: Path, matrix: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    trees = {"v5.1.0": drifting("make-rst"), "v5.1.1": drifting("make-rst"), NEW: TREES[NEW]}
    trees["v5.1.1"]["README"] = b"another tree\n"
    repo = tagged(tmp_path / "qemu", trees)
    code, result = matrix("v*", "--repo", str(repo), "--jobs", "2")
    assert code == 3
    for tag in ("v5.1.0", "v5.1.1"):
        found = dict(enumerate(states(result, tag), 1))
        assert found[1] == found[3] == "applied"
        assert found[5] == found[7] == "drifted"
    assert set(states(result, NEW)) == {"applied"}
    cells = {cell["patch"]: cell for cell in result["cells"] if cell["tag"] == "v5.1.0"}
    assert [drift["needs"] for drift in cells[7]["drifts"]] == [[5]]
    assert any(drift["candidates"] for drift in cells[5]["drifts"])
    tags = {tag["tag"]: tag for tag in result["tags"]}
    assert tags["v5.1.0"]["files"] == "" and tags[NEW]["files"]
    assert run(["matrix", "v*", "--repo", str(repo)]) == 3
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith("v5")}
    assert rows["v5.1.0"][5] == "x" and rows["v5.1.0"][7] == "o"
    assert rows[NEW][1:] == ["+"] * COUNT + ["all"]
    lines = out.splitlines()
    assert out.count("PG358 1 edit waits for patch 5\n    v5.1.0, v5.1.1\n") >= 1
    assert len([x for x in lines if "PG351" in x or "PG352" in x]) == len(
        {x for x in lines if "PG351" in x or "PG352" in x}
    )
    drifted = sum(cell["state"] == "drifted" for cell in result["cells"])
    assert f"{drifted} drifted (" in lines[-1] and lines[-1].startswith(f"3 tags, {COUNT} patches")


def broken_series(number: int) -> Series:
    """The series with a condition in one patch that nobody can understand."""
    entry = SERIES.entry(number)
    edits = [msgspec.structs.replace(edit, when="no_such_fact") for edit in entry.patch.edit]
    patch = msgspec.structs.replace(entry.patch, edit=tuple(edits))
    entries = tuple(replace(e, patch=patch) if e is entry else e for e in SERIES.entries)
    return replace(SERIES, entries=entries)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_error_is_a_cell(
    jobs: str,
    repo: Path,
    matrix: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    series = broken_series(3)
    monkeypatch.setattr("patchgen.engine.series.load_default_series", lambda: series)
    code, result = matrix("v*", "--repo", str(repo), "--jobs", jobs)
    assert code == 1
    for tag in (OLD, MIDDLE, NEW):
        found = {cell["patch"]: cell for cell in result["cells"] if cell["tag"] == tag}
        assert [found[n]["state"] for n in (1, 2, 3)] == ["applied", "applied", "error"]
        assert found[3]["error"]["code"] == "PG303" and found[3]["error"]["fix"]
        assert found[5]["state"] == "drifted"
        assert {n for drift in found[5]["drifts"] for n in drift["needs"]} == {3}
    assert run(["matrix", "v*", "--repo", str(repo), "--jobs", jobs]) == 1
    out = capsys.readouterr().out
    assert out.count("PG303") == 1
    assert f"patch 3 on {OLD} … {NEW} (3 tags)" in out


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_bug_is_a_cell(
    jobs: str, repo: Path, matrix: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _PatchRun.result

    def result_of(self: _PatchRun) -> PatchResult:
        if self._entry.number == 2:
            raise RuntimeError("oops\nand more")
        return real(self)

    monkeypatch.setattr(_PatchRun, "result", result_of)
    code, result = matrix("v*", "--repo", str(repo), "--jobs", jobs)
    assert code == 1
    errors = [cell for cell in result["cells"] if cell["state"] == "error"]
    assert [cell["patch"] for cell in errors] == [2, 2, 2]
    assert {cell["error"]["message"] for cell in errors} == {"RuntimeError: oops"}
    assert {cell["error"]["code"] for cell in errors} == {"PG900"}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_content_that_is_missing_is_an_error_and_no_drift(
    jobs: str, tmp_path: Path, matrix: Call
) -> None:
    trees = {OLD: TREES[OLD], NEW: {**TREES[NEW], "qapi/migration.json": b"# lost\n"}}
    repo = tagged(tmp_path / "qemu", trees)
    blob = git(repo, "rev-parse", f"{NEW}:qapi/migration.json")
    (repo / ".git/objects" / blob[:2] / blob[2:]).unlink()
    code, result = matrix("v*", "--repo", str(repo), "--jobs", jobs)
    assert code == 1
    assert set(states(result, OLD)) == {"applied"}
    assert set(states(result, NEW)) == {"error"}
    errors = {(c["error"]["code"], c["error"]["message"]) for c in result["cells"] if c["error"]}
    assert len(errors) == 1
    code_of, message = errors.pop()
    assert code_of == "PG122" and "cannot read qapi/migration.json" in message
    assert run(["apply", NEW, "--repo", str(repo), "--dry-run"]) == 2


def test_a_worker_that_is_killed_takes_no_other_tag_with_it(
    repo: Path, matrix: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Prober.probe
    doomed = git(repo, "rev-parse", f"{MIDDLE}^{{commit}}")

    def probe(self: Prober, task: Task) -> Outcome:
        if task.commit == doomed:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, task)

    monkeypatch.setattr(Prober, "probe", probe)
    code, result = matrix("v*", "--repo", str(repo), "--jobs", "2")
    assert code == 1
    assert set(states(result, OLD)) == set(states(result, NEW)) == {"applied"}
    assert set(states(result, MIDDLE)) == {"error"}
    messages = {cell["error"]["message"] for cell in result["cells"] if cell["error"]}
    assert messages == {"the worker process was killed"}


def test_a_tag_of_a_pattern_that_cannot_be_had_is_a_row_of_errors(
    repo: Path, matrix: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(tag: str, **more: Any) -> Base:
        if tag == MIDDLE:
            raise SourceUnavailable(f"{tag} cannot be had: the mirror lost it", "try later")
        return resolve(tag, **more)

    monkeypatch.setattr(pick, "resolve", without)
    code, result = matrix("v*", "--repo", str(repo))
    assert code == 1
    assert [tag["tag"] for tag in result["tags"]] == [OLD, MIDDLE, NEW]
    assert set(states(result, MIDDLE)) == {"error"}
    assert set(states(result, NEW)) == {"applied"}
    code, error = matrix(MIDDLE, NEW, "--repo", str(repo))
    assert (code, error["code"]) == (2, "PG201")


def test_the_same_whatever_the_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees = {**TREES, "v5.2.1": drifting("meson"), "v5.1.1": drifting("make-rst")}
    repo = tagged(tmp_path / "qemu", trees)
    words = ["v*", NEW, git(repo, "rev-parse", NEW)]
    said = []
    for jobs in ("1", "2", "2", "5"):
        assert run(["matrix", *words, "--repo", str(repo), "--jobs", jobs, "--json"]) == 3
        first = capsys.readouterr().out
        assert run(["matrix", *words, "--repo", str(repo), "--jobs", jobs]) == 3
        said.append((first, capsys.readouterr().out))
    assert said[1:] == said[:1] * 3


def test_one_tree_by_two_names_is_tried_once(
    repo: Path, matrix: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    real = Prober.probe
    monkeypatch.setattr(
        Prober, "probe", lambda self, task: (tried.append(task.name), real(self, task))[1]
    )
    code, result = matrix(NEW, "v5.2.0-rc1", "--repo", str(repo), "--jobs", "1")
    assert code == 0
    assert tried == [NEW]
    first, second = (
        [{**cell, "tag": ""} for cell in result["cells"] if cell["tag"] == tag]
        for tag in (NEW, "v5.2.0-rc1")
    )
    assert first == second


def test_applied_again_it_is_already_there(
    repo: Path, matrix: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", NEW, "--repo", str(repo)]) == 0
    assert run(["apply", NEW, "--repo", str(repo), "--upto", "3", "--branch", "part"]) == 0
    capsys.readouterr()
    code, result = matrix(f"cpr/{NEW}", "part", "--repo", str(repo))
    assert code == 0
    assert set(states(result, f"cpr/{NEW}")) == {"already-there"}
    assert states(result, "part") == ["already-there"] * 3 + ["applied"] * (COUNT - 3)
    assert all(c["already"] for c in result["cells"] if c["state"] == "already-there")


def test_spans() -> None:
    order = [f"v{n}" for n in range(8)]
    assert spans(["v0"], order) == "v0"
    assert spans(["v0", "v1"], order) == "v0, v1"
    assert spans(["v0", "v2", "v3", "v4", "v6", "v7"], order) == "v0, v2 … v4 (3 tags), v6, v7"
