"""Rounds of updates of a guest's QEMU, to be measured: what its RAM is, how it is replaced."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from patchgen.live.figures import Round
from patchgen.live.machine import Machine
from patchgen.live.monitor import COLUMNS, Monitor
from patchgen.live.qemu import Qemu, environment
from patchgen.live.sampler import Eye, replaced, stood_still
from patchgen.live.stage import SHARED, Stage
from patchgen.live.transcript import rendered

STATE = "guest.sav"
_FILL = 16 << 20
"""Bytes at a time; our guest uses less than that, at the bottom."""
_SPAN = 0.5
"""Seconds of a round in which nothing is done."""
_LOST = 30.0
"""Seconds after which a guest that is still there is not lost."""


@dataclass(frozen=True)
class Memory:
    """What a guest's RAM is.

    :ivar machine: the machine, with the property that makes it so
    :ivar backend: as for :meth:`Stage.argv`
    :ivar file: whether it is in a file with a name
    :ivar filled: whether all of it is written to before it is measured
    """

    name: str
    machine: str
    backend: str | None
    file: bool = False
    filled: bool = False


MEMORIES = {
    one.name: one
    for one in (
        Memory("file", "pc", SHARED, file=True),
        Memory("memfd", "pc,memfd-alloc=on", None),
        Memory("private", "pc", None, filled=True),
    )
}
UPSTREAM = Memory("upstream", "pc,aux-ram-share=on", SHARED, file=True)
"""What cpr-exec of QEMU 10.2 asks for."""

Tell = Callable[[float, float], None]
"""Is told how many rounds are done, and of how many."""


class Installed:
    """A binary at a path where another one can be put while it runs.

    The two take turns; both are copies, so that a process shows which of them it is.

    :param second: the one that takes the place of *qemu*'s; the same is as good
    """

    def __init__(self, place: Path, qemu: Qemu, second: Path | None = None) -> None:
        self._path = place / "bin" / "qemu-system-x86_64"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._copies = [place / "first", place / "second"]
        for copy, source in zip(self._copies, (qemu.binary, second or qemu.binary), strict=True):
            shutil.copy(source, copy)
        # It does not find what lies beside the original.
        firmware = qemu.firmware or (qemu.source / "pc-bios",)
        self.qemu = replace(qemu, binary=self._path, firmware=firmware)
        self._put()

    def _put(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        os.link(self._copies[0], fresh)
        fresh.replace(self._path)

    def update(self) -> None:
        """Put the other one in the path."""
        self._copies.reverse()
        self._put()


class Updates:
    """A guest whose QEMU is replaced again and again.

    :param ram: path of a file for RAM that is in one; on a file system in memory, or what the
        host writes to its disk is in the figures
    """

    def __init__(
        self, stage: Stage, installed: Installed, memory: Memory, mib: int, ram: Path
    ) -> None:
        self._stage = stage
        self._installed = installed
        self._memory = memory
        self._mib = mib
        self._ram = ram

    def start(self) -> Machine:
        """A machine with a guest that counts."""
        self._ram.unlink(missing_ok=True)
        machine = self._stage.start(
            qemu=self._installed.qemu,
            machine=self._memory.machine,
            memory=self._memory.backend,
            mib=self._mib,
            ram=str(self._ram),
        )
        if not self._memory.file:
            machine.watch_process()
        machine.wait_counting()
        machine.wait_lines()
        if self._memory.filled:
            # Pages of zeros need not be moved, so there shall be none.
            page = b"\x5a" * _FILL
            for address in range(_FILL, self._mib << 20, _FILL):
                machine.guest.write(address, page)
        return machine

    def _eye(self, machine: Machine) -> Eye:
        return Eye(machine, self._ram if self._memory.file else None, self._mib)

    def restart(self, machine: Machine) -> Round:
        """Replace its QEMU by ``cprsave`` and a ``cprload`` that is typed in advance.

        :raise Failed: the guest does not go on as it was
        """
        return self._replace(machine, f"cprsave {STATE} restart", f"cprload {STATE}")

    def cpr_exec(self, machine: Machine) -> Round:
        """Replace its QEMU by upstream's cpr-exec.

        :raise Failed: the guest does not go on as it was
        """
        prepare_cpr_exec(machine)
        return self._replace(machine, f"migrate -d file:{STATE}", "")

    def _replace(self, machine: Machine, save: str, load: str) -> Round:
        self._installed.update()
        before = machine.page()
        eye = self._eye(machine)
        try:
            one = replaced(machine, eye, save, load)
        finally:
            eye.close()
        machine.reconnect()
        if not self._memory.file:
            machine.watch_process()
        machine.runs_on(before)
        return one

    def stop_and_cont(self, machine: Machine) -> Round:
        """The baseline of what is stopped and goes on at once."""
        return self._still(machine, "stop", "cont")

    def nothing(self, machine: Machine) -> Round:
        """The baseline of what the host and the sampler add: nothing is done."""
        return self._still(machine, seconds=_SPAN)

    def _still(self, machine: Machine, *lines: str, seconds: float = 0.0) -> Round:
        eye = self._eye(machine)
        try:
            return stood_still(machine, eye, *lines, seconds=seconds)
        finally:
            eye.close()


def prepare_cpr_exec(machine: Machine) -> None:
    """Tell upstream's QEMU the command that the process is to become."""
    command = [*machine.command, "-incoming", f"file:{STATE}"]
    machine.execute("migrate-set-parameters", mode="cpr-exec", cpr_exec_command=command)


