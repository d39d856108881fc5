"""``patchgen verify TAG``: generate anew and compare with the pinned trees."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from patchgen.background import Background
from patchgen.config import load_config
from patchgen.source.options import add_source_options
from patchgen.source.resolve import resolve
from patchgen.ui import Ui

if TYPE_CHECKING:
    from patchgen.verify import VerifyRecord


def record_type() -> object:
    """The type of the command's record, for its schema."""
    from patchgen.verify import VerifyRecord

    return VerifyRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("tag", metavar="TAG", help="a tag, a branch or a commit id of QEMU")
    add_source_options(parser)


def run(args: argparse.Namespace, ui: Ui) -> VerifyRecord:
    """Resolve the tag, generate, compare; nothing is written.

    :raise NoPin: nothing is pinned that could be compared
    """
    config = load_config()
    base = Background(
        lambda: resolve(args.tag, repo=args.repo, source=args.source, config=config, ui=ui)
    )
    from patchgen.engine.series import load_default_series
    from patchgen.paths import data_dir
    from patchgen.pins import load_pins
    from patchgen.verify import verify

    pins = load_pins(data_dir("qemu-ref") / "pins.toml")
    return verify(base.result(), load_default_series(), pins)


def text(record: VerifyRecord) -> str:
    """The record for people."""
    head = f"{record.tag}, base tree {record.base_tree[:12]}, from {record.origin}: {record.place}"
    if record.first:
        return f"{head}\ndiffers: first {record.first}: {record.reason}"
    count = f"{len(record.patches)} patches"
    if record.by.value == "files":
        return f"{head}\nok: {count}, all touched files as pinned from another source"
    return f"{head}\nok: {count}, all trees as pinned"


def exit_code(record: VerifyRecord) -> int:
    """5 if a tree is not the pinned one."""
    return 5 if record.first else 0
