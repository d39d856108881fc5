"""Mutants still apply: their texts are found, and the engine makes another tree of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from patchgen.engine.generate import generate
from patchgen.engine.series import Series, load_default_series
from patchgen.engine.tree import MemoryFiles, Tree
from patchgen.live.scenario import promised
from tests.fakeqemu import ERAS, describe, render
from tests.mutants.mutant import WrongMutant, all_mutants, load_mutant

MUTANTS = all_mutants()
GOOD = """\
bug = "a bug"
spec = "03"
patch = 3
scenarios = ["reboot-round-trip-qmp"]
reason = "counter"

[[edit]]
file = "templates/03-qmp-cprsave/save.c.j2"
text = "cpr_pending = true;"
becomes = ";"
"""


def _generated(series: Series, era: str) -> dict[str, bytes]:
    tree = Tree(MemoryFiles(render(describe(ERAS[era]))))
    drifts = [drift for result in generate(series, tree) for drift in result.drifts]
    assert not drifts, drifts
    return tree.edits


@cache
def _plainly(era: str) -> dict[str, bytes]:
    return _generated(load_default_series(), era)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_applies(name: str, tmp_path: Path) -> None:
    series = MUTANTS[name].applied(tmp_path / "mutant")
    # The era of the release on which mutants are built.
    assert _generated(series, "meson") != _plainly("meson")


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_noticed_by_scenarios_that_there_are(name: str) -> None:
    told = MUTANTS[name].told
    series = load_default_series()
    known = {one.scenario.name: one for one in promised(series)}
    assert set(told.scenarios) <= set(known)
    assert 1 <= told.patch <= len(series.entries)
    assert sum(edit.becomes.count("\n") for edit in told.edit) < 12


def _load(place: Path, text: str) -> None:
    path = place / "one.toml"
    path.write_text(text, encoding="utf-8")
    load_mutant(path)


def test_a_good_file(tmp_path: Path) -> None:
    _load(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('bug = "a bug"', 'bug = ""', "one line"),
        ('bug = "a bug"', "bug = '''a\nbug'''", "one line"),
        ('["reboot-round-trip-qmp"]', "[]", "nobody would notice"),
        ('"counter"', '"("', "reason"),
        ('"counter"', '".*"', "any reason"),
        ("templates/03", "patchgen/03", "not below"),
        ("templates/03", "templates/../03", "not below"),
        ('becomes = ";"', 'becomes = "cpr_pending = true;"', "not changed"),
        ("patch = 3", 'patch = "3"', "patch"),
        ("patch = 3", "patch = 3\nmore = 1", "more"),
        ("[[edit]]", "[[edit", "one"),
    ],
)
def test_wrong_files(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(WrongMutant, match=says):
        _load(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("text", "count"), [("no such text", 0), ("return", None), ("cpr_pending = true;", 1)]
)
def test_a_text_that_is_not_there_just_once(tmp_path: Path, text: str, count: int | None) -> None:
    path = tmp_path / "one.toml"
    path.write_text(GOOD.replace("cpr_pending = true;", text), encoding="utf-8")
    mutant = load_mutant(path)
    if count == 1:
        mutant.applied(tmp_path / "mutant")
        return
    with pytest.raises(WrongMutant, match=r"save.c.j2 has '.*' \d+ times, not once"):
        mutant.applied(tmp_path / "mutant")


def test_there_is_no_mutant_of_the_data_itself(tmp_path: Path) -> None:
    """Applying works on copies."""
    before = load_default_series()
    next(iter(MUTANTS.values())).applied(tmp_path / "mutant")
    assert load_default_series() == before
