"""The cover letter's text: the template in ``series/``, filled with what is sent."""

from __future__ import annotations

from collections.abc import Sequence

from patchgen import __version__
from patchgen.branch import BranchRecord
from patchgen.engine.fragment import render
from patchgen.engine.generate import State
from patchgen.engine.series import Series
from patchgen.errors import SeriesError
from patchgen.paths import data_dir
from patchgen.runs import runs

TEMPLATE = "cover-letter.j2"


def numbers_text(numbers: Sequence[int]) -> str:
    """Numbers in order as people write them: ``1 to 9, 12``; empty for none."""
    parts = []
    for run in runs(numbers):
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return ", ".join(parts)


def cover_text(series: Series, record: BranchRecord) -> str:
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
    sent = [entry for entry in series.entries if states[entry.number] is not State.ALREADY_THERE]
    subjects: dict[str, list[str]] = {}
    for entry in sent:
        subjects.setdefault(entry.patch.series_author, []).append(entry.patch.subject)
    numbers = [entry.number for entry in sent]
    values = {
        "title": series.about.title,
        "total": series.about.total,
        "numbers": numbers,
        "listed": numbers_text(numbers),
        "adapted": numbers_text([n for n in numbers if states[n] is State.ADAPTED]),
        "there": numbers_text([n for n, s in states.items() if s is State.ALREADY_THERE]),
        "version": record.version,
        "tag": record.tag,
        "base": record.base,
        "patchgen": __version__,
        "shares": sorted(series.about.shares.items()),
        "subjects": subjects,
    }
    return render(template, values, f"series/{TEMPLATE}").decode("utf-8").strip("\n") + "\n"
