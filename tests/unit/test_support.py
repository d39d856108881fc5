"""support: the table, what of it is of today's series; ci/record: real output in, nothing else."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patchgen.cli import run
from patchgen.engine.series import load_default_series
from patchgen.errors import SeriesError
from patchgen.live.scenario import promised
from patchgen.paths import data_dir
from patchgen.pins import Pin, load_pins
from patchgen.support import (
    Applied,
    Built,
    Checked,
    Each,
    Pinned,
    Verified,
    base_kind,
    load_support,
    support_of,
)
from tests.fakeqemu import ERAS, fake_tree
from tests.minirepo import git, make_repo
from tests.unit.test_cli import checked

TOP = Path(__file__).parents[2]
SERIES = load_default_series()
NAMES = [entry.name for entry in SERIES.entries]
COUNT = sum(not one.scenario.long for one in promised(SERIES))
DATE = datetime.date(2020, 7, 30)
ERA = ERAS["meson"]


def applied(series: str = SERIES.digest, files: str = "f", drifted: int = 0) -> Applied:
    fit = len(NAMES) - drifted
    return Applied(DATE, "0.1.0", series, len(NAMES), fit, 0, 0, drifted, files)


def pinned(last: str = "t", files: str = "f") -> Pin:
    return Pin("v5.2.0", "git", files, {**dict.fromkeys(NAMES, "t"), NAMES[-1]: last})


def test_what_is_of_another_series_is_told() -> None:
    built = Built(DATE, "0.1.0", "t", 9, "full")
    each = Each(DATE, "0.1.0", "old", 9, "objects")
    verified = {
        "b": Verified("v5.2.0", "distro", applied()),
        "a": Verified("v5.2.0", "git", applied(), built, each, Checked(DATE, "0", "t", 9, 3, 1, 2)),
        "c": Verified("v4.2.0", "git", applied("other")),
        "d": Verified("v10.0.0", "git", applied(files="g")),
    }
    few = Pin("v5.0.0", "git", "f", {"01-a": "t"})
    pins = {"a": pinned(), "c": pinned("new"), "d": pinned(), "e": few}
    record = support_of(verified, pins, SERIES)
    rows = {row.base_tree: row for row in record.rows}
    assert [row.base_tree for row in record.rows] == ["c", "e", "a", "b", "d"]
    assert rows["a"].current == ("applied", "built", "checked")
    assert rows["c"].current == ()
    assert {tree: row.pin for tree, row in rows.items()} == {
        "a": Pinned.YES,
        "b": Pinned.NO,
        "c": Pinned.YES,
        "d": Pinned.OLDER,
        "e": Pinned.OLDER,
    }


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    built = Built(DATE, "0.1.0", "t", 9, "minimal")
    each = Each(DATE, "0.1.0", "old", 9, "full")
    check = Checked(DATE, "0.1.0", "t", 9, 3, 1, 2)
    verified = {
        "a" * 40: Verified("v5.2.0", "git", applied(), built, each, check),
        "b" * 40: Verified("v6.0.0", "distro", applied(drifted=2)),
    }
    monkeypatch.setattr("patchgen.support.load_support", lambda _: verified)
    monkeypatch.setattr("patchgen.pins.load_pins", lambda _: {"a" * 40: pinned()})
    assert run(["support"]) == 0
    head, first, second, note = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "TAG" and head.endswith("PIN")
    assert first.split()[:3] == ["v5.2.0", "git", "a" * 12]
    wanted = "all 2020-07-30 minimal 2020-07-30 full 2020-07-30* 3 passed, 1 failed 2020-07-30 yes"
    assert wanted in " ".join(first.split())
    assert f"{len(NAMES) - 2} of {len(NAMES)} 2020-07-30" in second
    assert second.endswith("-")
    assert note == "* with another state of the series"
    assert run(["support", "--json"]) == 0
    rows = checked("support", capsys.readouterr().out)["result"]["rows"]
    assert rows[0]["built"]["date"] == "2020-07-30"
    monkeypatch.setattr("patchgen.support.load_support", lambda _: {})
    monkeypatch.setattr("patchgen.pins.load_pins", lambda _: {})
    assert run(["support"]) == 0
    assert capsys.readouterr().out == "nothing is recorded\n"


def test_our_own_records() -> None:
    """Each is of a base tree that is pinned, of the same release and the same whose tree."""
    verified = load_support(data_dir("qemu-ref") / "support.toml")
    pins = load_pins(data_dir("qemu-ref") / "pins.toml")
    assert verified
    for tree, one in verified.items():
        if one.applied is not None and one.applied.fit == one.applied.patches:
            assert (pins[tree].tag, pins[tree].source) == (one.tag, one.source)
    assert run(["support", "--json"]) == 0


def test_files(tmp_path: Path) -> None:
    assert load_support(tmp_path / "none.toml") == {}
    bad = tmp_path / "support.toml"
    for text in ("[", "x = 1", "[x]\ntag = 'v1'\n", "[x]\ntag='v1'\nsource='git'\nmore=1\n"):
        bad.write_text(text, encoding="utf-8")
        with pytest.raises(SeriesError):
            load_support(bad)


def test_whose_tree_a_base_is() -> None:
    known = "553032db17440f8de011390e5a1cfddd13751b0b"
    assert base_kind(known, "cache") == "git"
    assert base_kind("0" * 40, "cache") == ""
    assert base_kind("0" * 40, "distro") == "distro"
    assert base_kind("0" * 40, "repo") == "git"


# --- ci/record and ci/pin, on a copy of the project's data ------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The tool with reference data of the test's own."""
    top = tmp_path / "project"
    for name in ("patchgen", "series", "templates", "ci"):
        shutil.copytree(TOP / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TOP / "qemu-ref", top / "qemu-ref")
    shutil.copy(TOP / "pyproject.toml", top)
    (top / "qemu-ref/pins.toml").unlink()
    (top / "qemu-ref/support.toml").unlink()
    (top / "bin").mkdir()
    tool = top / "bin/patchgen"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m patchgen "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    return top


