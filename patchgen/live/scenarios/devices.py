"""Devices that would not come back refuse ``cprsave``, each by its name."""

from __future__ import annotations

from dataclasses import dataclass

from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND
from patchgen.live.refusal import refused
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.vhost_user import BackEnd
from patchgen.live.waiting import require, until


@dataclass(frozen=True)
class Row:
    """A device that is plugged into a VM that runs.

    :ivar reason: a part of what it adds to the refusal; empty for a device that is fine
    :ivar prepare: lines for the human monitor that make what it needs
    """

    driver: str
    reason: str
    prepare: tuple[str, ...] = ()
    properties: tuple[tuple[str, object], ...] = ()


def _memory(name: str) -> str:
    return f"object_add memory-backend-file,id={name},size=64M,mem-path={name},share=on"


ROWS = (
    Row(
        "nvme",
        "/nvme' cannot be saved",
        ("drive_add 0 if=none,id=nvme,file=nvme,format=raw",),
        (("drive", "nvme"), ("serial", "1")),
    ),
    Row("rocker", "/rocker' cannot be saved"),
    Row(
        "virtio-crypto-pci",
        "/virtio-crypto' cannot be saved",
        ("object_add cryptodev-backend-builtin,id=crypto",),
        (("cryptodev", "crypto"),),
    ),
    Row("usb-wacom-tablet", "/usb-wacom' cannot be saved"),
    Row("virtio-balloon-pci", ""),
    Row(
        "virtio-pmem-pci",
        "(virtio-pmem) cannot be saved",
        (_memory("pmem"),),
        (("memdev", "pmem"), ("disable-legacy", "on")),
    ),
    Row(
        "virtio-mem-pci",
        "a device such as virtio-mem discards guest memory when QEMU starts",
        (_memory("vmem"),),
        (("memdev", "vmem"), ("disable-legacy", "on")),
    ),
    # Has nothing but a migration blocker, as vfio has.
    Row(
        "ivshmem-plain",
        "'peer mode' in device 'ivshmem'",
        (_memory("peer"),),
        (("memdev", "peer"),),
    ),
    Row("ivshmem-plain", "", (_memory("master"),), (("memdev", "master"), ("master", True))),
)


@scenario(
    "refuses-devices",
    "each device that cannot be saved, or blocks migration, adds its reason to the refusal",
)
def devices(stage: Stage) -> None:
    stage.disk("nvme", "raw")
    machine = stage.start("-device", "qemu-xhci")
    before = machine.wait_counting()
    reasons: list[str] = []
    for number, row in enumerate(ROWS):
        if not stage.qemu.has_device(row.driver):
            stage.leave_out(row.driver, "this QEMU has no such device")
            continue
        for line in row.prepare:
            machine.human(line)
        machine.plug(row.driver, f"d{number}", **dict(row.properties))
        if row.reason:
            reasons.append(row.reason)
        with stage.telling(row.driver):
            if reasons:
                refused(stage, machine, *reasons)
    machine.goes_on(before)


@scenario(
    "refuses-until-a-device-is-gone",
    "when an unmigratable device is unplugged, cprsave is no longer refused",
)
def unplugged(stage: Stage) -> None:
    words = ["-device", "qemu-xhci", "-chardev", "null,id=null"]
    machine = stage.start(*words)
    machine.wait_counting()
    machine.plug("usb-serial", "serial", chardev="null")
    refused(stage, machine, "/usb-serial' cannot be saved")
    machine.execute("stop")
    machine.execute("device_del", id="serial")
    machine.qmp.wait_event("DEVICE_DELETED")
    machine.execute("cont")
    _goes_on(stage, machine, *words)


def _goes_on(stage: Stage, machine: Machine, *words: str, kind: str = "pc") -> None:
    """Save it, and see it go on in another process."""
    file = stage.file()
    machine.save(file)
    saved = machine.page()
    second = stage.start("-S", *words, machine=kind)
    second.load(file)
    second.goes_on(saved)


@scenario(
    "refuses-failover-device",
    "a failover device, which migration would unplug, refuses unless the guest is suspended",
)
def failover(stage: Stage) -> None:
    nic = "e1000e,bus=root0,romfile=,failover_pair_id=standby"
    words = ["-device", "pcie-root-port,id=root0", "-device", nic]
    machine = stage.start(*words, machine="q35")
    before = machine.wait_counting()
    refused(stage, machine, "(e1000e) would have to be unplugged")
    machine.goes_on(before)
    machine.guest.command(SUSPEND)
    machine.wait_status("suspended")
    file = stage.file()
    machine.save(file)
    second = stage.start("-S", *words, machine="q35")
    second.load(file)
    require(second.status() == "suspended", "it is not suspended after cprload")
    second.execute("system_wakeup")
    until(lambda: second.page().wakes == 1, "the guest does not wake up")
    second.wait_counting()


@scenario(
    "refuses-amd-iommu",
    "an unmigratable device of the machine itself is named; intel-iommu is fine",
)
def iommus(stage: Stage) -> None:
    machine = stage.start("-device", "amd-iommu", machine="q35")
    before = machine.wait_counting()
    refused(stage, machine, "device 'amd-iommu' cannot be saved")
    machine.goes_on(before)
    machine.quit()
    stage.forget_ram()
    words = ["-device", "intel-iommu"]
    machine = stage.start(*words, machine="q35")
    machine.wait_counting()
    _goes_on(stage, machine, *words, kind="q35")


@scenario(
    "refuses-vhost-user",
    "state in another process refuses, also where the back end can be migrated",
)
def vhost_user(stage: Stage) -> None:
    with BackEnd(stage.file("backend")) as backend:
        words = ["-chardev", "socket,id=c0,path=backend"]
        words += ["-netdev", "vhost-user,id=net0,chardev=c0"]
        words += ["-device", "virtio-net-pci,netdev=net0,romfile="]
        machine = stage.start(*words)
        before = machine.wait_counting()
        require(backend.asked, "the back end was not asked for its features")
        refused(stage, machine, "netdev 'net0' (vhost-user) has state of its own")
        machine.goes_on(before)
