"""A ``cprsave FILE restart`` that fails, and a QEMU process that does not show it."""

from __future__ import annotations

import subprocess
import termios
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.observer import GuestPage
from patchgen.live.qemu import Qemu
from patchgen.live.restart import STATE, image_of, restart
from patchgen.live.stage import Stage
from patchgen.live.waiting import Failed, require, until

CLOEXEC = 0o2000000
DATA = "data"
"""The disk that :func:`with_disk` adds."""
_MINE = b"not a VM state\n"


def with_disk(stage: Stage) -> list[str]:
    """Options for a disk called :data:`DATA`, at which nobody is at work."""
    stage.disk(f"{DATA}.qcow2", "qcow2")
    drive = f"if=none,id={DATA},format=qcow2,file={DATA}.qcow2"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={DATA}"]


def writes(machine: Machine, byte: int) -> None:
    """Require that the disk of :func:`with_disk` can be written to and read.

    :raise Failed: it cannot
    """
    for line in (f"write -P {byte} 0 4k", f"read -P {byte} 0 4k"):
        said = machine.human(f'qemu-io {DATA} "{line}"')
        require("4 KiB" in said and "failed" not in said, f"{line} of the disk: {said}")


def _held(stage: Stage, image: str) -> None:
    """Require that *image* is locked.

    :raise Failed: others may open it
    """
    words = [str(stage.qemu.img), "info", image]
    done = subprocess.run(words, cwd=stage.place, capture_output=True, text=True, check=False)
    require("lock" in done.stderr, f"the disk is not locked any more: {done.stderr.strip()}")


