"""``patchgen matrix TAG…``: which patch applies where, without a commit and without a checkout."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from patchgen.config import load_config
from patchgen.errors import UsageError
from patchgen.runs import runs
from patchgen.source.options import add_source_options
from patchgen.ui import Ui

if TYPE_CHECKING:
    from patchgen.engine.generate import Drift
    from patchgen.matrix import Cell, MatrixRecord

SIGNS = {"applied": "+", "adapted": "~", "already-there": "=", "drifted": "x", "error": "!"}
WAITS = "o"

_LEGEND = (
    f"{SIGNS['applied']} applied   {SIGNS['adapted']} adapted   {SIGNS['already-there']} already"
    f" there   {SIGNS['drifted']} drifted   {WAITS} waits for one that drifted  "
    f" {SIGNS['error']} error"
)


def record_type() -> object:
    """The type of the command's record, for its schema."""
    from patchgen.matrix import MatrixRecord

    return MatrixRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "tags",
        nargs="+",
        metavar="TAG",
        help="a tag, a branch or a commit id of QEMU, or a pattern over release tags such as 'v*' "
        "(without release candidates, unless the pattern has rc)",
    )
    add_source_options(parser)
    parser.add_argument("--upto", type=int, metavar="N", help="only the patches 1 to N")
    parser.add_argument(
        "--jobs", "-j", type=int, default=0, metavar="N", help="processes; default: one per core"
    )


def run(args: argparse.Namespace, ui: Ui) -> MatrixRecord:
    """Resolve the tags, try the series on each, gather.

    :raise UnknownTag: a tag is in no place that was asked
    """
    from patchgen.engine.series import load_default_series
    from patchgen.matrix import matrix_of, tasks_of
    from patchgen.paths import data_dir
    from patchgen.pins import load_pins
    from patchgen.processors import processors
    from patchgen.source.pick import pick
    from patchgen.workers import probe_all

    config = load_config()
    if args.jobs < 0:
        raise UsageError("--jobs takes a number from 1 upwards", "leave it out for one per core")
    series = load_default_series().upto(args.upto)
    bases = pick(args.tags, repo=args.repo, source=args.source, config=config, ui=ui)
    jobs = args.jobs or config.jobs or processors()
    outcomes = probe_all(series, tasks_of(bases), jobs, ui)
    pins = load_pins(data_dir("qemu-ref") / "pins.toml")
    return matrix_of(series, bases, outcomes, pins, args.upto is None)


def _sign(cell: Cell) -> str:
    return WAITS if cell.waits else SIGNS[cell.state.value]


def _table(record: MatrixRecord) -> Iterator[str]:
    """A line per tag, a column per patch."""
    width = max(len(tag.tag) for tag in record.tags)
    numbers = [patch.number for patch in record.patches]
    size = len(record.patches)
    pinned = {"equal": "  as pinned", "different": "  NOT as pinned", "unknown": ""}
    if numbers[-1] > 9:
        tens = " ".join(str(n // 10) if n > 9 else " " for n in numbers)
        yield f"{'':{width}}  {tens}".rstrip()
    yield f"{'':{width}}  {' '.join(str(n % 10) for n in numbers)}"
    for index, tag in enumerate(record.tags):
        row = record.cells[index * size : (index + 1) * size]
        fit = sum(cell.state.value not in ("drifted", "error") for cell in row)
        signs = " ".join(map(_sign, row))
        count = f"{fit} of {size}" if fit < size else "all"
        yield f"{tag.tag:<{width}}  {signs}  {count}{pinned[tag.pin.value]}"


def spans(tags: Sequence[str], order: Sequence[str]) -> str:
    """Tags in words: neighbours of *order* are one span, ``v6.0.0 … v7.2.0``."""
    words = []
    for part in runs(order.index(tag) for tag in tags):
        if len(part) > 2:
            words.append(f"{order[part[0]]} … {order[part[-1]]} ({len(part)} tags)")
        else:
            words += [order[place] for place in part]
    return ", ".join(words)


def _said(drift: Drift) -> str:
    """The drift without its candidates, in one line; the same words are the same drift."""
    anchor = "" if drift.anchor in drift.reason else f"{drift.anchor}: "
    return f"{drift.code} edit {drift.edit} ({drift.why}), {drift.file}: {anchor}{drift.reason}"


def _drifts(record: MatrixRecord, patch: int) -> Iterator[str]:
    """The drifts of one patch, each said once with the tags it concerns."""
    order = [tag.tag for tag in record.tags]
    tags: dict[str, list[str]] = {}
    near: dict[str, str] = {}
    waiting: dict[str, list[str]] = {}
    for cell in record.cells:
        if cell.patch != patch:
            continue
        for drift in cell.drifts:
            if drift.needs:
                continue
            line = _said(drift)
            tags.setdefault(line, []).append(cell.tag)
            if drift.candidates:
                best = drift.candidates[0]
                near[line] = f"; nearest: {best.name} ({best.score:.2f}) {best.file}:{best.line}"
        for needs, count in Counter(d.needs for d in cell.drifts if d.needs).items():
            edits = "1 edit waits" if count == 1 else f"{count} edits wait"
            words = f"{edits} for patch {' and '.join(map(str, needs))}"
            waiting.setdefault(f"PG358 {words}", []).append(cell.tag)
    for line, where in [*tags.items(), *waiting.items()]:
        yield f"  {line}{near.get(line, '')}"
        yield f"    {spans(where, order)}"


def _errors(record: MatrixRecord) -> Iterator[str]:
    """The errors, each said once with its patches and tags."""
    order = [tag.tag for tag in record.tags]
    found: dict[str, dict[str, list[int]]] = {}
    for cell in record.cells:
        if cell.error is not None:
            line = f"{cell.error.code} {cell.error.message}; fix: {cell.error.fix}"
            found.setdefault(line, {}).setdefault(cell.tag, []).append(cell.patch)
    for line, patches in found.items():
        where: dict[tuple[int, ...], list[str]] = {}
        for tag, which in patches.items():
            where.setdefault(tuple(which), []).append(tag)
        yield f"  {line}"
        for numbers, tags in where.items():
            every = len(numbers) == len(record.patches)
            said = "every patch" if every else f"patch {', '.join(map(str, numbers))}"
            yield f"    {said} on {spans(tags, order)}"


def _summary(record: MatrixRecord) -> str:
    count = Counter(cell.state.value for cell in record.cells)
    waits = sum(cell.waits for cell in record.cells)
    words = []
    for state in SIGNS:
        if count[state]:
            more = f" ({waits} of them wait for another)" if state == "drifted" and waits else ""
            words.append(f"{count[state]} {state.replace('-', ' ')}{more}")
    tags = "1 tag" if len(record.tags) == 1 else f"{len(record.tags)} tags"
    patches = "1 patch" if len(record.patches) == 1 else f"{len(record.patches)} patches"
    return f"{tags}, {patches}: {', '.join(words)}"


def text(record: MatrixRecord) -> str:
    """The record for people."""
    lines = [*_table(record), _LEGEND]
    if errors := list(_errors(record)):
        lines += ["", "errors", *errors]
    for patch in record.patches:
        drifts = list(_drifts(record, patch.number))
        if drifts:
            lines += ["", f"{patch.number:02} {patch.subject}", *drifts]
    return "\n".join([*lines, "", _summary(record)])


def exit_code(record: MatrixRecord) -> int:
    """1 if a cell could not be tried, else 3 if one drifted."""
    states = {cell.state.value for cell in record.cells}
    return 1 if "error" in states else 3 if "drifted" in states else 0
