"""verify: as pinned, different from the pin and where first, or nothing to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patchgen.cli import run
from patchgen.engine.series import Series, load_default_series
from patchgen.pins import Pin
from tests.fakeqemu import ERAS, changed, describe, fake_tree, render
from tests.minirepo import git, make_repo
from tests.unit.test_cli import checked

SERIES = load_default_series()
NAMES = [entry.name for entry in SERIES.entries]
ERA = ERAS["meson"]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repo(tmp_path / "qemu", fake_tree(ERA), ERA.tag)


@pytest.fixture
def pin(repo: Path, capsys: pytest.CaptureFixture[str]) -> Pin:
    """What `apply` and `matrix` say of the tree, as ci/pin keeps it."""
    assert run(["apply", ERA.tag, "--repo", str(repo), "--json", "--dry-run"]) == 0
    trees = {
        p["name"]: p["tree"] for p in checked("apply", capsys.readouterr().out)["result"]["patches"]
    }
    assert run(["matrix", ERA.tag, "--repo", str(repo), "--json"]) == 0
    files = checked("matrix", capsys.readouterr().out)["result"]["tags"][0]["files"]
    return Pin(ERA.tag, "git", files, trees)


Verify = Callable[[dict[str, Pin]], tuple[int, dict[str, Any]]]


@pytest.fixture
def verify(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Verify:
    """Runs the command with pins of the test's own; exit code, and result or error."""

    def call(pins: dict[str, Pin]) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr("patchgen.pins.load_pins", lambda _: pins)
        before = git(repo, "count-objects", "-v"), git(repo, "for-each-ref")
        code = run(["verify", ERA.tag, "--repo", str(repo), "--json"])
        data = checked("verify", capsys.readouterr().out)
        assert data["ok"] is (code == 0)
        assert (git(repo, "count-objects", "-v"), git(repo, "for-each-ref")) == before
        return code, data["result"] if "result" in data else data["error"]

    return call


def tree_of(repo: Path) -> str:
    return git(repo, "rev-parse", f"{ERA.tag}^{{tree}}")


def test_ok_and_no_identity_is_needed(
    repo: Path, pin: Pin, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{who}_NAME")
        monkeypatch.delenv(f"GIT_{who}_EMAIL")
    code, result = verify({tree_of(repo): pin})
    assert (code, result["state"], result["by"], result["first"]) == (0, "ok", "trees", "")
    assert [p["name"] for p in result["patches"]] == NAMES
    assert all(p["tree"] == p["pinned"] != "" for p in result["patches"])


def test_the_first_patch_that_differs_is_named(
    repo: Path, pin: Pin, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    trees = {**pin.trees, NAMES[3]: "0" * 40, NAMES[6]: "1" * 40}
    code, result = verify({tree_of(repo): Pin(pin.tag, "git", "", trees)})
    assert (code, result["state"], result["first"]) == (5, "differs", NAMES[3])
    assert "0" * 40 in result["reason"]
    assert run(["verify", ERA.tag, "--repo", str(repo)]) == 5
    assert f"differs: first {NAMES[3]}" in capsys.readouterr().out


def test_patches_that_only_one_side_has(repo: Path, pin: Pin, verify: Verify) -> None:
    short = {name: pin.trees[name] for name in NAMES[:-1]}
    code, result = verify({tree_of(repo): Pin(pin.tag, "git", "", short)})
    assert (code, result["first"]) == (5, NAMES[-1])
    assert "the pin has not" in result["reason"]
    long = {**pin.trees, "33-more": "1" * 40}
    code, result = verify({tree_of(repo): Pin(pin.tag, "git", "", long)})
    assert (code, result["first"]) == (5, "33-more")
    assert "the series has not" in result["reason"]


def test_a_pinned_tree_that_drifts_now(
    pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = changed(describe(ERA), ERA.vl, lambda t: None if t.name == "wakeup_reason_mask" else t)
    repo = make_repo(tmp_path / "other", render(gone), ERA.tag)
    monkeypatch.setattr("patchgen.pins.load_pins", lambda _: {tree_of(repo): pin})
    assert run(["verify", ERA.tag, "--repo", str(repo), "--json"]) == 5
    result = checked("verify", capsys.readouterr().out)["result"]
    # Patch 1 does not touch that file, but its tree holds it.
    assert (result["state"], result["first"]) == ("differs", NAMES[0])
    assert [p["tree"] for p in result["patches"]][4:] == [""] * (len(NAMES) - 4)


def test_the_reason_is_the_drift(
    pin: Pin, repo: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    entry = SERIES.entries[4]
    edits = tuple(
        msgspec.structs.replace(e, file="no/such/file.c") if e.file == ERA.vl else e
        for e in entry.patch.edit
    )
    edits = (msgspec.structs.replace(edits[0], file="no/such/file.c"), *edits[1:])
    patch = msgspec.structs.replace(entry.patch, edit=edits)
    entries = tuple(replace(e, patch=patch) if e is entry else e for e in SERIES.entries)
    series: Series = replace(SERIES, entries=entries)
    monkeypatch.setattr("patchgen.engine.series.load_default_series", lambda: series)
    code, result = verify({tree_of(repo): pin})
    assert (code, result["first"]) == (5, NAMES[4])
    assert result["reason"] == "patch 5 drifts on this tree"


def test_without_a_pin(repo: Path, pin: Pin, verify: Verify) -> None:
    code, error = verify({})
    assert (code, error["code"]) == (2, "PG304")
    assert tree_of(repo) in error["message"] and "ci/pin" in error["fix"]
    code, error = verify({"another": Pin("v4.2.0", "git", pin.files, pin.trees)})
    assert (code, error["code"]) == (2, "PG304")


def test_the_same_files_of_another_source_will_do(
    repo: Path, pin: Pin, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = verify({"another": Pin(ERA.tag, "distro", pin.files, {})})
    assert (code, result["state"], result["by"]) == (0, "ok", "files")
    assert all(p["tree"] and not p["pinned"] for p in result["patches"])
    assert run(["verify", ERA.tag, "--repo", str(repo)]) == 0
    assert "from another source" in capsys.readouterr().out
    code, error = verify({"another": Pin(ERA.tag, "distro", "f" * 64, {})})
    assert (code, error["code"]) == (2, "PG304")
    assert "differ from those of distro" in error["message"]


def test_matrix_tells_the_pin_by_the_same_digest(
    repo: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def state(pins: dict[str, Pin], *more: str) -> str:
        monkeypatch.setattr("patchgen.pins.load_pins", lambda _: pins)
        assert run(["matrix", ERA.tag, "--repo", str(repo), "--json", *more]) == 0
        found = checked("matrix", capsys.readouterr().out)["result"]["tags"][0]["pin"]
        return str(found)

    wrong = Pin(ERA.tag, "git", "f" * 64, pin.trees)
    assert state({tree_of(repo): pin}) == "equal"
    assert state({tree_of(repo): wrong}) == "different"
    assert state({"another": pin}) == "equal"
    assert state({"another": wrong}) == "unknown"
    assert state({tree_of(repo): pin}, "--upto", "2") == "unknown"
