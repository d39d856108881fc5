"""The cover letter's text: the template in ``series/``, filled with what is sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from patchgen import __version__
from patchgen.baseline import Baseline
from patchgen.branch import BranchRecord
from patchgen.engine.fragment import render
from patchgen.engine.generate import State
from patchgen.engine.series import Series
from patchgen.errors import SeriesError
from patchgen.paths import data_dir
from patchgen.runs import runs

TEMPLATE = "cover-letter.j2"


@dataclass(frozen=True)
class Told:
    """What else the reader is told.

    :ivar stale: numbers of patches whose review trailers were left out
    :ivar off: names of the gates that were named off
    """

    stale: tuple[int, ...] = ()
    off: tuple[str, ...] = ()


def numbers_text(numbers: Sequence[int]) -> str:
    """Numbers in order as people write them: ``1 to 9, 12``; empty for none."""
    parts = []
    for run in runs(numbers):
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return ", ".join(parts)


def missing_text(numbers: Iterable[int], first: int, last: int) -> str:
    """What is to be said behind ``first to last``, of which only *numbers* are there."""
    there = set(numbers)
    missing = [number for number in range(first, last + 1) if number not in there]
    if not missing:
        return ""
    if len(missing) == last + 1 - first:
        return ", not here"
    return f", without {numbers_text(missing)}"


def cover_text(series: Series, record: BranchRecord, line: Baseline, told: Told) -> str:
    """Subject, empty line and text for the commits of *record*, which *series* became.

    :raise SeriesError: the template cannot be read
    :raise FragmentError: it is malformed or uses a value that does not exist
    """
    path = data_dir("series") / TEMPLATE
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SeriesError(f"{path} cannot be read: {exc}", "install patchgen again") from exc
    states = {patch.number: patch.state for patch in record.patches}
    there = [n for n, s in states.items() if s is State.ALREADY_THERE]
    sent = [entry for entry in series.entries if entry.number not in there]
    numbers = [entry.number for entry in sent]
    values = {
        "title": series.about.title,
        "total": series.about.total,
        "missing": len(numbers) < series.about.total,
        "listed": numbers_text(numbers),
        "not_here": lambda first, last: missing_text(states, first, last),
        "adapted": numbers_text([n for n in numbers if states[n] is State.ADAPTED]),
        "there": numbers_text(there),
        "version": record.version,
        "tag": record.tag,
        "base": record.base,
        "upstream": line.commit,
        "source": line.source,
        "patchgen": __version__,
        "stale": numbers_text(told.stale),
        "off": ", ".join(told.off),
        "shortlog": list(series.about.shortlog.items()),
        "sent": {entry.patch.subject for entry in sent},
    }
    return render(template, values, f"series/{TEMPLATE}").decode("utf-8").strip("\n") + "\n"
