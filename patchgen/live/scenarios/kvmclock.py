"""The clock that KVM gives to its guests. Needs KVM, but not for long: its guest does nothing."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from patchgen.live.accel import DEVICE
from patchgen.live.machine import Machine
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import Failed, Skipped, require, until

FLAG = b"kvmclock/clock_stopped"


def _start(stage: Stage, *more: str, features: str = "") -> Machine:
    """A machine whose firmware is a loop."""
    firmware = bytearray(0x10000)
    firmware[0xFFF0:0xFFF2] = b"\xeb\xfe"
    stage.file("loop.bin").write_bytes(firmware)
    words = ("-cpu", f"qemu64{features}", "-bios", "loop.bin", *more)
    return stage.start(*words, qemu=stage.qemu.under("kvm"), boot=False)


def _require_kvm(stage: Stage) -> None:
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise Skipped(f"{DEVICE} is not there, or may not be opened")
    try:
        probe = _start(stage, features=",-kvmclock")
        require(probe.status() == "running", f"the run state became {probe.status()}")
    except Failed as exc:
        raise Skipped(f"KVM does not work here: {exc}") from exc
    probe.quit()


def _clock(file: Path) -> int:
    """Nanoseconds of the guest's clock in a saved state."""
    data = file.read_bytes()
    head = b"\x08kvmclock" + struct.pack(">II", 0, 1)
    require(data.count(head) == 1, "there is not one section kvmclock")
    (clock,) = struct.unpack_from(">Q", data, data.index(head) + len(head))
    return int(clock)


@scenario("kvmclock-saved-twice", "the clock of a paused KVM guest is saved, loaded, saved again")
def saved_twice(stage: Stage) -> None:
    _require_kvm(stage)
    file, again, stream = stage.file(), stage.file("again.sav"), stage.file("stream")
    first = _start(stage)
    first.execute("stop")
    first.save(file)
    require(FLAG in file.read_bytes(), "the state does not tell that the clock has stopped")
    second = _start(stage, "-S")
    second.load(file)
    second.save(again)
    require(_clock(again) == _clock(file), "the clock of a paused guest was read anew")
    third = _start(stage, "-S")
    third.load(again)
    third.execute("cont")
    third.execute("migrate", uri=f"exec:cat > {stream.name}")
    until(lambda: third.execute("query-migrate")["status"] == "completed", "no migration")
    require(_clock(stream) >= _clock(file), "the guest's clock went back")
    require(FLAG not in stream.read_bytes(), "migration has a new subsection")
