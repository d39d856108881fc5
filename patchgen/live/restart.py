"""Restart mode: QEMU becomes another QEMU in the same process, and its guest goes on there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.observer import GuestPage
from patchgen.live.qemu import Qemu
from patchgen.live.stage import Stage
from patchgen.live.waiting import require

STATE = "guest.sav"
"""The file for the state of the devices."""


def copied(stage: Stage, name: str = "qemu") -> Qemu:
    """The QEMU under test at a path of its own, where another one may be put later.

    :param name: of the copy, in the stage's directory
    """
    path = stage.file(name)
    path.parent.mkdir(exist_ok=True)
    shutil.copy(stage.qemu.binary, path)
    # It does not find what lies beside the original.
    firmware = stage.qemu.firmware or (stage.qemu.source / "pc-bios",)
    return replace(stage.qemu, binary=path, firmware=firmware)


def started(stage: Stage, *more: str, memory: str | None = None, **others: object) -> Machine:
    """A machine, by default with private RAM (plain ``-m``); its guest is seen in the process.

    :param others: as for :meth:`Stage.start`
    """
    machine = stage.start(*more, memory=memory, **others)  # type: ignore[arg-type]
    machine.watch_process()
    return machine


def image_of(pid: int) -> tuple[bytes, bytes]:
    """(what stays over exec, what every exec makes anew) of a process."""
    stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    started = stat[19]
    return started, Path(f"/proc/{pid}/auxv").read_bytes()


def restarted(machine: Machine, file: str = STATE, *, by: str = "qmp") -> str:
    """``cprsave FILE restart``, until the new QEMU in the same process answers, in prelaunch.

    The guest is seen in the new process then; before ``cprload`` it has no RAM of its own.

    :param by: ``qmp`` or ``hmp``
    :return: what the new QEMU printed before its monitor opened: warnings
    :raise Failed: it is not so
    """
    since, old = image_of(machine.pid)
    if by == "qmp":
        answer = machine.execute("cprsave", file=file, mode="restart")
        require(answer == {}, f"cprsave returned {answer}")
    else:
        machine.monitor.type(f"cprsave {file} restart")
    said = machine.rejoin()
    now, new = image_of(machine.pid)
    require(now == since, "the process is another one with the same id")
    require(new != old, "the process has not called exec")
    status = machine.status()
    require(status == "prelaunch", f"the new QEMU is {status}, not prelaunch")
    machine.watch_process()
    return said


def loaded(
    machine: Machine,
    since: GuestPage,
    file: str = STATE,
    *,
    status: str = "running",
    by: str = "qmp",
) -> None:
    """``cprload`` in the QEMU that :func:`restarted` has left, and continuation.

    :param since: the guest before
    :param status: the run state that it must be in
    :raise Failed: it is not so; a guest that runs must have the seed and the start of *since*, a
        counter that has not gone back, and its pattern
    """
    if by == "qmp":
        machine.load(file)
    else:
        said = machine.human(f"cprload {file}")
        require(not said, f"cprload says {said!r}")
    now = machine.status()
    require(now == status, f"after cprload it is {now}, not {status}")
    if status == "running":
        machine.runs_on(since)
    else:
        require(machine.page() == since, f"the guest ran though it was {status}")


def restart(machine: Machine, file: str = STATE, *, by: str = "qmp") -> GuestPage:
    """:func:`restarted` and :func:`loaded` for a guest that runs; its page before.

    :raise Failed: as there
    """
    since = machine.wait_counting()
    restarted(machine, file, by=by)
    loaded(machine, since, file, by=by)
    return since
