"""What a new QEMU would not have, or not have as it is now, refuses a restart by its name."""

from __future__ import annotations

import os
from collections.abc import Callable

from patchgen.live.intact import DATA, Subject
from patchgen.live.refusal import HEAD, check_reasons
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import until

_GONE, _NEW = "is gone, but in the command line", "is not in the command line"


def _deleted(subject: Subject, name: str) -> None:
    """Unplug a USB device, which needs no guest."""
    machine = subject.machine
    machine.qmp.events().clear()
    machine.execute("stop")
    machine.execute("device_del", id=name)
    machine.qmp.wait_event("DEVICE_DELETED")
    machine.execute("cont")
    machine.qmp.wait_event("RESUME")


@scenario(
    "restart-refuses-what-was-added",
    "backends, disks, media, devices that are not in the command line: refused until they are gone",
)
def added(stage: Stage) -> None:
    for name in ("cd", "other"):
        stage.disk(name, "raw")
    cd = "if=none,id=cd,format=raw,media=cdrom,read-only=on,file=cd"
    subject = Subject(stage, "-drive", cd, "-device", "ide-cd,drive=cd", "-device", "qemu-xhci")
    machine = subject.machine
    execute = machine.execute

    execute("netdev_add", type="hubport", id="n0", hubid=0)
    subject.fails(f"netdev 'n0' (hubport) {_NEW}")
    execute("netdev_del", id="n0")
    execute("object-add", qom_type="iothread", id="o0")
    subject.fails(f"object '/objects/o0' (iothread) {_NEW}")
    execute("object-del", id="o0")
    execute("chardev-add", id="c0", backend={"type": "null", "data": {}})
    subject.fails(f"chardev 'c0' (chardev-null) {_NEW}")
    execute("chardev-remove", id="c0")
    node = {"driver": "raw", "node-name": "b0", "file": {"driver": "file", "filename": "other"}}
    execute("blockdev-add", **node)
    subject.fails("block node b0=raw 'other'", _NEW)

    machine.plug("usb-storage", "disk", drive="b0")
    subject.fails("device '/machine/peripheral/disk' (usb-storage)", _NEW)
    _deleted(subject, "disk")
    execute("blockdev-del", node_name="b0")

    execute("eject", device="cd", force=True)
    subject.fails("drive 'cd' with no medium", _NEW, "drive 'cd' with raw 'cd'", _GONE)
    execute("blockdev-change-medium", device="cd", filename="other", format="raw")
    subject.fails("drive 'cd' with raw 'other'", _NEW, "drive 'cd' with raw 'cd'", _GONE)
    execute("blockdev-change-medium", device="cd", filename="cd", format="raw")
    subject.restarts()


@scenario(
    "restart-refuses-what-was-changed",
    "a NIC, a DIMM and a disk that were plugged in, a device that is gone, a snapshot: all named",
)
def changed(stage: Stage) -> None:
    stage.disk("other", "raw")
    subject = Subject(stage, "-device", "qemu-xhci", "-device", "usb-tablet,id=tablet")
    machine = subject.machine
    _deleted(subject, "tablet")
    reasons = ["device '/machine/peripheral/tablet' (usb-tablet) " + _GONE]
    subject.fails(*reasons)
    machine.plug("e1000", "nic", romfile="")
    reasons.append("device '/machine/peripheral/nic' (e1000) " + _NEW)
    subject.fails(*reasons)
    machine.human("object_add memory-backend-ram,id=more,size=64M")
    machine.plug("pc-dimm", "dimm", memdev="more")
    reasons.append("device '/machine/peripheral/dimm' (pc-dimm) " + _NEW)
    reasons.append("object '/objects/more' (memory-backend-ram) " + _NEW)
    subject.fails(*reasons)
    machine.human("drive_add 0 if=none,id=more,file=other,format=raw")
    machine.plug("virtio-blk-pci", "disk", drive="more")
    reasons.append("device '/machine/peripheral/disk' (virtio-blk-pci) " + _NEW)
    reasons.append("drive 'more' with raw 'other'")
    subject.fails(*reasons)
    overlay = {"device": DATA, "snapshot-file": "overlay", "format": "qcow2"}
    machine.execute("blockdev-snapshot-sync", **overlay)
    reasons.append("device '/machine/peripheral/disk/virtio-backend'")
    reasons += [f"drive '{DATA}' with qcow2 '{name}'" for name in ("overlay", f"{DATA}.qcow2")]
    said = subject.fails(*reasons, held="overlay")
    check_reasons(said.removeprefix(HEAD), tuple(reasons))


