"""Reboot mode: a guest goes on in another QEMU process, with its memory in place."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.statefile import StateFile
from patchgen.live.waiting import LIMIT, Skipped, require, until


def _info_status(machine: Machine, wanted: str) -> None:
    said = machine.human("info status").strip()
    require(said == f"VM status: {wanted}", f"info status says {said!r}, not {wanted!r}")


def _loaded(
    stage: Stage, file: Path, *more: str, status: str = "running", machine: str = "pc"
) -> Machine:
    """A new process with *file* loaded, in the run state that it must be in then."""
    one = stage.start("-S", *more, machine=machine)
    _info_status(one, "paused (prelaunch)")
    one.load(file)
    require(one.status() == status, f"after cprload it is {one.status()}, not {status}")
    return one


@scenario(
    "reboot-round-trip-qmp",
    "by QMP: cprsave exits with 0, a new process loads, the guest goes on where it was",
    kvm=True,
)
def by_qmp(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    before = first.wait_counting()
    first.wait_lines()
    require(
        first.execute("cprinfo") == {"modes": ["reboot", "restart"]},
        "cprinfo does not say the modes",
    )
    first.save(file)
    require(file.read_bytes().startswith(b"QEVM"), "the file is no migration stream")
    require(file.stat().st_mode & 0o777 == 0o600, "the file can be read by others")
    saved = first.page()

    second = stage.start("-S")
    require(second.status() == "prelaunch", "-S does not wait")
    require(second.guest.counter() == saved.counter, "the start of QEMU changed the guest's RAM")
    second.load(file)
    require(second.status() == "running", "it does not run after cprload")
    second.goes_on(saved)
    require(saved.counter >= before.counter, "the counter went back before the save")
    stage.unharmed()


@scenario(
    "reboot-round-trip-hmp",
    "typed into the human monitor: cprinfo, cprsave, info status, cprload; the guest goes on",
)
def by_hmp(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    first.wait_counting()
    said = first.human("cprinfo")
    require(said.split() == ["reboot", "restart"], f"cprinfo says {said!r}, not the modes")
    _info_status(first, "running")
    first.monitor.type(f"cprsave {file.name} reboot")
    first.ends()
    saved = first.page()

    second = stage.start("-S")
    _info_status(second, "paused (prelaunch)")
    said = second.human(f"cprload {file.name}")
    require(not said, f"cprload says {said!r}")
    _info_status(second, "running")
    second.goes_on(saved)


@scenario(
    "reboot-paused",
    "a guest that is saved while paused stays paused after cprload, and goes on with cont",
)
def paused(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    first.wait_counting()
    first.execute("stop")
    first.stands_still()
    saved = first.page()
    first.save(file)
    require(StateFile.parse(file.read_bytes()).word("state") == "paused", "the seal is not paused")

    second = _loaded(stage, file, status="paused")
    _info_status(second, "paused")
    second.stands_still()
    require(second.page() == saved, "the guest ran though it was paused")
    # Once more, as it is.
    second.save(file)
    third = _loaded(stage, file, status="paused")
    require(third.page() == saved, "the guest ran though it was paused")
    third.execute("cont")
    third.goes_on(saved)


@scenario(
    "reboot-prelaunch",
    "saved before it ever ran, it is in prelaunch after cprload, and boots with cont",
)
def prelaunch(stage: Stage) -> None:
    file = stage.file()
    first = stage.start("-S")
    first.save(file)
    require(first.guest.page() is None, "the guest ran under -S")

    second = _loaded(stage, file, status="prelaunch")
    _info_status(second, "paused (prelaunch)")
    second.stands_still()
    require(second.guest.page() is None, "the guest ran in prelaunch")
    second.execute("cont")
    page = second.wait_counting()
    require(page.starts == 1, f"the guest was started {page.starts} times")
    require(page.seed == stage.seeds[-1], "the guest was not started by the second process")
    second.goes_on(page)


@scenario(
    "reboot-suspended",
    "a guest that suspended itself is suspended after cprload, and wakes with system_wakeup",
)
def suspended(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    first.wait_counting()
    first.guest.command(SUSPEND)
    first.wait_status("suspended")
    first.stands_still()
    saved = first.page()
    first.save(file)

    second = _loaded(stage, file, status="suspended")
    _info_status(second, "paused (suspended)")
    second.stands_still()
    require(second.page() == saved, "the guest ran though it was suspended")
    told = [one["event"] for one in second.qmp.events()]
    require(not told, f"cprload of a suspended guest told {told}")
    second.execute("system_wakeup")
    # What it takes to run is started only now: it has never run in this process.
    for event in ("RESUME", "WAKEUP"):
        second.qmp.wait_event(event)
    second.wait_status("running")
    until(lambda: second.page().wakes == saved.wakes + 1, "the guest does not wake up")
    # Not its timer: the clock of a guest that was suspended is wrong without patch 11.
    second.runs_on(saved)
    require(second.page().wakes == saved.wakes + 1, "the guest woke up more than once")


@scenario(
    "reboot-no-shutdown",
    "with -no-shutdown: cprsave exits all the same, and the guest goes on",
)
def no_shutdown(stage: Stage) -> None:
    file = stage.file()
    first = stage.start("-no-shutdown")
    first.wait_counting()
    first.save(file)
    saved = first.page()
    _loaded(stage, file, "-no-shutdown").goes_on(saved)


@scenario(
    "reboot-events",
    "QMP tells STOP, then SHUTDOWN for host-qmp-quit; after cprload RESUME and no more",
)
def events(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    first.wait_counting()
    first.save(file)
    saved = first.page()
    first.qmp.wait_event("SHUTDOWN")
    told = [(one["event"], one.get("data", {})) for one in first.qmp.events()]
    names = [name for name, _ in told]
    require(names == ["STOP", "SHUTDOWN"], f"cprsave told {names}, not STOP and SHUTDOWN")
    wanted = {"guest": False, "reason": "host-qmp-quit"}
    require(told[1][1] == wanted, f"SHUTDOWN says {told[1][1]}, not {wanted}")

    second = _loaded(stage, file)
    second.qmp.wait_event("RESUME")
    second.goes_on(saved)
    names = [one["event"] for one in second.qmp.events()]
    require(names == ["RESUME"], f"cprload told {names}, not RESUME alone")


def _pass(machine: Machine, path: Path, flags: int) -> str:
    """Open a file here and pass its descriptor to QEMU; the name of its set."""
    fd = os.open(path, flags, 0o600)
    try:
        machine.qmp.send_fd(fd)
        return f"/dev/fdset/{machine.execute('add-fd')['fdset-id']}"
    finally:
        os.close(fd)


@scenario(
    "reboot-passed-fd",
    "FILE is /dev/fdset/N, a descriptor passed over QMP, for cprsave and for cprload",
)
def passed_fd(stage: Stage) -> None:
    file = stage.file()
    file.write_bytes(b"left over " * 100000)
    first = stage.start()
    first.wait_counting()
    inode = file.stat().st_ino
    first.save(_pass(first, file, os.O_WRONLY))
    saved = first.page()
    require(file.stat().st_ino == inode, "the file was replaced, not written in place")
    StateFile.parse(file.read_bytes())

    second = stage.start("-S")
    second.load(_pass(second, file, os.O_RDONLY))
    second.goes_on(saved)
    stage.unharmed()


@scenario(
    "reboot-pipe",
    "FILE is a named pipe that somebody reads: all of the state comes out of it, and loads",
)
def pipe(stage: Stage) -> None:
    fifo, file = stage.file("fifo"), stage.file()
    os.mkfifo(fifo)
    first = stage.start()
    first.wait_counting()
    # Opened before there is a writer; waits for one, and then for its end.
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    def copy() -> None:
        with os.fdopen(fd, "rb") as end:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(1000 * LIMIT)
            os.set_blocking(fd, True)
            file.write_bytes(end.read())

    reader = threading.Thread(target=copy, daemon=True)
    reader.start()
    first.save(fifo)
    saved = first.page()
    reader.join(LIMIT)
    require(not reader.is_alive(), "the pipe was not closed")
    StateFile.parse(file.read_bytes())
    require(fifo.is_fifo(), "the pipe was replaced")
    _loaded(stage, file).goes_on(saved)


@scenario(
    "reboot-symbolic-link",
    "FILE is a symbolic link: its target is replaced in the target's directory",
)
def symbolic_link(stage: Stage) -> None:
    target, link = stage.file("there") / "target", stage.file("link")
    target.parent.mkdir()
    target.write_text("mine", encoding="ascii")
    link.symlink_to("middle")
    stage.file("middle").symlink_to("there/target")
    old = target.stat().st_ino
    first = stage.start()
    first.wait_counting()
    with target.open("rb") as kept:
        first.save(link)
        require(kept.read() == b"mine", "the old file was written to, not replaced")
        require(target.stat().st_ino != old, "the target was not replaced")
    saved = first.page()
    require(link.is_symlink() and stage.file("middle").is_symlink(), "a link was replaced")
    StateFile.parse(target.read_bytes())
    second = _loaded(stage, link)
    second.goes_on(saved)

    # Now a link to nothing.
    target.unlink()
    second.save(link)
    require(link.is_symlink(), "a link was replaced")
    StateFile.parse(target.read_bytes())
    stage.unharmed()


@scenario(
    "reboot-q35",
    "on a q35 machine: running and suspended guests go on in a new process",
    kvm=True,
)
def q35(stage: Stage) -> None:
    file = stage.file()
    first = stage.start(machine="q35")
    first.wait_counting()
    first.save(file)
    saved = first.page()
    second = _loaded(stage, file, machine="q35")
    second.goes_on(saved)
    second.guest.command(SUSPEND)
    second.wait_status("suspended")
    saved = second.page()
    second.save(file)
    third = _loaded(stage, file, status="suspended", machine="q35")
    third.stands_still()
    third.execute("system_wakeup")
    until(lambda: third.page().wakes == 1, "the guest does not wake up")
    third.runs_on(saved)


DEVICES = {
    "virtio-blk-pci": "drive=data",
    "ich9-ahci": "id=ahci",
    "nec-usb-xhci": "id=xhci",
    "usb-tablet": "bus=xhci.0",
    "usb-kbd": "bus=xhci.0",
    "virtio-rng-pci": "",
    "virtio-scsi-pci": "id=scsi",
    "virtio-serial-pci": "id=serial",
    "virtserialport": "bus=serial.0,chardev=port",
    "virtio-balloon-pci": "",
    "virtio-net-pci": "netdev=n0,romfile=",
    "e1000": "netdev=n1,romfile=",
    "intel-hda": "",
    "pci-bridge": "id=bridge,chassis_nr=1",
    "i6300esb": "bus=bridge,addr=1",
}
"""Of a machine that is no minimal one; what is not built is left out."""

CYCLES = 5


def rich(stage: Stage) -> list[str]:
    """Options for a machine with :data:`DEVICES`."""
    for name in ("data", "more"):
        with stage.file(name).open("wb") as file:
            file.truncate(1 << 20)
    words = ["-smp", "2"]
    words += ["-drive", "if=none,id=data,format=raw,file=data"]
    words += ["-chardev", "null,id=port"]
    words += ["-netdev", "hubport,id=n0,hubid=0", "-netdev", "hubport,id=n1,hubid=0"]
    for name, options in DEVICES.items():
        if stage.qemu.has_device(name):
            words += ["-device", f"{name},{options}".rstrip(",")]
    words += ["-drive", "if=none,id=more,format=raw,file=more"]
    return [*words, "-device", "ide-hd,drive=more,bus=ahci.0"]


@scenario(
    "reboot-rich-machine",
    f"two CPUs, disks, USB, network and virtio devices: {CYCLES} saves and loads in a row",
    kvm=True,
)
def rich_machine(stage: Stage) -> None:
    file = stage.file()
    words = rich(stage)
    one = stage.start(*words)
    one.wait_counting()
    for _ in range(CYCLES):
        one.save(file)
        saved = one.page()
        one = _loaded(stage, file, *words)
        one.runs_on(saved)
    one.goes_on(saved)
    cpus = one.human("info cpus").splitlines()
    require(len(cpus) == 2, f"there are {len(cpus)} CPUs, not 2")


@scenario(
    "reboot-file-holds-devices-only",
    "the tree's analyze-migration.py reads the file: devices, no RAM, no disks, no bitmaps",
)
def devices_only(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    first.wait_counting()
    first.save(file)
    said = StateFile.parse(file.read_bytes()).description()
    devices = {str(one["name"]) for one in said["devices"]}
    script = stage.qemu.source / "scripts" / "analyze-migration.py"
    done = subprocess.run(
        [sys.executable, script, "-f", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    errors = done.stderr.strip().splitlines()
    if done.returncode and ("numpy" in errors[-1] or "asscalar" in errors[-1]):
        raise Skipped(f"analyze-migration.py wants a numpy of its time: {errors[-1]}")
    require(done.returncode == 0, f"analyze-migration.py: {' '.join(errors[-1:])}")
    read = {name.rpartition(" (")[0] for name in json.loads(done.stdout)}
    for name in ("ram", "block", "dirty-bitmap"):
        require(name not in read, f"the file has a section {name}")
    missing = sorted(devices - read)
    require(not missing, f"analyze-migration.py does not find {' '.join(missing)}")
    require({"timer", "cpu", "cpr-ram"} <= devices, f"the file describes {sorted(devices)}")
