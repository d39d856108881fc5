"""What a save, a load, or one that came to nothing leaves behind in a process that goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from patchgen.live.faults import FAIL, with_faults
from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND, GuestPage
from patchgen.live.qmp import Refused
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import Failed, require, until


def _completes(machine: Machine) -> None:
    """Until a migration that was started is done."""

    def done() -> bool:
        told = machine.execute("query-migrate")
        if told["status"] in ("failed", "cancelled"):
            raise Failed(f"the migration {told['status']}: {told.get('error-desc', '')}")
        return bool(told["status"] == "completed")

    until(done, "the migration does not complete")


def _arrives(stage: Stage, machine: Machine) -> Machine:
    """Require that the file ``stream`` holds the guest of *machine*, RAM and all; its new process.

    Nothing but the stream is left of the guest: the file with its RAM is removed.
    """
    saved = machine.page()
    machine.close()
    stage.ram.unlink()
    # Deferred, so that the monitors are there however soon it ends.
    one = stage.start("-S", "-incoming", "defer")
    try:
        one.execute("migrate-incoming", uri="exec:cat stream")
        until(lambda: one.status() != "inmigrate", "it gets nothing")
    except (Failed, Refused) as exc:
        raise Failed(f"the destination does not take the stream: {exc}") from exc
    require(one.status() == "paused", f"the destination is {one.status()}")
    require(one.guest.page() == saved, "the guest's RAM is not in the stream")
    one.execute("cont")
    one.goes_on(saved)
    return one


def _migrates(stage: Stage, machine: Machine) -> Machine:
    """Migrate to a file, and from it into a new process."""
    machine.execute("migrate", uri="exec:cat > stream")
    _completes(machine)
    return _arrives(stage, machine)


@scenario(
    "migrates-after-a-failed-save",
    "after a cprsave that failed, the guest migrates with its RAM to a fresh process",
)
def after_a_failed_save(stage: Stage) -> None:
    first = stage.start()
    first.wait_counting()
    first.refusal("cprsave", file="/dev/full", mode="reboot")
    _migrates(stage, first)


@scenario(
    "migrates-after-a-load",
    "after cprload, failed and good, the guest migrates with its RAM to a fresh process",
)
def after_a_load(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    first.wait_counting()
    first.save(file)
    saved = first.page()
    second = stage.start("-S")
    second.refusal("cprload", file="none")
    second.load(file)
    second.goes_on(saved)
    _migrates(stage, second)


def _goes_on_after(machine: Machine, what: str) -> None:
    require(machine.monitor.alive(), f"QEMU ended after {what}")
    status = machine.status()
    require(status == "running", f"the VM is {status} after {what}")
    machine.goes_on(machine.page())


@scenario(
    "save-fails-flush",
    "a disk that cannot be flushed when the VM is stopped fails cprsave; the guest runs on",
)
def flush(stage: Stage) -> None:
    stage.file("bad").write_bytes(bytes(1 << 20))
    disk = (
        "driver=blkdebug,if=none,id=bad,image.driver=file,image.filename=bad,"
        "inject-error.0.event=none,inject-error.0.iotype=flush,inject-error.0.once=on,"
        f"inject-error.0.errno={errno.EIO}"
    )
    machine = stage.start("-drive", disk)
    machine.wait_counting()
    # What was not written to need not be flushed.
    machine.human('qemu-io bad "write 0 512"')
    said = machine.refusal("cprsave", file=str(stage.file()), mode="reboot")
    require("Could not flush the disks" in said, f"cprsave says {said!r}")
    stage.unharmed("guest.sav")
    _goes_on_after(machine, "a flush that failed")
    machine.save(stage.file())


@scenario(
    "save-fails-sync",
    "FILE or its directory cannot be synchronized: cprsave fails, and no FILE is left to load",
)
def sync(stage: Stage) -> None:
    there = stage.file("there")
    there.write_bytes(b"mine")
    machine = stage.spawn(with_faults(stage.place, stage.argv()))
    machine.wait_counting()
    fail = stage.file(FAIL)
    for call, says in (("fdatasync", "the file to disk"), ("fsync", "the directory to disk")):
        fail.write_text(call, encoding="ascii")
        for file in (stage.file(), there):
            said = machine.refusal("cprsave", file=str(file), mode="reboot")
            wanted = f"Could not write {says}: {os.strerror(errno.EIO)}"
            require(wanted in said, f"{call} fails, and cprsave says {said!r}")
            _goes_on_after(machine, f"{call} failed")
        stage.unharmed("guest.sav")
        if call == "fdatasync":
            require(there.read_bytes() == b"mine", "the file that was there was written to")
    fail.unlink()
    machine.save(stage.file())
    saved = machine.page()
    second = stage.start("-S")
    second.load(stage.file())
    second.goes_on(saved)


def _descriptors(machine: Machine) -> list[str]:
    """What the files are that the process has open."""
    found = []
    for one in Path(f"/proc/{machine.pid}/fd").iterdir():
        try:
            found.append(str(one.readlink()))
        except FileNotFoundError:
            continue
    return sorted(found)


@scenario(
    "saves-and-loads-leak-nothing",
    "saves and loads that are refused or fail leave no file descriptor open",
)
def descriptors(stage: Stage) -> None:
    bad = stage.file("bad.sav")
    first = stage.start()
    first.wait_counting()
    before = _descriptors(first)
    for file in ("/dev/full", "none/guest.sav", "ram", str(stage.place)):
        for _ in range(3):
            first.refusal("cprsave", file=file, mode="reboot")
    after = _descriptors(first)
    require(after == before, f"left open by cprsave: {' '.join(set(after) - set(before))}")
    first.save(stage.file())
    saved = first.page()
    bad.write_bytes(stage.file().read_bytes()[:-1])
    second = stage.start("-S")
    before = _descriptors(second)
    for file in (str(bad), "none", "/dev/null", "boot.img"):
        for _ in range(3):
            second.refusal("cprload", file=file)
    second.load(stage.file())
    second.goes_on(saved)
    after = _descriptors(second)
    require(after == before, f"left open by cprload: {' '.join(set(after) - set(before))}")


def _came_back(page: GuestPage, since: GuestPage) -> GuestPage | None:
    return page if (page.starts, page.wakes) != (since.starts, since.wakes) else None


@scenario(
    "wakes-after-a-reset",
    "loaded suspended, then reset: from then on suspend and wakeup are as in any other VM",
)
def wakeup_after_a_reset(stage: Stage) -> None:
    first = stage.start()
    first.wait_counting()
    first.guest.command(SUSPEND)
    until(lambda: first.status() == "suspended", "the guest does not suspend")
    first.save(stage.file())
    saved = first.page()
    second = stage.start("-S")
    second.load(stage.file())
    second.execute("system_reset")
    until(lambda: second.status() == "prelaunch", "a reset does not lead to prelaunch")
    second.execute("cont")
    # Some firmware takes the reset of a suspended machine for a wakeup.
    page = until(lambda: _came_back(second.page(), saved), "it does not start after the reset")
    second.wait_counting()
    second.guest.command(SUSPEND)
    until(lambda: second.status() == "suspended", "it does not suspend again")
    second.execute("system_wakeup")
    until(lambda: second.page().wakes == page.wakes + 1, "it does not wake up")
    second.wait_counting()
    told = [one["event"] for one in second.qmp.events()]
    require(told.count("RESUME") == 1, f"the VM was started again by a wakeup: {' '.join(told)}")


@scenario(
    "cprinfo-words",
    "cprinfo of the human monitor prints the modes and nothing else, in any run state",
)
def info_words(stage: Stage) -> None:
    machine = stage.start("-S")
    for status in ("prelaunch", "running", "paused"):
        require(machine.status() == status, f"the VM is not {status}")
        modes = machine.execute("cprinfo")["modes"]
        require("reboot" in modes, f"cprinfo says {modes}")
        said = machine.execute("human-monitor-command", command_line="cprinfo")
        require(said == " ".join(modes) + "\r\n", f"typed, it says {said!r}")
        machine.execute("cont" if status == "prelaunch" else "stop")
