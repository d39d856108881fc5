"""``patchgen list``: the patches of the series."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from patchgen.engine.series import load_default_series
from patchgen.ui import Ui


@dataclass(frozen=True)
class ListedPatch:
    """One patch, in a line."""

    number: int
    name: str
    subject: str
    series_author: str
    edits: int
    fragments: int


@dataclass(frozen=True)
class ListRecord:
    """The patches that this patchgen has, and how many the whole series is."""

    title: str
    total: int
    patches: tuple[ListedPatch, ...]


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return ListRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""


def run(args: argparse.Namespace, ui: Ui) -> ListRecord:
    """Read the series."""
    series = load_default_series()
    return ListRecord(
        series.about.title,
        series.about.total,
        tuple(
            ListedPatch(
                entry.number,
                entry.name,
                entry.patch.subject,
                entry.patch.series_author,
                len(entry.patch.edit),
                len(entry.fragments),
            )
            for entry in series.entries
        ),
    )


def text(record: ListRecord) -> str:
    """The record for people."""
    lines = [
        f"{record.title}: {len(record.patches)} of {record.total} patches; after the series by"
        f" {' and '.join(sorted({p.series_author for p in record.patches}))}"
    ]
    lines.extend(f"  {p.number:02}  {p.subject:<48}  {p.series_author}" for p in record.patches)
    return "\n".join(lines)


def exit_code(record: ListRecord) -> int:
    """Always 0."""
    return 0
