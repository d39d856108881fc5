"""``patchgen show N``: a patch's file, its fragments and the diff they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from patchgen.branch import preview
from patchgen.commands.apply import drift_text
from patchgen.config import load_config
from patchgen.engine.series import load_default_series
from patchgen.source.options import add_source_options
from patchgen.source.resolve import resolve
from patchgen.ui import Ui


@dataclass(frozen=True)
class ShowRecord:
    """One patch.

    :ivar source: the series file's text
    :ivar fragments: name -> template text
    :ivar state: what became of it on the tag; empty without a tag
    :ivar diff: the patch as git shows it; empty without a tag or where it drifted
    :ivar report: lines that say what drifted
    """

    number: int
    name: str
    subject: str
    series_author: str
    source: str
    fragments: dict[str, str]
    tag: str = ""
    state: str = ""
    diff: str = ""
    report: tuple[str, ...] = ()


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return ShowRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("number", type=int, metavar="N", help="number of the patch, from 1")
    parser.add_argument("--tag", metavar="TAG", help="show what it becomes on this QEMU tag")
    add_source_options(parser)


def run(args: argparse.Namespace, ui: Ui) -> ShowRecord:
    """Read the patch and, for a tag, generate the series up to it."""
    series = load_default_series()
    entry = series.entry(args.number)
    state, diff = "", ""
    report: tuple[str, ...] = ()
    if args.tag:
        base = resolve(args.tag, repo=args.repo, source=args.source, config=load_config(), ui=ui)
        patch, diff = preview(base, series.upto(args.number))
        state, report = patch.state.value, tuple(drift_text(patch))
    return ShowRecord(
        entry.number,
        entry.name,
        entry.patch.subject,
        entry.patch.series_author,
        entry.source,
        dict(entry.fragments),
        args.tag or "",
        state,
        diff,
        report,
    )


def text(record: ShowRecord) -> str:
    """The record for people."""
    lines = [f"# series/{record.name}.toml", record.source.rstrip("\n")]
    for name, fragment in record.fragments.items():
        lines += ["", f"# templates/{record.name}/{name}", fragment.rstrip("\n")]
    if record.tag:
        lines += ["", f"# on {record.tag}: {record.state}", *record.report]
        if record.diff:
            lines += ["", record.diff.rstrip("\n")]
    return "\n".join(lines)


def exit_code(record: ShowRecord) -> int:
    """3 if the patch drifted on the tag."""
    return 3 if record.report else 0
