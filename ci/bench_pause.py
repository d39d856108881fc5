"""The pause of a guest: our restart on the distribution's 5.2, upstream's cpr-exec on its 10.2.

The same guest, the same options, in one run and in turns; what a 5.2 and a 10.2 need to start is
measured as well, as that differs. Prints medians and ratios; every round goes to DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from patchgen.build.record import BuildRecord
from patchgen.commands.pause import table
from patchgen.live.figures import Round, as_csv, measured
from patchgen.live.machine import Machine
from patchgen.live.pauses import (
    MEMORIES,
    UPSTREAM,
    Installed,
    Memory,
    Updates,
    cpr_exec_of_private,
    ram_file,
    start_up,
)
from patchgen.live.qemu import Qemu, qemu_of
from patchgen.live.stage import Stage
from patchgen.live.svg import plot
from patchgen.live.waiting import Failed, require

Kinds = list[tuple[str, list[Round]]]
_COMPARED = ("restart, file", "restart, memfd", "later restarts, private", "cpr-exec, file")


def built(tag: str, *more: str) -> BuildRecord:
    """A build of *tag*; what fails ends the bench."""
    command = ["patchgen", "build", tag, "--json", *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    data = json.loads(done.stdout)
    if not data["ok"]:
        sys.exit(f"bench: {data['error']['message']}")
    return msgspec.convert(data["result"], BuildRecord, dec_hook=lambda kind, value: kind(value))


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"-- {text}", file=sys.stderr, flush=True)


class Side:
    """One of the two QEMUs.

    :ivar starts: ms of bare starts
    """

    def __init__(self, name: str, qemu: Qemu, place: Path, more: ExitStack) -> None:
        self.name = name
        self.qemu = qemu
        self._place = place
        self._more = more
        self._stages = 0
        self.starts: list[float] = []

    def stage(self) -> Stage:
        """A new directory, with a disk that no other guest has."""
        self._stages += 1
        place = self._place / str(self._stages)
        place.mkdir(parents=True)
        return self._more.enter_context(Stage(self.qemu, place, lambda: self.qemu))

    def updates(self, memory: Memory, mib: int) -> Updates:
        """A guest to be updated."""
        stage = self.stage()
        ram = self._more.enter_context(ram_file(mib))
        return Updates(stage, Installed(stage.place, self.qemu), memory, mib, ram)

    def start_up(self, memory: Memory, mib: int) -> Callable[[], None]:
        """What starts a QEMU and ends it, and notes how long the start took."""
        stage = self.stage()
        installed = Installed(stage.place, self.qemu)
        ram = self._more.enter_context(ram_file(mib))

        def start() -> None:
            self.starts.append(1e3 * start_up(stage, installed.qemu, memory, mib, ram))

        return start


def in_turns(rounds: int, *players: tuple[str, Updates, Callable[[Machine], Round]]) -> Kinds:
    """*rounds* of each, one after the other, so that a busy host is busy for all of them."""
    machines = {}
    for _, updates, _ in players:
        if id(updates) not in machines:
            machines[id(updates)] = updates.start()
            machines[id(updates)].execute("stop")
    found: Kinds = [(name, []) for name, _, _ in players]
    for _ in range(rounds):
        for (name, mine), (_, updates, play) in zip(found, players, strict=True):
            machine = machines[id(updates)]
            # One guest at a time: each keeps a processor busy.
            machine.execute("cont")
            machine.wait_counting()
            try:
                mine.append(play(machine))
            except Failed as exc:
                raise Failed(f"{name}: {exc}") from exc
            machine.execute("stop")
    for machine in machines.values():
        machine.quit()
    return found


def of_size(ours: Side, theirs: Side, mib: int, rounds: int, firsts: int) -> Kinds:
    """All kinds for one size of RAM."""
    file = ours.updates(MEMORIES["file"], mib)
    memfd = ours.updates(MEMORIES["memfd"], mib)
    upstream = theirs.updates(UPSTREAM, mib)
    say(f"{mib} MiB: {rounds} rounds of each kind")
    kinds = in_turns(
        rounds,
        (f"no update, {mib} MiB", file, file.nothing),
        (f"stop and cont, {mib} MiB", file, file.stop_and_cont),
        (f"restart, file, {mib} MiB", file, file.restart),
        (f"restart, memfd, {mib} MiB", memfd, memfd.restart),
        (f"cpr-exec, file, {mib} MiB", upstream, upstream.cpr_exec),
    )
    say(f"{mib} MiB: {firsts} first restarts of private memory, {rounds} later ones")
    private = ours.updates(MEMORIES["private"], mib)
    first: list[Round] = []
    for number in range(firsts):
        machine = private.start()
        first.append(private.restart(machine))
        if number < firsts - 1:
            machine.quit()
    later = [private.restart(machine) for _ in range(rounds)]
    machine.quit()
    kinds.append((f"first restart, private, {mib} MiB", first))
    kinds.append((f"later restarts, private, {mib} MiB", later))
    starts = [ours.start_up(MEMORIES["file"], mib), theirs.start_up(UPSTREAM, mib)]
    for _ in range(rounds):
        for start in starts:
            start()
    return kinds


def of_plain_memory(ours: Side, theirs: Side) -> list[str]:
    """What becomes of a guest with plain ``-m 128M``."""
    stage = theirs.stage()
    lost = cpr_exec_of_private(stage, Installed(stage.place, theirs.qemu).qemu)
    said = f"the guest is lost (exit code {lost.code}): {lost.said}" if lost.lost else lost.said
    updates = ours.updates(MEMORIES["private"], 128)
    machine = updates.start()
    pause = updates.restart(machine).pause
    machine.quit()
    return [
        "plain -m 128M, no option for the sake of updates:",
        f"  cpr-exec of {theirs.name}: {said}",
        f"  restart of {ours.name}: the guest goes on, pause {pause:.0f} ms",
    ]


def median(kinds: Kinds, start: str) -> float:
    """Of the pauses of a kind."""
    (rounds,) = (rounds for name, rounds in kinds if name.startswith(start))
    return statistics.median(one.pause for one in rounds)


def ratios(kinds: Kinds, sizes: list[int], ours: Side, theirs: Side) -> list[str]:
    """What is asked for, and what there is."""
    a, b = statistics.median(ours.starts), statistics.median(theirs.starts)
    lines = [
        f"bare start until the monitor answers: {ours.name} {a:.1f} ms, {theirs.name} {b:.1f} ms,"
        f" ratio {a / b:.2f}",
    ]
    for mib in sizes:
        file, upstream = (median(kinds, f"{x}, file, {mib} MiB") for x in ("restart", "cpr-exec"))
        lines.append(f"restart / cpr-exec, file, {mib} MiB: {file / upstream:.2f} (target: 1.0)")
        first = median(kinds, f"first restart, private, {mib} MiB")
        later = median(kinds, f"later restarts, private, {mib} MiB")
        each = (first - later) * 1024 / mib
        lines.append(f"first restart of private memory: {each:.0f} ms more per GiB touched")
    if len(sizes) > 1:
        for kind in (
            "restart, file",
            "restart, memfd",
            "later restarts, private",
            "cpr-exec, file",
        ):
            small, large = (median(kinds, f"{kind}, {mib} MiB") for mib in (sizes[0], sizes[-1]))
            lines.append(f"{kind}: {sizes[-1]} MiB / {sizes[0]} MiB: {large / small:.2f}")
    return lines


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="ci/bench pause", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="of each kind (default: 30)")
    parser.add_argument("--firsts", type=int, default=5, help="first restarts of private memory")
    parser.add_argument("--mib", type=int, nargs="+", default=[512, 4096], help="sizes of the RAM")
    parser.add_argument("--upstream", default="v10.2.2", help="QEMU with cpr-exec")
    parser.add_argument("--out", type=Path, default=Path("bench-pause"), metavar="DIR")
    args = parser.parse_args()
    require(args.rounds > 0 and args.firsts > 0, "there is nothing to measure")
    mine = built("v5.2.0", "--source", "distro")
    upstream = built(args.upstream, "--source", "distro", "--pristine")
    args.out.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()[0]
    kinds: Kinds = []
    with tempfile.TemporaryDirectory() as place, ExitStack() as more:
        ours = Side(mine.qemu, qemu_of(mine), Path(place) / "ours", more)
        theirs = Side(upstream.qemu, qemu_of(upstream), Path(place) / "upstream", more)
        try:
            for mib in args.mib:
                kinds += of_size(ours, theirs, mib, args.rounds, args.firsts)
            plain = of_plain_memory(ours, theirs)
        except Failed as exc:
            sys.exit(f"bench: {exc}")
    figures = [(measured(name, rounds), rounds) for name, rounds in kinds]
    (args.out / "pause.csv").write_text(as_csv(kinds), encoding="utf-8")
    quick = [one for one in figures if not one[0].name.startswith("first")]
    (args.out / "pause.svg").write_text(plot("pause", quick), encoding="utf-8")
    print(
        f"{args.rounds} rounds in turns, tcg, {len(os.sched_getaffinity(0))} processors,"
        f" load {before:.1f} to {os.getloadavg()[0]:.1f}"
    )
    print("\n".join(table(tuple(one for one, _ in figures))))
    print("\n".join([*ratios(kinds, args.mib, ours, theirs), *plain]))
    print(f"every round: {args.out / 'pause.csv'}, plot: {args.out / 'pause.svg'}")


if __name__ == "__main__":
    main()
