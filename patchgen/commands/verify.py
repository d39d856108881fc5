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
    from patchgen.engine.series import Series
    from patchgen.pins import Pin
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
    # In the thread, since an interrupt reaches only this one, which can tidy up after a fetch.
    engine = Background(_engine)
    base = resolve(args.tag, repo=args.repo, source=args.source, config=config, ui=ui)
    series, pins = engine.result()
    from patchgen.verify import verify

    return verify(base, series, pins)


def _engine() -> tuple[Series, dict[str, Pin]]:
    import patchgen.verify  # noqa: F401  (all that is needed later)
    from patchgen.engine.series import load_default_series
    from patchgen.paths import data_dir
    from patchgen.pins import load_pins

    return load_default_series(), load_pins(data_dir("qemu-ref") / "pins.toml")


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
