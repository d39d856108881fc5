"""Restart mode: RAM of every kind is there afterwards, and is not copied twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.process import mappings
from patchgen.live.restart import restart, started
from patchgen.live.scenario import scenario
from patchgen.live.stage import SHARED, Stage
from patchgen.live.waiting import Skipped, require

RAM = "memory-backend-ram,id=ram,size={mib}M"
MEMFD = "memory-backend-memfd,id=ram,size={mib}M"
MIB = 1 << 20


def _unlink(stage: Stage) -> None:
    stage.ram.unlink()


@dataclass(frozen=True)
class Row:
    """A VM.

    :ivar moved: whether the first restart moves the guest's RAM to a file; no later one does
    :ivar machine: and its properties
    :ivar before: done when QEMU has started
    :ivar far: addresses of the guest that it does not use itself
    :ivar policies: of the memory at 0 and at *far*, as the kernel spells them
    """

    what: str
    memory: str | None
    moved: bool
    more: tuple[str, ...] = ()
    machine: str = "pc"
    mib: int = 64
    before: Callable[[Stage], None] | None = None
    far: tuple[int, ...] = ()
    policies: tuple[str, ...] = ()


ROWS = (
    Row("plain -m", None, True),
    Row("backend ram", RAM, True),
    Row("backend ram, share=on", RAM + ",share=on", True),
    Row("backend memfd", MEMFD, False),
    Row("backend memfd, seal=off", MEMFD + ",seal=off", False),
    Row("backend memfd, share=off", MEMFD + ",share=off", True),
    Row("a file", SHARED, False),
    Row("a file, share=off", SHARED.replace("share=on", "share=off"), True),
    Row("a file that was removed", SHARED, False, before=_unlink),
    Row("a file without a name", SHARED.replace("mem-path={ram}", "mem-path=."), False),
    Row("memfd-alloc=on", None, False, machine="pc,memfd-alloc=on"),
    Row("prealloc=on", RAM + ",prealloc=on", True),
    Row("video memory", None, True, ("-device", "VGA", "-device", "secondary-vga")),
    Row("32 MiB", None, True, mib=32),
)

NODES = (
    *("-object", "memory-backend-ram,id=a,size=32M,policy=bind,host-nodes=0"),
    *("-object", "memory-backend-memfd,id=b,size=32M,policy=preferred,host-nodes=0"),
    *(
        "-object",
        "memory-backend-file,id=c,size=32M,mem-path=c,share=off,policy=interleave,host-nodes=0",
    ),
    *("-numa", "node,memdev=a", "-numa", "node,memdev=b", "-numa", "node,memdev=c"),
)
POLICIES = ("bind:0", "prefer:0", "interleave:0")
LAYOUTS = (
    Row("3 NUMA nodes", None, True, NODES, mib=96, far=(40 * MIB, 70 * MIB), policies=POLICIES),
    Row("RAM above 4 GiB", None, True, ("-m", "5G,maxmem=8G"), far=(2048 * MIB, 4096 * MIB)),
    Row(
        "RAM above 4 GiB on q35, memfd-alloc=on",
        None,
        False,
        ("-m", "4G,maxmem=8G"),
        "q35,memfd-alloc=on",
        far=(1024 * MIB, 5120 * MIB),
    ),
    Row(
        "memory that can be plugged",
        RAM,
        True,
        ("-object", "memory-backend-ram,id=m,size=64M", "-device", "pc-dimm,memdev=m"),
        far=(4096 * MIB,),
    ),
)


def files(machine: Machine, *far: int) -> list[tuple[int, int]]:
    """(inode, offset) of the mapping with the guest's RAM at 0 and at *far*; 0 for no file.

    :raise Failed: a mapping is shared but has pages of its own
    """
    found = []
    all_ = mappings(machine.pid)
    for address in (0, *far):
        where = host_address(machine, address)
        one = next(one for one in all_ if one.start <= where < one.end)
        if one.shared and one.inode:
            require(not one.private_kib, f"{one.private_kib} KiB of {one.name} were copied")
        named = one.shared and one.name != "/dev/zero (deleted)"
        found.append((one.inode, where - one.start + one.offset) if named else (0, 0))
    return found


def host_address(machine: Machine, address: int) -> int:
    """Where the guest's *address* is in the process."""
    return int(machine.human(f"gpa2hva {address:#x}").rpartition(" is 0x")[2], 16)


