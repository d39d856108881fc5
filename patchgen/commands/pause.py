"""``patchgen pause``: how long a guest stands still while its QEMU is replaced."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from patchgen.live.figures import Measured
from patchgen.ui import Ui

ROUNDS, MIB = 30, 512


@dataclass(frozen=True)
class Record:
    """What was measured.

    :ivar memory: what the guest's RAM was: ``file``, ``memfd``, ``private``
    :ivar mib: its size
    :ivar host: load of the host over the last minute, before and after; 0 is idle
    :ivar measured: by what was done
    :ivar csv: every round with its marks
    :ivar plot: the same as a picture
    """

    tag: str
    qemu: str
    patches: int
    binary: Path
    accel: str
    memory: str
    mib: int
    host: tuple[float, float]
    measured: tuple[Measured, ...]
    csv: Path
    plot: Path
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
        "--memory",
        choices=("file", "memfd", "private"),
        default="file",
        help="what the guest's RAM is: a shared file (default), a memfd from the start, or private "
        "memory that the first restart moves",
    )
    parser.add_argument(
        "--mib", type=int, default=MIB, metavar="N", help=f"size of the RAM; default {MIB}"
    )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help=f"of each kind; default {ROUNDS}"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where pause.csv and pause.svg go; default: the cache",
    )
    add_build_options(parser)
    add_source_options(parser)


def _checked(args: argparse.Namespace) -> None:
    from patchgen.errors import UsageError

    if args.rounds < 1:
        raise UsageError(f"--rounds {args.rounds}: there is nothing to measure", "give at least 1")
    if not 32 <= args.mib <= 65536:
        raise UsageError(
            f"--mib {args.mib}: the guest needs 32, and no more than 65536 are tried",
            "give a number in between",
        )


def run(args: argparse.Namespace, ui: Ui) -> Record:
    """Do it.

    :raise BuildError: exit code 4: there is nothing to measure
    :raise CheckError: exit code 5: the guest did not go on as it must
    """
    import os
    import shutil

    from patchgen.commands.build import build_here
    from patchgen.errors import CheckError
    from patchgen.live.figures import as_csv, measured
    from patchgen.live.pauses import MEMORIES, ram_file, rounds_of
    from patchgen.live.qemu import qemu_of
    from patchgen.live.qmp import Refused
    from patchgen.live.stage import Stage
    from patchgen.live.svg import plot
    from patchgen.live.waiting import Failed, Skipped
    from patchgen.paths import cache_dir

    _checked(args)
    started = time.monotonic()
    build = build_here(args, ui)
    place = cache_dir() / "pause" / f"{args.tag}-{build.tree[:12]}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    out = args.out or place
    out.mkdir(parents=True, exist_ok=True)
    memory = MEMORIES[args.memory]
    before = os.getloadavg()[0]
    try:
        qemu = qemu_of(build)
        with (
            ram_file(args.mib) as ram,
            Stage(qemu, place, lambda: qemu) as stage,
            ui.progress(f"measuring {args.tag}, {args.memory}, {args.mib} MiB") as meter,
        ):
            kinds = rounds_of(stage, memory, args.mib, args.rounds, ram, meter.update)
    except Skipped as exc:
        raise CheckError(f"there is nothing to measure: {exc}", "then try again") from exc
    except (Failed, Refused) as exc:
        raise CheckError(
            f"a guest did not go on: {exc}",
            f"see the logs in {place}; `patchgen check {args.tag}` tells more",
        ) from exc
    figures = [(measured(name, rounds), rounds) for name, rounds in kinds]
    (out / "pause.csv").write_text(as_csv(kinds), encoding="utf-8", newline="\n")
    title = f"QEMU {build.qemu}, {args.mib} MiB, RAM: {args.memory}"
    (out / "pause.svg").write_text(plot(title, figures), encoding="utf-8", newline="\n")
    return Record(
        args.tag,
        build.qemu,
        build.patches,
        build.binary,
        qemu.accel,
        args.memory,
        args.mib,
        (round(before, 2), round(os.getloadavg()[0], 2)),
        tuple(one for one, _ in figures),
        (out / "pause.csv").absolute(),
        (out / "pause.svg").absolute(),
        round(time.monotonic() - started, 1),
    )


def table(measured: tuple[Measured, ...]) -> list[str]:
    """Lines with the figures, in ms."""
    names = "".join(f"{name:>9}" for name in ("min", "p50", "p95", "max"))
    lines = [f"{'ms without progress of the guest':32}{'n':>5}{names}"]
    for one in measured:
        for name, spread in [
            (one.name, one.pause),
            *((f"    {phase.name}", phase.spread) for phase in one.phases),
        ]:
            values = (spread.min, spread.p50, spread.p95, spread.max)
            lines.append(f"{name:32}{spread.n:>5}" + "".join(f"{value:9.1f}" for value in values))
        if one.phases:
            lines.append(
                f"{'    longest anywhere in a round':32}{one.longest.n:>5}"
                + "".join(
                    f"{value:9.1f}"
                    for value in (
                        one.longest.min,
                        one.longest.p50,
                        one.longest.p95,
                        one.longest.max,
                    )
                )
            )
            lines.append(f"{'    before, the guest still runs':37}{'':9}{one.before.p50:9.1f}")
    return lines


def text(record: Record) -> str:
    """The record for people."""
    return "\n".join(
        [
            f"QEMU {record.qemu} with {record.patches} patches, {record.accel}, "
            f"{record.mib} MiB, RAM: {record.memory}; load of the host "
            f"{record.host[0]:.1f} to {record.host[1]:.1f}",
            "",
            *table(record.measured),
            "",
            "cprload is typed in advance: the command wait is what the monitor takes to read it",
            f"every round: {record.csv}",
            f"plot:        {record.plot}",
        ]
    )


def exit_code(record: Record) -> int:
    """0: figures are no verdict."""
    return 0
