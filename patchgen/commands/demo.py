"""``patchgen demo``: QEMU is updated under a guest that runs, to look at."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from patchgen.build.record import BuildRecord
from patchgen.live.demo import Played
from patchgen.ui import Ui


@dataclass(frozen=True)
class Update:
    """The QEMU that the first one is replaced by.

    :ivar how: what differs from the first
    """

    tag: str
    qemu: str
    binary: Path
    build: str
    build_seconds: float
    how: str


@dataclass(frozen=True)
class Record:
    """A demonstration that went well.

    :ivar build: ``built`` now, or ``unchanged``
    :ivar build_seconds: what the build took, whenever that was
    :ivar mode: ``restart``, or ``reboot``: in another process, with the RAM in a file
    :ivar update: in mode ``restart``
    :ivar guest: what ran in the VM
    """

    tag: str
    qemu: str
    patches: int
    binary: Path
    build: str
    build_seconds: float
    mode: str
    update: Update | None
    guest: str
    played: Played
    seconds: float


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return Record


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from patchgen.commands.build import add_build_options, add_shown_tag
    from patchgen.source.options import add_source_options

    add_shown_tag(parser)
    parser.add_argument(
        "--to",
        metavar="TAG2",
        help="update to that tag; default: the same tree with the next version number",
    )
    parser.add_argument(
        "--reboot",
        action="store_true",
        help="the cover letter's second example instead: save, exit, load in another process",
    )
    add_build_options(parser)
    add_source_options(parser)


def _update(args: argparse.Namespace, ui: Ui) -> tuple[BuildRecord, str]:
    """The QEMU to update to, and what differs from the first."""
    from patchgen.commands.build import build_here

    if args.to:
        other = argparse.Namespace(**{**vars(args), "tag": args.to})
        return build_here(other, ui), f"{args.to} with the series"
    build = build_here(args, ui, next_version=True)
    return build, f"the same tree with the file VERSION set to {build.qemu}"


def run(args: argparse.Namespace, ui: Ui) -> Record:
    """Do it.

    :raise BuildError: exit code 4: there is nothing to show
    :raise CheckError: exit code 5: the guest did not go on as it must
    """
    import shutil

    from patchgen.commands.build import build_here
    from patchgen.errors import CheckError, UsageError
    from patchgen.live.demo import play
    from patchgen.live.qemu import qemu_of
    from patchgen.live.qmp import Refused
    from patchgen.live.stage import Stage
    from patchgen.live.update_demo import play_update
    from patchgen.live.waiting import Failed, Skipped
    from patchgen.paths import cache_dir

    if args.to and args.reboot:
        raise UsageError(
            "--reboot starts the same QEMU once more, --to another", "give one of them"
        )
    started = time.monotonic()
    build = build_here(args, ui)
    update = None if args.reboot else _update(args, ui)
    place = cache_dir() / "demo" / f"{args.tag}-{build.tree[:12]}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    what = f"updated to {update[0].qemu}" if update else "saved and loaded"
    ui.step(f"a guest is {what}; raw logs in {place}")
    try:
        qemu = qemu_of(build)
        with Stage(qemu, place, lambda: qemu) as stage:
            played = play_update(stage, qemu_of(update[0])) if update else play(stage)
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
        "restart" if update else "reboot",
        _told(args, *update) if update else None,
        "guests/counter.S: counts, takes timer interrupts, checks 4 MiB of RAM",
        played,
        round(time.monotonic() - started, 1),
    )


def _told(args: argparse.Namespace, build: BuildRecord, how: str) -> Update:
    tag = args.to or args.tag
    return Update(tag, build.qemu, build.binary, build.state, build.seconds, how)


def text(record: Record) -> str:
    """The record for people: the transcript, then what the guest says."""
    played, before, after = record.played, record.played.before, record.played.after
    updated = []
    if record.update:
        one = record.update
        updated = [
            f"updated to QEMU {one.qemu}, {one.how}, {one.build} "
            f"({one.build_seconds:.0f} s): {one.binary}"
        ]
    phases = ", ".join(f"{one.name} {one.ms:.0f} ms" for one in played.phases)
    return "\n".join(
        [
            f"QEMU {record.qemu} with {record.patches} patches of the series, "
            f"{record.build} ({record.build_seconds:.0f} s): {record.binary}",
            *updated,
            "",
            *(f"    {line}" for line in played.transcript),
            "",
            "the guest, seen from outside through its RAM:",
            f"              {'before':>20}  {'after':>20}",
            f"    on offer  {played.seeds[0]:>#20x}  {played.seeds[1]:>#20x}",
            f"    seed      {before.seed:>#20x}  {after.seed:>#20x}",
            f"    starts    {before.starts:>20}  {after.starts:>20}",
            f"    counter   {before.counter:>20}  {after.counter:>20}",
            f"    clock     {before.ticks / 100:>18.2f} s  {after.ticks / 100:>18.2f} s",
            f"    errors    {before.errors:>20}  {after.errors:>20}",
            "a guest that starts takes the seed on offer: this one was not started anew",
            f"it stood still for {played.pause_ms:.0f} ms, while these were typed: {phases}",
            *(["`patchgen pause` measures it without typing"] if record.update else []),
            f"raw logs: {' '.join(str(path) for path in played.raw)}",
        ]
    )


def exit_code(record: Record) -> int:
    """0: a demonstration that goes wrong is an error, not a record."""
    return 0
