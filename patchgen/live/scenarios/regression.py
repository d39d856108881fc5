"""What QEMU could do before goes on as before: migration and snapshots, with RAM in the stream."""

from __future__ import annotations

from itertools import zip_longest

from patchgen.live.machine import Machine
from patchgen.live.observer import GuestPage
from patchgen.live.qemu import Qemu
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.stream import description, difference, opening, sections
from patchgen.live.waiting import Failed, require, until


def _migrate(machine: Machine, uri: str) -> None:
    """Migrate, and wait until it is done.

    :raise Failed: it fails
    """
    machine.execute("migrate", uri=uri)

    def done() -> bool:
        told = machine.execute("query-migrate")
        if told["status"] in ("failed", "cancelled"):
            raise Failed(f"migrating to {uri} {told['status']}: {told.get('error-desc', '')}")
        return bool(told["status"] == "completed")

    until(done, f"migrating to {uri} does not complete")


def _arrives(machine: Machine, since: GuestPage) -> None:
    """Require that the guest of *since* goes on in a machine that was started for it."""
    try:
        until(lambda: machine.status() != "inmigrate", "the destination gets nothing")
    except Failed as exc:
        # What it printed when it ended tells why.
        until(lambda: not machine.monitor.alive(), str(exc), 5)
        machine.monitor.wait_prompt()
    require(machine.status() == "running", f"the destination is {machine.status()}")
    machine.goes_on(since)


def _over_a_socket(stage: Stage, source: Qemu, destination: Qemu) -> None:
    # Slots and machine are the same; the RAM is in another file, so that it must be sent.
    first = stage.start(qemu=source)
    first.wait_counting()
    second = stage.start("-incoming", "unix:incoming", qemu=destination, ram="ram2")
    _migrate(first, "unix:incoming")
    require(first.status() == "postmigrate", f"the source is {first.status()}")
    _arrives(second, first.page())
    first.stands_still()


@scenario("migrate-socket", "live migration to a second process over a socket")
def over_a_socket(stage: Stage) -> None:
    _over_a_socket(stage, stage.qemu, stage.qemu)


@scenario("migrate-from-pristine", "live migration from a QEMU without the series to one with it")
def from_pristine(stage: Stage) -> None:
    _over_a_socket(stage, stage.pristine, stage.qemu)


@scenario("migrate-to-pristine", "live migration from a QEMU with the series to one without it")
def to_pristine(stage: Stage) -> None:
    _over_a_socket(stage, stage.qemu, stage.pristine)


@scenario("migrate-exec", "migration into a file by exec:, and out of it in a fresh process")
def by_exec(stage: Stage) -> None:
    first = stage.start()
    first.wait_counting()
    _migrate(first, "exec:cat >stream")
    saved = first.page()
    first.close()
    second = stage.start("-incoming", "exec:cat stream", ram="ram2")
    _arrives(second, saved)


@scenario("snapshots", "savevm and loadvm; -loadvm in a fresh process with other RAM")
def snapshots(stage: Stage) -> None:
    stage.boot_on_qcow2()
    first = stage.start()
    first.wait_counting()
    said = first.human("savevm one")
    require(not said, f"savevm: {said}")
    # It runs after savevm, and so its counter is beyond that of the snapshot.
    first.wait_counting()
    first.execute("stop")
    first.guest.poke(0x200000, 0)
    stopped = first.page()
    said = first.human("loadvm one")
    require(not said, f"loadvm: {said}")
    back = first.page()
    require(back.counter < stopped.counter, "loadvm did not take the guest back")
    first.execute("cont")
    first.goes_on(back)
    first.close()

    second = stage.start("-loadvm", "one", ram="ram2")
    second.goes_on(back)
    require(stage.seeds[0] != stage.seeds[1], "both processes offer the same seed")


# --- the stream is as it was ------------------------------------------------------------------

_DEVICES = (
    *("-device", "virtio-blk-pci,drive=one", "-drive", "if=none,id=one,format=raw,file=one.img"),
    *("-device", "virtio-net-pci,romfile=", "-device", "virtio-rng-pci", "-device", "ich9-ahci"),
    *("-device", "virtio-scsi-pci", "-device", "virtio-serial-pci"),
    *("-device", "virtio-balloon-pci", "-device", "e1000,romfile=", "-device", "nec-usb-xhci"),
    *("-device", "usb-tablet", "-device", "piix3-usb-uhci", "-device", "VGA"),
    *("-device", "ide-hd,drive=two", "-drive", "if=none,id=two,format=raw,file=two.img"),
    *("-device", "i6300esb", "-serial", "null", "-parallel", "null"),
)


def _stream(stage: Stage, qemu: Qemu, machine: str, name: str) -> bytes:
    """The stream of a machine that is rich in devices and has never run."""
    for disk in ("one.img", "two.img"):
        stage.file(disk).write_bytes(bytes(1 << 20))
    there = [*_DEVICES]
    at = 0
    while at < len(there):
        kind = there[at + 1].partition(",")[0]
        if there[at] == "-device" and not qemu.has_device(kind):
            del there[at : at + 2]
        else:
            at += 2
    one = stage.start("-S", *there, qemu=qemu, machine=machine, mib=16, ram=name, boot=False)
    _migrate(one, f"exec:cat >{name}.stream")
    one.close()
    return stage.file(f"{name}.stream").read_bytes()


def _same_stream(stage: Stage, machine: str) -> None:
    pristine = _stream(stage, stage.pristine, machine, "without")
    patched = _stream(stage, stage.qemu, machine, "with")
    before, after = sections(pristine), sections(patched)
    for one, other in zip_longest(before, after):
        require(one == other, f"the section {one} became {other}")
    require(opening(pristine) == opening(patched), "the stream begins in another way")
    require(len(before) > 20, f"only {len(before)} sections were compared")
    said = difference(description(pristine), description(patched), machine)
    require(not said, said)


@scenario("stream-unchanged-pc", "the migration stream of a pc with many devices is as it was")
def stream_of_pc(stage: Stage) -> None:
    _same_stream(stage, "pc")


@scenario("stream-unchanged-q35", "the migration stream of a q35 with many devices is as it was")
def stream_of_q35(stage: Stage) -> None:
    _same_stream(stage, "q35")