def inside(project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a script with the project's copy of the tool."""
    path = f"{project / 'bin'}:{os.environ['PATH']}"
    env = {**os.environ, "PYTHONPATH": str(project), "PATH": path}
    return subprocess.run(
        [sys.executable, *argv], cwd=project, env=env, capture_output=True, text=True, check=False
    )


def said(project: Path, file: Path, *words: str) -> Any:
    """A command's JSON, kept in *file*."""
    done = inside(project, "-m", "patchgen", *words, "--json")
    file.write_text(done.stdout, encoding="utf-8")
    os.utime(file, (1_600_000_000, 1_600_000_000))
    return json.loads(done.stdout)


def test_pin_and_record_write_what_verify_and_support_read(project: Path, tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "qemu", fake_tree(ERA), ERA.tag)
    tree = git(repo, "rev-parse", f"{ERA.tag}^{{tree}}")
    at = ["--repo", str(repo)]
    assert said(project, tmp_path / "v", "verify", ERA.tag, *at)["error"]["code"] == "PG304"
    done = inside(project, "ci/pin.py", f"{ERA.tag}={repo}")
    assert done.returncode == 0, done.stderr
    assert list(load_pins(project / "qemu-ref/pins.toml")) == [tree]
    assert git(repo, "for-each-ref", "refs/heads/patchgen-pin") == ""
    kept = (project / "qemu-ref/pins.toml").read_bytes()
    assert inside(project, "ci/pin.py", "--all", str(repo)).returncode == 0
    assert (project / "qemu-ref/pins.toml").read_bytes() == kept
    assert inside(project, "ci/pin.py", "--all").returncode == 1
    assert said(project, tmp_path / "v", "verify", ERA.tag, *at)["result"]["state"] == "ok"

    matrix = said(project, tmp_path / "matrix.json", "matrix", ERA.tag, *at)
    last = load_pins(project / "qemu-ref/pins.toml")[tree].trees[NAMES[-1]]
    build = {
        "command": "build",
        "version": "0.1.0",
        "ok": True,
        "result": {
            "tree": last,
            "binary": "/q",
            "set": "full",
            "patches": 9,
            "pristine": False,
        },
    }
    (tmp_path / "build.json").write_text(json.dumps(build), encoding="utf-8")
    (tmp_path / "check.json").write_text(json.dumps(check_of(last)), encoding="utf-8")
    files = [str(tmp_path / f"{name}.json") for name in ("matrix", "build", "check")]
    done = inside(project, "ci/record.py", *files)
    assert done.returncode == 0, done.stderr
    once = (project / "qemu-ref/support.toml").read_text(encoding="utf-8")
    (one,) = load_support(project / "qemu-ref/support.toml").values()
    assert (one.tag, one.source) == (ERA.tag, "git")
    assert one.applied is not None and one.built is not None
    assert one.applied.date == datetime.date(2020, 9, 13)
    assert one.applied.files == matrix["result"]["tags"][0]["files"]
    assert (one.applied.fit, one.built.set) == (len(NAMES), "full")
    assert one.checked is not None
    assert (one.checked.passed, one.checked.failed, one.checked.skipped) == (COUNT - 1, 0, 1)
    # Again, in another order: the same file.
    assert inside(project, "ci/record.py", *files[::-1]).returncode == 0
    assert (project / "qemu-ref/support.toml").read_text(encoding="utf-8") == once
    (row,) = said(project, tmp_path / "s", "support")["result"]["rows"]
    assert row["current"] == ["applied", "built", "checked"] and row["pin"] == "yes"


def check_of(tree: str) -> dict[str, Any]:
    """As `check --json` says it, with one scenario skipped."""
    names = [one.scenario.name for one in promised(SERIES) if not one.scenario.long]
    return {
        "command": "check",
        "version": "0.1.0",
        "ok": True,
        "result": {
            "tree": tree,
            "patches": len(NAMES),
            "scenarios": [{"name": name} for name in names],
            "passed": COUNT - 1,
            "failed": 0,
            "skipped": 1,
        },
    }


def test_record_refuses_what_is_not_a_result_of_this_series(project: Path, tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "qemu", fake_tree(ERA), ERA.tag)
    at = ["--repo", str(repo)]

    def refused(answer: Any, why: str) -> None:
        file = tmp_path / "answer.json"
        file.write_text(json.dumps(answer), encoding="utf-8")
        done = inside(project, "ci/record.py", str(file))
        assert done.returncode == 1 and why in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert not (project / "qemu-ref/support.toml").exists()

    part = said(project, tmp_path / "x", "matrix", ERA.tag, *at, "--upto", "2")
    refused(part, "another state of the series")
    refused(said(project, tmp_path / "x", "matrix", "v9.9.9", *at), "an error")
    refused(said(project, tmp_path / "x", "list"), "records of list are not kept")
    refused(said(project, tmp_path / "x", "build", "--packages"), "not a build of the series")
    whole = {"tree": "0" * 40, "binary": "/q", "set": "full", "patches": 9, "pristine": False}
    envelope = {"command": "build", "version": "0.1.0", "ok": True}
    refused({**envelope, "result": whole}, "run ci/pin first")
    refused({**envelope, "result": {**whole, "pristine": True}}, "not a build of the series")
    part = check_of("0" * 40)
    refused(part, "run ci/pin first")
    part["result"]["scenarios"].pop()
    refused(part, "only some of the scenarios")
    refused(said(project, tmp_path / "x", "check", "--list"), "not a check of a tree")
