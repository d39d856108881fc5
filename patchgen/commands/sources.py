"""``patchgen sources``: which QEMU versions can be had here, from where, cached or not."""

from __future__ import annotations

import argparse

from patchgen.config import load_config
from patchgen.source.offers import Sources, collect
from patchgen.source.options import add_source_options
from patchgen.ui import Ui


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return Sources


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_source_options(parser)
    parser.add_argument(
        "--all", action="store_true", help="release candidates, and versions before 4.2, as well"
    )


def run(args: argparse.Namespace, ui: Ui) -> Sources:
    """Ask every place (or the one that ``--repo`` or ``--source`` names).

    :raise UsageError: ``--source repo`` without a repository
    """
    return collect(
        repo=args.repo,
        source=args.source,
        everything=args.all,
        config=load_config(),
        ui=ui,
    )


def text(record: Sources) -> str:
    """A line per version, then the places that could not be asked."""
    lines = []
    for version in record.versions:
        cached = "cached" if version.cached else "-"
        places = ", ".join(f"{x.source} {x.place}" for x in version.offers)
        lines.append(f"{version.tag:<12} {cached:<7} {places}")
    lines = [f"{'VERSION':<12} {'CACHED':<7} FROM", *lines] if lines else ["no version of QEMU"]
    silent = [f"not available: {x.source} {x.place}: {x.reason}" for x in record.places if x.reason]
    return "\n".join([*lines, *silent, f"cache: {record.cache}"]) + "\n"


def exit_code(record: Sources) -> int:
    """0: having no version somewhere is an answer, not an error."""
    return 0
