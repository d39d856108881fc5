"""RAM that would be lost with the process refuses ``cprsave``, each region by its name."""

from __future__ import annotations

from dataclasses import dataclass

from patchgen.live.machine import Machine
from patchgen.live.refusal import VOLATILE, refused
from patchgen.live.scenario import scenario
from patchgen.live.stage import SHARED, Stage

MORE = "memory-backend-file,id={id},size=32M,mem-path={id},share=on"
"""A second backend, which is fine."""


@dataclass(frozen=True)
class Row:
    """A VM with RAM that would be lost.

    :ivar memory: the backend ``ram``
    :ivar regions: the regions that must be named, no others
    :ivar in_file: whether the guest's RAM can be seen in the file ``ram``
    """

    what: str
    memory: str
    regions: str = "ram"
    in_file: bool = False
    more: tuple[str, ...] = ()


ROWS = (
    Row("private mapping of a file", SHARED.replace("share=on", "share=off")),
    Row("memfd", "memory-backend-memfd,id=ram,size={mib}M,share=on"),
    Row("shared, but no file", "memory-backend-ram,id=ram,size={mib}M,share=on"),
    Row("file without a name", SHARED.replace("mem-path={ram}", "mem-path=.")),
    Row("thrown away at exit", SHARED + ",discard-data=on", in_file=True),
    Row("video memory", SHARED, "vga.vram", True, ("-device", "VGA")),
    Row("two at once", SHARED + ",discard-data=on", "ram, vga.vram", True, ("-device", "VGA")),
)


def _stop(machine: Machine) -> None:
    """End it, so that the next one gets the disk."""
    machine.quit()


@scenario(
    "refuses-volatile-ram",
    "cprsave names RAM that is private, memfd, unlinked, discarded or video memory",
)
def volatile_ram(stage: Stage) -> None:
    for row in ROWS:
        stage.forget_ram()
        machine = stage.start(*row.more, memory=row.memory)
        if not row.in_file:
            machine.watch_by_monitor()
        before = machine.wait_counting()
        with stage.telling(row.what):
            refused(stage, machine, VOLATILE + row.regions)
            if row is ROWS[-1]:
                machine.goes_on(before)
        _stop(machine)


@scenario(
    "refuses-default-vm",
    "a VM that was started with -m alone is refused with all its volatile regions",
)
def default_vm(stage: Stage) -> None:
    """Default devices but for the network card, whose firmware is not everywhere."""
    argv = stage.argv("-nic", "none", memory=None)
    for option in ("-nodefaults", "-vga"):
        argv.remove(option)
    argv.remove("none")
    machine = stage.spawn(argv)
    machine.watch_by_monitor()
    before = machine.wait_counting()
    refused(stage, machine, VOLATILE + "pc.ram, vga.vram")
    machine.goes_on(before)


@scenario(
    "refuses-removed-ram-file",
    "a VM whose file with the RAM was removed while it ran is refused",
)
def removed_ram(stage: Stage) -> None:
    machine = stage.start()
    before = machine.wait_counting()
    stage.ram.unlink()
    refused(stage, machine, VOLATILE + "ram")
    machine.goes_on(before)


@scenario(
    "refuses-hot-plugged-ram",
    "of the memory that was plugged into a VM that runs, only what is in no file is named",
)
def hot_plugged_ram(stage: Stage) -> None:
    machine = stage.start()
    before = machine.wait_counting()
    machine.human("object_add " + MORE.format(id="good"))
    machine.plug("pc-dimm", "dimm0", memdev="good")
    machine.human("object_add memory-backend-ram,id=bad,size=32M")
    machine.plug("pc-dimm", "dimm1", memdev="bad")
    refused(stage, machine, VOLATILE + "bad")
    machine.goes_on(before)