def descriptors(pid: int) -> dict[int, tuple[str, bool]]:
    """(what it is, whether exec closes it) by number, of a process."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            info = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text(encoding="ascii")
            link = str(entry.readlink())
        except FileNotFoundError:
            # QEMU opens and closes files all the time.
            continue
        flags = next(line.split()[1] for line in info.splitlines() if line.startswith("flags:"))
        found[int(entry.name)] = link, bool(int(flags, 8) & CLOEXEC)
    return found


def _signals(pid: int) -> list[str]:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return [line for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]


@dataclass(frozen=True)
class Process:
    """What a failure must leave alone in a process.

    :ivar image: :func:`~patchgen.live.restart.image_of`
    :ivar rest: everything else but descriptors, by its name
    :ivar fds: :func:`descriptors`
    """

    image: tuple[bytes, bytes]
    rest: dict[str, object]
    fds: dict[int, tuple[str, bool]]

    @classmethod
    def of(cls, machine: Machine) -> Process:
        """How it is now."""
        proc = Path(f"/proc/{machine.pid}")
        rest: dict[str, object] = {
            "environment": (proc / "environ").read_bytes(),
            "working directory": (proc / "cwd").readlink(),
            "terminal": termios.tcgetattr(machine.monitor.process.child_fd),
            "signals": _signals(machine.pid),
        }
        return cls(image_of(machine.pid), rest, descriptors(machine.pid))

    def unchanged(self, machine: Machine) -> None:
        """Require that it is so still, but that RAM may be in memfds by now.

        :raise Failed: something is changed; the message names it
        """
        now = Process.of(machine)
        require(now.image == self.image, "the process has called exec")
        for name, value in self.rest.items():
            require(now.rest[name] == value, f"{name} was {value!r}, and is {now.rest[name]!r}")
        # What QEMU has open for a moment is gone the next time.
        other: list[str] = []

        def same() -> bool:
            other[:] = self._other(descriptors(machine.pid))
            return not other

        try:
            until(same, "", limit=5)
        except Failed:
            raise Failed(f"descriptors are not as before: {', '.join(other)}") from None

    def _other(self, now: dict[int, tuple[str, bool]]) -> list[str]:
        was, found = Counter(_kinds(self.fds)), Counter(_kinds(now))
        # Devices and disks have more or fewer of them from one moment to the next.
        gone = [one for one in was - found if _EVENTS not in one]
        new = [one for one in found - was if one != _EVENTS + _CLOSED]
        return [f"no {one}" for one in gone] + [
            one for one in new if not (one.startswith("/memfd:ram ") and one.endswith(_CLOSED))
        ]


_EVENTS = "anon_inode:[eventfd]"
_CLOSED = ", closed by exec"


def _kinds(fds: dict[int, tuple[str, bool]]) -> Iterator[str]:
    """What the descriptors are; a disk that is opened anew has another number."""
    for fd, (link, closed) in fds.items():
        number = f"{fd}: " if fd <= 2 else ""
        yield f"{number}{link}{_CLOSED if closed else ''}"


class Subject:
    """A VM whose restarts fail, and that must not show it.

    :ivar machine: it
    :param qemu: at a path of its own, if another one is to be put there
    :param wrap: what else the command line is to be
    :param memory: as for :meth:`Stage.argv`; RAM is private by default
    :param held: whether the image of its disk is locked
    """

    def __init__(
        self,
        stage: Stage,
        *more: str,
        qemu: Qemu | None = None,
        wrap: Callable[[list[str]], list[str]] = list,
        memory: str | None = None,
        machine: str = "pc",
        held: bool = True,
    ) -> None:
        self._stage = stage
        self._tries = 0
        self._image = f"{DATA}.qcow2" if held else ""
        words = [*with_disk(stage), *more]
        argv = stage.argv(*words, qemu=qemu, memory=memory, machine=machine)
        self.machine = stage.spawn(wrap(argv), qemu=qemu)
        self.machine.watch_process()
        self.machine.wait_counting()

    def _alive(self, since: GuestPage) -> None:
        machine = self.machine
        machine.runs_on(since)
        until(lambda: machine.page().ticks > since.ticks, "the guest's clock stands still")
        self._tries += 1
        writes(machine, self._tries % 256)
        if self._image:
            _held(self._stage, self._image)

    def fails(
        self,
        *says: str,
        file: Path | str = STATE,
        during: AbstractContextManager[None] | None = None,
        held: str = "",
    ) -> str:
        """Require that ``cprsave`` fails, with *says* in its error, and leaves all as it was.

        FILE is there every other time.

        :param during: entered for the command alone
        :param held: from now on the image of the disk, which must be locked
        :return: the error
        :raise Failed: something is not so
        """
        machine, stage = self.machine, self._stage
        self._image = held or self._image
        path = stage.file(str(file))
        mine = self._tries % 2 and file == STATE
        if mine:
            path.write_bytes(_MINE)
        since, before = machine.page(), Process.of(machine)
        with stage.telling(f"a restart that fails for {says[0]!r}"):
            with during or nullcontext():
                said = machine.refusal("cprsave", file=str(file), mode="restart")
            for part in says:
                require(part in said, f"the error does not say {part!r}: {said}")
            require(machine.monitor.alive(), "QEMU ended")
            before.unchanged(machine)
            self._alive(since)
            stage.unharmed()
            if mine:
                require(path.read_bytes() == _MINE, "FILE was changed")
                path.unlink()
            elif file == STATE:
                stage.unharmed(STATE)
        return said

    def exec_fails(self, says: str) -> None:
        """Require that ``cprsave`` succeeds, that the exec behind it fails, and nothing is changed.

        :param says: a part of the reason that the event tells
        :raise Failed: something is not so
        """
        machine, stage = self.machine, self._stage
        since, before = machine.page(), Process.of(machine)
        machine.qmp.events().clear()
        with stage.telling(f"an exec that fails for {says!r}"):
            answer = machine.execute("cprsave", file=STATE, mode="restart")
            require(answer == {}, f"cprsave returned {answer}")
            told = machine.qmp.wait_event("CPR_EXEC_FAILED")["data"]["reason"]
            require(says in told, f"the event does not tell {says!r}: {told}")
            machine.qmp.wait_event("RESUME")
            names = [one["event"] for one in machine.qmp.events()]
            require(names == ["STOP", "CPR_EXEC_FAILED", "RESUME"], f"told: {names}")
            before.unchanged(machine)
            self._alive(since)
            stage.unharmed(STATE)

    def restarts(self) -> None:
        """Require that a restart works.

        :raise Failed: it does not
        """
        with self._stage.telling("the restart that follows"):
            since = restart(self.machine)
            self._alive(since)
            self._stage.unharmed()
