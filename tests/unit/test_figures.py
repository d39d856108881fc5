"""Pauses as figures, tables and pictures."""

from __future__ import annotations

import csv
import io
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchgen.build.subject import subject_of
from patchgen.build.successor import next_version, successor
from patchgen.cli import run
from patchgen.commands.pause import table
from patchgen.git.repo import Repo
from patchgen.live import update_demo
from patchgen.live.figures import PHASES, Round, as_csv, measured, spread, still
from patchgen.live.shell import Shell
from patchgen.live.svg import plot, scale, terminal
from patchgen.live.transcript import rendered
from patchgen.live.update_demo import Step, side_by_side, state_file
from patchgen.live.waiting import Failed
from tests.minirepo import git, make_repo

ROUND = Round(stopped=100, replaced=110, linked=130, ready=160, asked=161, runs=165, longest=65)
SVG = "{http://www.w3.org/2000/svg}"


def test_phases_add_up_to_the_pause() -> None:
    assert ROUND.pause == 65
    assert dict(zip(PHASES, ROUND.phases(), strict=True)) == {
        "save": 10,
        "exec": 20,
        "init": 30,
        "command wait": 1,
        "load": 4,
    }


@settings(deadline=None)
@given(st.lists(st.floats(0, 1000), min_size=6, max_size=6))
def test_marks_out_of_order_make_no_negative_phase(marks: list[float]) -> None:
    """A sampler that was late sees two things at once."""
    one = Round(min(marks), *marks[1:5], max(marks), 0)
    assert min(one.phases()) >= 0
    assert sum(one.phases()) == pytest.approx(one.pause)


def test_percentiles_are_values_that_were_measured() -> None:
    one = spread(range(100, 0, -1))
    assert (one.n, one.min, one.p50, one.p95, one.max) == (100, 1, 50, 95, 100)
    one = spread([7.0])
    assert (one.n, one.min, one.p50, one.p95, one.max) == (1, 7, 7, 7, 7)


def test_what_executes_nothing_has_no_phases() -> None:
    quiet = measured("stop and cont", [still((3, 5)), still((3, 4))])
    assert quiet.phases == ()
    assert (quiet.pause.min, quiet.pause.max) == (1, 2)
    busy = measured("restart", [ROUND])
    assert [one.name for one in busy.phases] == list(PHASES)
    lines = table((quiet, busy))
    assert lines[1].split() == ["stop", "and", "cont", "2", "1.0", "1.0", "2.0", "2.0"]
    assert lines[-1].split()[-1] == "100.0"


def test_csv_has_every_round() -> None:
    rows = list(
        csv.DictReader(io.StringIO(as_csv([("a", [ROUND, ROUND]), ("b", [still((1, 2))])])))
    )
    assert [(row["what"], row["round"]) for row in rows] == [("a", "1"), ("a", "2"), ("b", "1")]
    assert [row["pause_ms"] for row in rows] == ["65.000", "65.000", "1.000"]
    assert rows[0]["replaced_ms"] == "110.000"


@settings(deadline=None)
@given(st.floats(0.001, 1e6))
def test_an_axis_has_few_ticks_and_room(most: float) -> None:
    end, ticks = scale(most)
    assert most <= end * 1.0000001
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 8


def test_plot_has_a_dot_for_each_round() -> None:
    rounds = [ROUND, still((0, 10))]
    text = plot("pause <&>", [(measured("restart", rounds), rounds)])
    drawn = ElementTree.fromstring(text)
    assert len(drawn.findall(f"{SVG}circle")) == 2
    assert drawn.findtext(f"{SVG}title") == "pause <&>"
    said = [one.text for one in drawn.iter(f"{SVG}text")]
    assert "restart" in said
    assert set(PHASES) <= set(said)


def test_terminal_shows_each_part_where_it_was() -> None:
    lines = ["window 1   | window 2", "", "(qemu) info status <&>", "           | # install a b"]
    drawn = ElementTree.fromstring(terminal("what it is", lines))
    shown = [one.text for one in drawn.iter(f"{SVG}text")]
    parts = ["window 1", "|", "window 2", "(qemu) info status <&>", "|", "# install a b"]
    assert shown == parts
    places = [float(one.attrib["x"]) for one in drawn.iter(f"{SVG}text")]
    assert places[1] == places[4]
    assert places[0] == places[3] < places[1] < places[2] == places[5]


@pytest.mark.parametrize(
    ("words", "what"),
    [(["--rounds", "0"], "nothing to measure"), (["--mib", "1"], "the guest needs 32")],
)
def test_refused(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pause", "v5.2.0", *words]) == 2
    assert what in capsys.readouterr().err


def test_two_windows_side_by_side() -> None:
    """Each line is where and when it came; a prompt waits for what is typed behind it."""
    one = b"QEMU 1 monitor\r\n(qemu) "
    two = one + b"cprsave f restart\r\nQEMU 2 monitor\r\n(qemu) "
    other = b"# install\r\n# "
    steps = [Step(0, one), Step(1, other), Step(0, two)]
    rows = side_by_side(("window 1", "window 2"), "# qemu ...", steps)
    cells = [tuple(cell.strip() for cell in row.split("|")) for row in rows]
    assert cells == [
        ("window 1", "window 2"),
        ("", ""),
        ("# qemu ...", ""),
        ("QEMU 1 monitor", ""),
        ("", "# install"),
        ("(qemu) cprsave f restart", ""),
        ("QEMU 2 monitor", ""),
    ]
    assert len({row.index("|") for row in rows}) == 1


def test_the_file_of_the_cover_letter_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = tmp_path / "qemu.sav"
    monkeypatch.setattr(update_demo, "_LETTER", letter)
    with state_file() as file:
        assert file == letter
        with state_file() as second:
            assert second != letter
            assert second.name == letter.name
    assert not letter.exists()
    letter.symlink_to(tmp_path / "elsewhere")
    with state_file() as file:
        assert file != letter
    assert letter.is_symlink()


def test_a_shell_shows_what_was_typed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    with closing(Shell(tmp_path, raw)) as shell:
        shell.run("true two three")
        assert rendered(raw.read_bytes()) == ["# true two three", "#"]
        with pytest.raises(Failed, match=r"'false \|\| echo no': no"):
            shell.run("false || echo no")


@pytest.mark.parametrize(("version", "after"), [("5.2.0", "5.2.1"), ("10.2.9", "10.2.10")])
def test_next_version(version: str, after: str) -> None:
    assert next_version(version) == after


def test_successor_is_the_same_tree_with_the_next_version(tmp_path: Path) -> None:
    path = make_repo(tmp_path / "repo")
    repo = Repo.discover(path)
    base = repo.commit_id("v5.2.0")
    assert base
    subject = subject_of(repo, "v5.2.0", base)
    one = successor(subject)
    assert one.version == "5.2.1"
    assert git(path, "show", f"{one.commit}:VERSION") == "5.2.1"
    assert git(path, "diff", "--name-only", base, one.commit) == "VERSION"
    assert git(path, "status", "--porcelain") == ""
    assert git(path, "branch", "--list") == "* master"
    assert successor(subject) == one


def test_to_and_reboot_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--reboot", "--to", "v4.2.1"]) == 2
    assert "give one of them" in capsys.readouterr().err