@dataclass(frozen=True)
class Lost:
    """What upstream's cpr-exec makes of private RAM.

    :ivar lost: whether the process has ended, and the guest with it
    :ivar code: exit code of the process, negative for a signal; 0 if it is still there
    :ivar said: its last words, or the run state
    """

    lost: bool
    code: int
    said: str


def cpr_exec_of_private(stage: Stage, qemu: Qemu, mib: int = 128) -> Lost:
    """Upstream's cpr-exec with plain ``-m``.

    :raise Failed: the guest does not even start
    """
    machine = stage.start(qemu=qemu, memory=None, mib=mib)
    machine.watch_process()
    machine.wait_counting()
    prepare_cpr_exec(machine)
    machine.monitor.type(f"migrate -d file:{STATE}")
    shown, deadline = b"", time.monotonic() + _LOST
    while time.monotonic() < deadline:
        fresh = machine.monitor.available(0.1)
        if fresh is None:
            told = [one.partition("qemu-system-x86_64: ")[2] for one in rendered(shown, COLUMNS)]
            said = [one for one in told if one]
            return Lost(True, machine.monitor.wait_end(), " / ".join(said[-1:]))
        shown += fresh
    machine.reconnect()
    return Lost(False, 0, machine.status())


def start_up(stage: Stage, qemu: Qemu, memory: Memory, mib: int, ram: Path) -> float:
    """Seconds from the start of a process with ``-S`` until its monitor answers.

    The monitor greets long before that, but answers only when the machine is made.

    :raise Failed: it does not start
    """
    argv = stage.argv(
        "-S",
        qemu=qemu,
        machine=memory.machine,
        memory=memory.backend,
        mib=mib,
        ram=str(ram),
    )
    argv += ["-monitor", "stdio"]
    # No guest runs that could want another one.
    stage.file("seed").write_bytes(bytes(4))
    begun = time.monotonic()
    monitor = Monitor(argv, stage.place, environment(), stage.file("start.raw"))
    try:
        monitor.type("info status")
        while "VM status" not in monitor.wait_prompt():
            pass
        seconds = time.monotonic() - begun
        monitor.type("quit")
        monitor.wait_end()
    finally:
        monitor.close()
    return seconds


@contextmanager
def ram_file(mib: int) -> Iterator[Path]:
    """A path for RAM of that size, on a file system in memory if there is one with room for it.

    What the host writes to its disk would be in the figures otherwise.
    """
    memory = Path("/dev/shm")
    room = shutil.disk_usage(memory).free if memory.is_dir() else 0
    with tempfile.TemporaryDirectory(
        prefix="patchgen-", dir=memory if room > 2 * mib << 20 else None
    ) as place:
        yield Path(place) / "ram"


def rounds_of(
    stage: Stage, memory: Memory, mib: int, count: int, ram: Path, tell: Tell
) -> list[tuple[str, list[Round]]]:
    """*count* rounds of each kind: nothing, stop and cont, restart; each guest is new to its kind.

    The first restart of private memory is a kind of its own, with a new guest in each round.

    :param tell: is told after each round how many are done, of how many
    :raise Failed: a guest does not go on
    """
    updates = Updates(stage, Installed(stage.place, stage.qemu), memory, mib, ram)
    kinds = [("no update", updates.nothing), ("stop and cont", updates.stop_and_cont)]
    later = "restart"
    total = count * (4 if memory.filled else 3)
    done = 0
    found: list[tuple[str, list[Round]]] = []
    if memory.filled:
        later = "later restarts"
        firsts = []
        for _ in range(count):
            machine = updates.start()
            firsts.append(updates.restart(machine))
            machine.quit()
            done += 1
            tell(done, total)
        found.append(("first restart", firsts))
    machine = updates.start()
    if memory.filled:
        updates.restart(machine)
    for name, play in [*kinds, (later, updates.restart)]:
        rounds = []
        for _ in range(count):
            rounds.append(play(machine))
            done += 1
            tell(done, total)
        found.append((name, rounds))
    machine.quit()
    return found
