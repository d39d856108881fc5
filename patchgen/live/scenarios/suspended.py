"""Guests that are suspended to RAM: saved, loaded, woken up."""

from __future__ import annotations

import struct
import time
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND, GuestPage
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import require, until


def suspend(machine: Machine) -> GuestPage:
    """Let the guest suspend itself; its page then."""
    machine.wait_counting()
    machine.wait_lines()
    machine.guest.command(SUSPEND)
    until(lambda: machine.status() == "suspended", "the guest does not suspend")
    return machine.page()


def wake(machine: Machine, since: GuestPage) -> None:
    """Wake the guest of *since* up, and require that it goes on by its waking vector."""
    machine.execute("system_wakeup")
    until(lambda: machine.page().wakes == since.wakes + 1, "the guest does not wake up")
    machine.goes_on(since)
    require(machine.status() == "running", "it does not run after the wakeup")


def virtual_clock(file: Path) -> int:
    """Nanoseconds of the VM's clock in a saved state."""
    head = b"\x05timer" + struct.pack(">II", 0, 2)
    _, _, clock = struct.unpack_from(">qqq", *_behind(file.read_bytes(), head))
    return int(clock)


def _behind(data: bytes, head: bytes) -> tuple[bytes, int]:
    require(data.count(head) == 1, "there is not one section with the timers")
    return data, data.index(head) + len(head)


@scenario(
    "suspended-round-trips",
    "saved while suspended, loaded, saved again without a wakeup, loaded, woken: its clock goes on",
)
def round_trips(stage: Stage) -> None:
    file, again, later = stage.file(), stage.file("again.sav"), stage.file("later.sav")
    first = stage.start()
    since = suspend(first)
    first.save(file)
    clock = virtual_clock(file)
    require(clock > 0, f"the clock that was saved says {clock} ns")

    second = stage.start("-S")
    second.load(file)
    require(second.status() == "suspended", "it is not suspended after cprload")
    second.refusal("cprsave", file="/dev/full", mode="reboot")
    require(second.status() == "suspended", "it is not suspended after a cprsave that failed")
    second.save(again)
    require(virtual_clock(again) == clock, "the clock of a guest that never woke up went on")

    third = stage.start("-S")
    third.load(again)
    woken = time.monotonic_ns()
    wake(third, since)
    third.save(later)
    gone = virtual_clock(later) - clock
    require(0 < gone <= time.monotonic_ns() - woken, f"the clock jumped by {gone} ns")


@scenario("suspended-save-fails", "cprsave of a suspended guest fails, and its clock goes on")
def save_fails(stage: Stage) -> None:
    machine = stage.start()
    since = suspend(machine)
    machine.refusal("cprsave", file="/dev/full", mode="reboot")
    wake(machine, since)
    machine.save(stage.file())


PM1_EN, ALARM = 0x602, 0x400
"""The register that says what wakes the guest up, and its bit for the RTC."""


def _out(machine: Machine, port: int, value: int, size: str = "b") -> None:
    machine.human(f"o /{size} {port:#x} {value:#x}")


def _rtc(machine: Machine, register: int, value: int | None = None) -> int:
    """Read a register of the RTC, or write it."""
    _out(machine, 0x70, register)
    if value is not None:
        _out(machine, 0x71, value)
        return value
    said = machine.human("i /xb 0x71")
    return int(said.rpartition("=")[2], 16)


@scenario("suspended-alarm", "the guest's alarm wakes it up after cprload")
def alarm(stage: Stage) -> None:
    file = stage.file()
    first = stage.start(machine="q35")
    since = suspend(first)
    now = _rtc(first, 0)
    seconds = ((now >> 4) * 10 + (now & 15) + 15) % 60
    for register, value in ((1, seconds // 10 << 4 | seconds % 10), (3, 0xC0), (5, 0xC0)):
        _rtc(first, register, value)
    _rtc(first, 0xB, _rtc(first, 0xB) | 0x20)
    _out(first, PM1_EN, ALARM, "w")
    first.save(file)
    second = stage.start("-S", machine="q35")
    second.load(file)
    until(lambda: second.page().wakes == since.wakes + 1, "the alarm does not wake it up")
    second.goes_on(since)


@scenario("suspended-then-reset", "a guest that was reset while it was suspended keeps its clock")
def then_reset(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    since = suspend(first)
    first.execute("system_reset")
    until(lambda: first.status() == "prelaunch", "the guest is not reset")
    first.save(file)
    clock = virtual_clock(file)
    require(clock > 0, f"the clock that was saved says {clock} ns")
    second = stage.start("-S")
    second.load(file)
    second.execute("cont")
    # The firmware takes it for a wakeup: the note that the guest sleeps outlives a reset.
    until(lambda: second.page().wakes == since.wakes + 1, "the guest does not start")
    second.goes_on(since)