def _poke(machine: Machine, address: int, data: bytes | None = None) -> bytes:
    """Write *data* to the guest's *address*, or read it."""
    with Path(f"/proc/{machine.pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(host_address(machine, address))
        if data is not None:
            memory.write(data)
            return data
        return memory.read(16)


def play_row(stage: Stage, row: Row) -> None:
    """Two restarts, the second of which must leave RAM where it is."""
    stage.forget_ram()
    machine = started(stage, *row.more, memory=row.memory, machine=row.machine, mib=row.mib)
    if row.before:
        row.before(stage)
    machine.wait_counting()
    marks = {address: _poke(machine, address, os.urandom(16)) for address in row.far}
    at_first = files(machine, *row.far)
    restart(machine)
    then = files(machine, *row.far)
    require(all(inode for inode, _ in then), "RAM is in no file after the restart")
    require(
        (then[0] != at_first[0]) == row.moved,
        f"RAM was {'' if row.moved else 'not '}to be moved: from {at_first[0]} to {then[0]}",
    )
    inodes = _memfds(machine)
    restart(machine)
    now = files(machine, *row.far)
    require(now == then, f"the second restart moved RAM from {then} to {now}")
    new = _memfds(machine) - inodes
    require(not new, f"the second restart made {len(new)} files for RAM")
    for address, data in marks.items():
        require(_poke(machine, address) == data, f"RAM at {address:#x} is damaged")
    if row.policies:
        said = policies(machine, 0, *row.far)
        require(said == row.policies, f"NUMA policies are {said} instead of {row.policies}")
    machine.quit()


def policies(machine: Machine, *addresses: int) -> tuple[str, ...]:
    """The NUMA policies of the memory at the guest's *addresses*."""
    lines = Path(f"/proc/{machine.pid}/numa_maps").read_text(encoding="utf-8").splitlines()
    starts = {int(line.split()[0], 16): line.split()[1] for line in lines}
    places = [host_address(machine, address) for address in addresses]
    return tuple(starts[max(start for start in starts if start <= place)] for place in places)


def _memfds(machine: Machine) -> set[int]:
    return {one.inode for one in mappings(machine.pid) if one.name.startswith("/memfd:ram ")}


@scenario(
    "restart-every-kind-of-ram",
    "RAM private, shared, in memfds, in files: two restarts each, and the second copies nothing",
)
def kinds(stage: Stage) -> None:
    for row in ROWS:
        with stage.telling(row.what):
            play_row(stage, row)
    _file_offset(stage)
    _huge_pages(stage)


def _file_offset(stage: Stage) -> None:
    """A file whose RAM begins behind its start."""
    if "offset=" not in stage.qemu.help("-object", "memory-backend-file,help"):
        stage.leave_out("RAM at an offset of a file", "memory-backend-file has no property offset")
        return
    with stage.telling("an offset"):
        play_row(stage, Row("an offset", SHARED + ",offset=2M", False))


def _huge_pages(stage: Stage) -> None:
    count = 32
    free = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    if not free.exists() or int(free.read_text(encoding="ascii")) < count:
        stage.leave_out("huge pages", f"there are no {count} free ones: sysctl vm.nr_hugepages")
        return
    with stage.telling("huge pages"):
        play_row(stage, Row("huge pages", MEMFD + ",hugetlb=on,hugetlbsize=2M", False))


@scenario(
    "restart-layouts-of-ram",
    "NUMA nodes of several kinds with policies, RAM above 4 GiB, a DIMM: two restarts each",
)
def layouts(stage: Stage) -> None:
    if "policy=" not in stage.qemu.help("-object", "memory-backend-ram,help"):
        raise Skipped("QEMU was built without NUMA policies")
    for row in LAYOUTS:
        with stage.telling(row.what):
            play_row(stage, row)
