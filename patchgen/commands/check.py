"""``patchgen check``: run the scenarios that the patches promise on the built QEMU."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache

from patchgen.errors import UsageError
from patchgen.live.record import CheckRecord, ScenarioRecord
from patchgen.live.scenario import Promised, Scenario
from patchgen.ui import Ui


@dataclass(frozen=True)
class Asked:
    """A patch that asks for a scenario, and why."""

    patch: int
    why: str


@dataclass(frozen=True)
class Listed:
    """A scenario of the list; it takes all patches that ask for it.

    :ivar long: whether it is run only when it is asked for by its whole name
    """

    name: str
    summary: str
    long: bool
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class ListRecord:
    """The scenarios, in the order in which they are run."""

    scenarios: tuple[Listed, ...]


Record = CheckRecord | ListRecord


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return Record


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from patchgen.commands.build import add_build_options
    from patchgen.source.options import add_source_options

    parser.add_argument("tag", nargs="?", metavar="TAG", help="a QEMU tag, such as v5.2.0")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only this scenario; * stands for anything but what takes long; may be given again",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the scenarios and who asks for them, and stop"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the logs of scenarios that pass, too"
    )
    parser.add_argument(
        "--accel",
        choices=("auto", "tcg", "kvm"),
        default="auto",
        help="auto (default): TCG, and some again under KVM where a probe shows that it works",
    )
    add_build_options(parser)
    add_source_options(parser)


def _chosen(all_: tuple[Promised, ...], only: list[str]) -> tuple[Promised, ...]:
    for pattern in only:
        if not any(_is_chosen(one.scenario, [pattern]) for one in all_):
            raise UsageError(
                f"--only {pattern}: no scenario is called that",
                "`patchgen check --list` shows them",
            )
    return tuple(one for one in all_ if _is_chosen(one.scenario, only))


def _is_chosen(one: Scenario, only: list[str]) -> bool:
    """Long ones must be asked for by name."""
    from fnmatch import fnmatchcase

    if one.long:
        return one.name in only
    return not only or any(fnmatchcase(one.name, pattern) for pattern in only)


def _alone(args: argparse.Namespace) -> tuple[str, ...]:
    """The words that repeat this run but for ``--only``."""
    words = ["patchgen", "check", args.tag, "--keep"]
    for name in ("repo", "source"):
        if value := getattr(args, name):
            words += [f"--{name}", str(value)]
    if args.upto is not None:
        words += ["--upto", str(args.upto)]
    for one in args.submodule:
        words += ["--submodule", one]
    if args.accel != "auto":
        words += ["--accel", args.accel]
    return tuple(words)


def run(args: argparse.Namespace, ui: Ui) -> Record:
    """Do it.

    :raise UsageError: an unknown scenario
    :raise BuildError: exit code 4: there is nothing to check
    """
    from patchgen.engine.series import load_default_series
    from patchgen.live.scenario import promised

    series = load_default_series()
    all_ = promised(series)
    chosen = _chosen(all_, args.only)
    if args.list:
        if not args.only:
            chosen = all_
        return ListRecord(
            tuple(
                Listed(
                    one.scenario.name,
                    one.scenario.summary,
                    one.scenario.long,
                    tuple(Asked(number, why) for number, why in one.patches),
                )
                for one in chosen
            )
        )
    if not args.tag:
        raise UsageError("TAG is missing", "such as: patchgen check v5.2.0, or --list")
    series.upto(args.upto)
    return _check(args, ui, chosen)


def _check(args: argparse.Namespace, ui: Ui, chosen: tuple[Promised, ...]) -> CheckRecord:
    from patchgen.commands.build import build_here
    from patchgen.live.linux import LinuxGuest, linux_guest
    from patchgen.live.qemu import Qemu, qemu_of
    from patchgen.live.runner import Run, run_all, skip
    from patchgen.paths import cache_dir

    started = time.monotonic()
    build = build_here(args, ui)

    @cache
    def pristine() -> Qemu:
        return qemu_of(build_here(args, ui, pristine=True))

    @cache
    def linux() -> LinuxGuest:
        return linux_guest(ui)

    place = cache_dir() / "check" / f"{args.tag}-{build.tree[:12]}"
    alone = _alone(args)
    run = Run(qemu_of(build), place, args.keep, alone, pristine, linux)
    able = tuple(one for one in chosen if one.takes <= build.patches)
    records: list[ScenarioRecord] = []
    with ui.progress("checking", total=len(able)) as meter:
        for record in run_all(run, able, args.accel):
            records.append(record)
            meter.update(min(len(records), len(able)), len(able), record.name)
            if record.state == "failed":
                ui.step(f"{record.name}: failed: {record.reason}")
    for one in chosen:
        if one not in able:
            reason = f"takes {one.takes} patches, this tree has {build.patches}"
            records.append(skip(one, "tcg", reason, alone))
    probed = [one.reason for one in records if one.accel == "kvm" and one.state == "skipped"]
    states = Counter(one.state for one in records)
    return CheckRecord(
        args.tag,
        build.qemu,
        build.commit,
        build.tree,
        build.patches,
        build.binary,
        probed[0] if probed else "",
        tuple(records),
        states["passed"],
        states["failed"],
        states["skipped"],
        round(time.monotonic() - started, 1),
    )


def _line(one: ScenarioRecord) -> str:
    under = f" ({one.accel})" if one.accel != "tcg" else ""
    said = f": {one.reason}" if one.reason else ""
    line = f"{one.state:7}  {one.seconds:6.1f} s  {one.name}{under}{said}"
    if one.state == "failed":
        line += f"\n         logs:  {one.place}\n         alone: {one.alone}"
    elif one.place:
        line += f"\n         logs:  {one.place}"
    for what in one.left_out:
        line += f"\n         left out: {what}"
    return line


def text(record: Record) -> str:
    """The record for people."""
    if isinstance(record, ListRecord):
        lines = []
        for one in record.scenarios:
            long = " (long, run only by --only)" if one.long else ""
            lines.append(f"{one.name}{long}: {one.summary}")
            lines += [f"    patch {asked.patch:2}: {asked.why}" for asked in one.asked]
        count = len(record.scenarios)
        lines.append("1 scenario" if count == 1 else f"{count} scenarios")
        return "\n".join(lines)
    lines = [_line(one) for one in record.scenarios]
    lines.append(
        f"{record.tag} (QEMU {record.qemu}) with {record.patches} patches: {record.passed} passed, "
        f"{record.failed} failed, {record.skipped} skipped in {record.seconds:.0f} s"
    )
    return "\n".join(lines)


def exit_code(record: Record) -> int:
    """0, or 5 if a scenario failed."""
    from patchgen.errors import CheckError

    return CheckError.exit_code if isinstance(record, CheckRecord) and record.failed else 0
