"""``patchgen support``: what was verified, on which base trees."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchgen.ui import Ui

if TYPE_CHECKING:
    from patchgen.support import Row, SupportRecord

_HEAD = ("TAG", "BASE", "PATCHES", "APPLIED", "BUILT", "EACH COMMIT", "CHECKED", "PIN")


def record_type() -> object:
    """The type of the command's record, for its schema."""
    from patchgen.support import SupportRecord

    return SupportRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""


def run(args: argparse.Namespace, ui: Ui) -> SupportRecord:
    """Read what came with this patchgen; nothing is run."""
    from patchgen.engine.series import load_default_series
    from patchgen.paths import data_dir
    from patchgen.pins import load_pins
    from patchgen.support import load_support, support_of

    reference = data_dir("qemu-ref")
    return support_of(
        load_support(reference / "support.toml"),
        load_pins(reference / "pins.toml"),
        load_default_series(),
    )


def _cells(row: Row) -> Sequence[str]:
    def mark(kind: str) -> str:
        return "" if kind in row.current else "*"

    applied = built = each = checked = "-"
    if row.applied is not None:
        fit, count = row.applied.fit, row.applied.patches
        said = "all" if fit == count else f"{fit} of {count}"
        applied = f"{said} {row.applied.date}{mark('applied')}"
    if row.built is not None:
        built = f"{row.built.set} {row.built.date}{mark('built')}"
    if row.each is not None:
        each = f"{row.each.mode} {row.each.date}{mark('each')}"
    if row.checked is not None:
        failed = f", {row.checked.failed} failed" if row.checked.failed else ""
        said = f"{row.checked.passed} passed{failed}"
        checked = f"{said} {row.checked.date}{mark('checked')}"
    patches = str(row.applied.patches) if row.applied else "-"
    pin = {"yes": "yes", "no": "-", "older": "yes*"}[row.pin.value]
    base = f"{row.source} {row.base_tree[:12]}"
    return row.tag, base, patches, applied, built, each, checked, pin


def text(record: SupportRecord) -> str:
    """A table, a line per base tree."""
    if not record.rows:
        return "nothing is recorded"
    table = [_HEAD, *map(_cells, record.rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEAD))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    if any("*" in cell for line in table for cell in line):
        lines.append("* with another state of the series")
    return "\n".join(lines)


def exit_code(record: SupportRecord) -> int:
    """Always 0."""
    return 0
