"""``patchgen demo``: a guest goes on in another QEMU process, to look at."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from patchgen.live.demo import Played
from patchgen.ui import Ui

DEFAULT_TAG = "v5.2.0"


@dataclass(frozen=True)
class Record:
    """A demonstration that went well.

    :ivar build: ``built`` now, or ``unchanged``
    :ivar build_seconds: what the build took, whenever that was
    :ivar guest: what ran in the VM
    """

    tag: str
    qemu: str
    patches: int
    binary: Path
    build: str
    build_seconds: float
    guest: str
    played: Played
    seconds: float


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return Record


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from patchgen.commands.build import add_build_options
    from patchgen.source.options import add_source_options

    parser.add_argument(
        "tag",
        nargs="?",
        default=DEFAULT_TAG,
        metavar="TAG",
        help=f"a QEMU tag; default {DEFAULT_TAG}",
    )
    add_build_options(parser)
    add_source_options(parser)


def run(args: argparse.Namespace, ui: Ui) -> Record:
    """Do it.

    :raise BuildError: exit code 4: there is nothing to show
    :raise CheckError: exit code 5: the guest did not go on as it must
    """
    import shutil

    from patchgen.commands.build import build_here
    from patchgen.errors import CheckError
    from patchgen.live.demo import play
    from patchgen.live.qemu import qemu_of
    from patchgen.live.qmp import Refused
    from patchgen.live.stage import Stage
    from patchgen.live.waiting import Failed, Skipped
    from patchgen.paths import cache_dir

    started = time.monotonic()
    build = build_here(args, ui)
    place = cache_dir() / "demo" / f"{args.tag}-{build.tree[:12]}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    ui.step(f"a guest is saved and loaded; raw logs in {place}")
    try:
        qemu = qemu_of(build)
        with Stage(qemu, place, lambda: qemu) as stage:
            played = play(stage)
    except Skipped as exc:
        raise CheckError(f"there is nothing to show: {exc}", "then try again") from exc
    except (Failed, Refused) as exc:
        raise CheckError(
            f"the demonstration failed: {exc}",
            f"see the logs in {place}; `patchgen check {args.tag}` tells more",
        ) from exc
    return Record(
        args.tag,
        build.qemu,
        build.patches,
        build.binary,
        build.state,
        build.seconds,
        "guests/counter.S: counts, takes timer interrupts, checks 4 MiB of RAM",
        played,
        round(time.monotonic() - started, 1),
    )


def text(record: Record) -> str:
    """The record for people: the transcript, then what the guest says."""
    played, before, after = record.played, record.played.before, record.played.after
    phases = ", ".join(f"{one.name} {one.ms:.0f} ms" for one in played.phases)
    return "\n".join(
        [
            f"QEMU {record.qemu} with {record.patches} patches of the series, "
            f"{record.build} ({record.build_seconds:.0f} s): {record.binary}",
            "",
            *(f"    {line}" for line in played.transcript),
            "",
            "the guest, seen through the file that holds its RAM:",
            f"              {'before':>20}  {'after':>20}",
            f"    on offer  {played.seeds[0]:>#20x}  {played.seeds[1]:>#20x}",
            f"    seed      {before.seed:>#20x}  {after.seed:>#20x}",
            f"    starts    {before.starts:>20}  {after.starts:>20}",
            f"    counter   {before.counter:>20}  {after.counter:>20}",
            f"    interrupts{before.ticks:>20}  {after.ticks:>20}",
            f"    errors    {before.errors:>20}  {after.errors:>20}",
            "a guest that starts takes the seed on offer: this one was not started anew",
            f"it stood still for {played.pause_ms:.0f} ms ({phases})",
            f"raw logs: {' '.join(str(path) for path in played.raw)}",
        ]
    )


def exit_code(record: Record) -> int:
    """0: a demonstration that goes wrong is an error, not a record."""
    return 0
