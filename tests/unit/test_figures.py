"""Pauses as figures, tables and pictures."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchgen.cli import run
from patchgen.commands.pause import table
from patchgen.live.figures import PHASES, Round, as_csv, measured, spread, still
from patchgen.live.svg import plot, scale, terminal

ROUND = Round(stopped=100, replaced=110, linked=130, ready=160, asked=161, runs=165)
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


@given(st.lists(st.floats(0, 1000), min_size=6, max_size=6))
def test_marks_out_of_order_make_no_negative_phase(marks: list[float]) -> None:
    """A sampler that was late sees two things at once."""
    one = Round(min(marks), *marks[1:5], max(marks))
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


def test_terminal_shows_every_line_once() -> None:
    lines = ["window 1   | window 2", "", "(qemu) info status <&>", "           | # install a b"]
    drawn = ElementTree.fromstring(terminal("what it is", lines))
    shown = [one.text for one in drawn.iter(f"{SVG}text")]
    assert shown == [line for line in lines if line]


@pytest.mark.parametrize(
    ("words", "what"),
    [(["--rounds", "0"], "nothing to measure"), (["--mib", "1"], "the guest needs 32")],
)
def test_refused(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pause", "v5.2.0", *words]) == 2
    assert what in capsys.readouterr().err