@scenario(
    "restart-refuses-what-goes-on",
    "a migration, a job, an export, a passed descriptor: refused while it lasts",
)
def goes_on(stage: Stage) -> None:
    subject = Subject(stage)
    machine = subject.machine
    execute = machine.execute

    execute("migrate-set-parameters", max_bandwidth=4096)
    execute("migrate", uri="exec:cat >/dev/null")
    until(lambda: execute("query-migrate")["status"] == "active", "no migration begins")
    subject.fails("a migration is in progress")
    execute("migrate_cancel")
    until(lambda: execute("query-migrate")["status"] == "cancelled", "it is not cancelled")

    execute("drive-mirror", job_id="job", device="boot", target="copy", sync="full", speed=1)
    subject.fails("job 'job' has not ended")
    execute("block-job-cancel", device="job", force=True)
    machine.qmp.wait_event("BLOCK_JOB_CANCELLED")
    until(lambda: not execute("query-jobs"), "the job does not end")

    address = {"type": "unix", "data": {"path": "nbd"}}
    execute("nbd-server-start", addr=address)
    execute("nbd-server-add", device=DATA)
    known = "query-block-exports" in {one["name"] for one in execute("query-commands")}
    subject.fails("is exported as 'data'" if known else "the NBD server is running")
    execute("nbd-server-remove", name=DATA)
    execute("nbd-server-stop")

    fd = os.open(stage.file("seed"), os.O_RDONLY)
    machine.qmp.send_fd(fd)
    execute("getfd", fdname="f0")
    subject.fails("(getfd)")
    execute("closefd", fdname="f0")
    machine.qmp.send_fd(fd)
    number = execute("add-fd")["fdset-id"]
    os.close(fd)
    subject.fails(f"'/dev/fdset/{number}'")
    execute("remove-fd", fdset_id=number)
    subject.restarts()


@scenario(
    "restart-refuses-options",
    "options that QEMU cannot be started with once more are named, and the guest runs on",
)
def options(stage: Stage) -> None:
    def plain(argv: list[str]) -> list[str]:
        return argv

    def with_fd(argv: list[str]) -> list[str]:
        return ["sh", "-c", 'exec "$@" 9<seed', "sh", *argv]

    stage.file("root").mkdir()
    rows: list[tuple[tuple[str, ...], Callable[[list[str]], list[str]], str]] = [
        (("-sandbox", "on,spawn=deny"), plain, "(spawn=deny)"),
        (("-add-fd", "fd=9,set=1"), with_fd, "-add-fd"),
        (("-snapshot",), plain, "(snapshot=on or -snapshot)"),
    ]
    if os.geteuid() == 0:
        rows.append((("-runas", "nobody"), plain, "-runas"))
        rows.append((("-chroot", "root"), plain, "-chroot"))
    else:
        stage.leave_out("-runas, -chroot", "they take root")
    for words, wrap, says in rows:
        with stage.telling(words[0]):
            subject = Subject(stage, *words, wrap=wrap, held="-snapshot" not in words)
            subject.fails(says)
            subject.machine.close()
    with stage.telling("-sandbox on"):
        # What does not forbid it is no obstacle.
        subject = Subject(stage, "-sandbox", "on,obsolete=deny,resourcecontrol=deny")
        subject.restarts()
