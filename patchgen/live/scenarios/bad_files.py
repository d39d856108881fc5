"""What is no good to load is refused, and the guest in RAM can still be loaded afterwards."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from patchgen.live.machine import Machine
from patchgen.live.observer import GuestPage
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.statefile import SEAL, StateFile
from patchgen.live.waiting import Failed, require

_RESET = "the VM was reset"


def _saved(stage: Stage) -> GuestPage:
    """A guest that ran and is saved in the stage's file; its page then."""
    first = stage.start()
    first.wait_counting()
    first.save(stage.file())
    return first.page()


def _devices(machine: Machine, *more: str) -> str:
    """Something of what a load changes: CPU, PCI devices, interrupt controllers, and *more*."""
    commands = ("info registers", "info pci", "info pic", *more)
    said = [machine.execute("human-monitor-command", command_line=one) for one in commands]
    return "\n".join(str(one) for one in said)


_MAP = "info mtree -f"
"""What the guest sees where; the reset of a pc leaves some of it as it is."""


@dataclass
class _Loader:
    """A QEMU that waits for a guest.

    :ivar saved: the guest in RAM
    """

    stage: Stage
    machine: Machine
    saved: GuestPage

    def __post_init__(self) -> None:
        self._ram = self._checksum()
        looks: tuple[tuple[str, ...], ...] = ((), (_MAP,))
        self._at_start = {more: _devices(self.machine, *more) for more in looks}

    def _checksum(self) -> int:
        return zlib.crc32(self.stage.ram.read_bytes())

    def refuses(self, data: bytes, *says: str, what: str, reset: bool = False) -> None:
        """Require that a file with *data* is refused; see :meth:`refuses_file`."""
        bad = self.stage.file("bad.sav")
        bad.write_bytes(data)
        self.refuses_file(str(bad), *says, what=what, reset=reset)

    def refuses_file(self, file: str, *says: str, what: str, reset: bool = False) -> None:
        """Require that cprload refuses *file*, with one of *says*, and that nothing is changed.

        :param reset: it is found out only when devices are loaded, which are reset then
        """
        said = self.machine.refusal("cprload", file=file)
        require(any(one in said for one in says), f"{what}: the error says {said!r}, not {says}")
        was_reset = _RESET in said
        require(was_reset == reset, f"{what}: {'no ' * reset}device was touched: {said}")
        self.unchanged(what, *([] if reset else [_MAP]))

    def unchanged(self, what: str, *more: str) -> None:
        """Require that the VM is as it was when QEMU started.

        :param more: commands of the human monitor to look at as well: ``_MAP``
        """
        status = self.machine.status()
        require(status == "prelaunch", f"{what}: the VM became {status}")
        require(self.machine.guest.page() == self.saved, f"{what}: the guest ran, or RAM changed")
        now, then = _devices(self.machine, *more), self._at_start[more]
        if now != then:
            pairs = zip(then.splitlines(), now.splitlines(), strict=False)
            one = next((f"{a!r} became {b!r}" for a, b in pairs if a != b), "there is more or less")
            raise Failed(f"{what}: devices were changed: {one}")

    def loads(self) -> None:
        """Require that RAM is unchanged, and that the good file brings the guest back."""
        require(self._checksum() == self._ram, "what was refused has changed the guest's RAM")
        self.machine.load(self.stage.file())
        self.machine.goes_on(self.saved)
        # Else looking at them proves nothing.
        require(_devices(self.machine) != self._at_start[()], "a load does not change the devices")


def _loader(stage: Stage) -> tuple[_Loader, StateFile]:
    """A QEMU that waits for a guest, and that guest's file."""
    saved = _saved(stage)
    good = StateFile.parse(stage.file().read_bytes())
    return _Loader(stage, stage.start("-S"), saved), good


@scenario(
    "bad-file-kinds",
    "no file, a directory, a text, another format: refused by both monitors; the good one loads",
)
def kinds(stage: Stage) -> None:
    loader, good = _loader(stage)
    stage.file("place").mkdir()
    stage.file("loop").symlink_to("loop")
    os.mkfifo(stage.file("fifo"))
    paths = {
        "none": "No such file or directory",
        "boot.img/none": "Not a directory",
        "place": "Is a directory",
        "loop": "Too many levels of symbolic links",
        "/dev/fdset/7": "/dev/fdset/7",
        "": "No such file or directory",
        "fifo": "not a VM state",
        "/dev/null": "not a VM state",
        "/dev/zero": "not a VM state",
        "/etc/passwd": "not a VM state",
        "boot.img": "not a VM state",
        "ram": "not a VM state",
    }
    for path, says in paths.items():
        loader.refuses_file(path, says, what=f"cprload {path!r}")
    data = good.sealed()
    for what, bad in {
        "an empty file": b"",
        "a text": b"root:x:0:0:root:/root:/bin/bash\n" * 100,
        "a disk image": b"QFI\xfb" + data[4:],
        "another byte order": data[3::-1] + data[4:],
        "a seal alone": data[len(good.stream) :],
        "a space before the file": b" " + data,
    }.items():
        loader.refuses(bad, "not a VM state", what=what)
    said = loader.machine.human("cprload none")
    require("No such file or directory" in said, f"cprload none, typed, says {said!r}")
    said = loader.machine.human("cprload")
    require("help cprload" in said, f"cprload, typed without FILE, says {said!r}")
    said = loader.machine.human("cprload guest.sav more")
    require("help cprload" in said, f"cprload, typed with two words, says {said!r}")
    loader.unchanged("what was typed")
    loader.loads()


def _lengths(data: bytes) -> Iterator[tuple[int, str]]:
    """Where to cut a file: around everything that has a border."""
    seal = data.rindex(SEAL)
    borders = {0: "the start", 4: "the magic number", 8: "the version", seal: "the seal"}
    at = seal
    for word in data[seal:].split(b" "):
        at += len(word) + 1
        borders[at] = f"the word {word.partition(b'=')[0].decode('ascii')}"
    borders[len(data) - 1 - 64] = "the digest"
    borders[len(data) - 1] = "the newline"
    for tenth in range(1, 10):
        borders[seal * tenth // 10] = f"{tenth}/10 of the stream"
    for border, name in borders.items():
        for near in range(max(border - 1, 0), min(border + 2, len(data))):
            yield near, name


@scenario(
    "bad-file-truncated",
    "cut at any border, or with something behind its end: refused before a device is touched",
)
def truncated(stage: Stage) -> None:
    loader, good = _loader(stage)
    data = good.sealed()
    for length, name in _lengths(data):
        says = "not a VM state" if length < 4 else "not complete"
        loader.refuses(data[:length], says, what=f"cut to {length} bytes, at {name}")
    for what, more in {
        "a byte": b"x",
        "a newline": b"\n",
        "a NUL byte": b"\0",
        "a kilobyte": bytes(1024),
        "itself": data,
        "its seal": data[len(good.stream) :],
    }.items():
        loader.refuses(data + more, "damaged", "not complete", what=f"{what} behind the end")
    loader.loads()


@scenario(
    "bad-file-damaged",
    "one flipped bit anywhere: refused before a device is touched; the good file loads",
)
def damaged(stage: Stage) -> None:
    loader, good = _loader(stage)
    data = good.sealed()
    seal = len(good.stream)
    positions = [*range(9), *(seal * part // 40 for part in range(1, 40)), seal - 1]
    # All of the seal, sparsely in its digest.
    positions += [*range(seal, len(data) - 64), *range(len(data) - 64, len(data), 7)]
    positions += [len(data) - 2, len(data) - 1]
    says = ("the file is damaged", "the end of the file is damaged", "not complete")
    for number, at in enumerate(positions):
        flipped = bytearray(data)
        flipped[at] ^= 1 << number % 8
        known = ("not a VM state",) if at < 4 else says
        loader.refuses(bytes(flipped), *known, what=f"bit {number % 8} of byte {at} flipped")
    loader.loads()


def _other_version(stage: Stage) -> str:
    """Another version of the machine type pc."""
    lines = stage.qemu.help("-machine", "help")
    default = re.search(r"\(alias of (pc-i440fx-[^)]*)\)", lines)
    names: list[str] = re.findall(r"^(pc-i440fx-\S+)", lines, re.MULTILINE)
    if not default or len(names) < 2:
        raise Failed("-machine help does not show versions of pc")
    return next(name for name in names if name != default[1])


@scenario(
    "bad-file-other-machine",
    "saved on another machine type, or sealed with words that mean nothing here: refused",
)
def other_machine(stage: Stage) -> None:
    loader, good = _loader(stage)
    elsewhere = "memory-backend-file,id=ram,size={mib}M,mem-path=ram2,share=on"
    for machine in ("q35", _other_version(stage)):
        file = stage.file("other.sav")
        stage.start("-S", machine=machine, memory=elsewhere, boot=False).save(file)
        theirs = StateFile.parse(file.read_bytes()).word("machine")
        require(theirs.startswith("pc-q35" if machine == "q35" else machine), f"sealed {theirs}")
        says = f"machine type '{theirs}', and this is '{good.word('machine')}'"
        loader.refuses_file(str(file), says, what=f"saved on {machine}")
    for name, value, says in (
        ("mode", "bogus", "mode 'bogus', which is not known"),
        ("mode", "", "mode '', which is not known"),
        ("state", "inmigrate", "run state 'inmigrate', which cannot be entered"),
        ("state", "bogus", "run state 'bogus', which cannot be entered"),
        ("machine", "pc", "machine type 'pc'"),
        ("machine", "a b", "the end of the file is damaged"),
    ):
        bad = good.telling(**{name: value})
        loader.refuses(bad.sealed(), says, what=f"sealed with {name}={value}")
    for off in (-1, 1, -len(good.stream)):
        bad_length = good.sealed(len(good.stream) + off)
        loader.refuses(bad_length, "the file is damaged", what=f"sealed with a length {off} off")
    loader.loads()


def _section(kind: int, name: str, version: int) -> bytes:
    """The start of a section."""
    start = bytes([kind]) + b"\0\0\1\0" + bytes([len(name)]) + name.encode("ascii")
    return start + bytes(4) + version.to_bytes(4, "big")


def _ram_section(number: bytes, count: int) -> bytes:
    """The start of a section that describes RAM."""
    return b"\4" + number + b"\x07cpr-ram" + bytes(4) + b"\0\0\0\1" + count.to_bytes(4, "big")


@scenario(
    "bad-file-hostile",
    "sections that do not belong there, sealed well: refused, the VM is reset; the good file loads",
)
def hostile(stage: Stage) -> None:
    loader, good = _loader(stage)
    first = good.section("cpr-ram")
    number = good.stream[first + 1 : first + 5]
    count = "number of RAM blocks"
    bad = {
        "a command": (good.spliced(first, b"\x08\0\1\0\0"), "has no commands"),
        "a part of a section": (good.spliced(first, b"\2\0\0\0\0" + bytes(8)), "version_id 0"),
        "the end of a section": (good.spliced(first, b"\3\0\0\0\0" + bytes(8)), "version_id 0"),
        "2147483647 RAM blocks": (good.spliced(first, _ram_section(number, 0x7FFFFFFF)), count),
        "-1 RAM blocks": (good.spliced(first, _ram_section(number, 0xFFFFFFFF)), count),
        "5000 RAM blocks": (good.spliced(first, _ram_section(number, 5000)), count),
        "an unknown section": (good.spliced(first, _section(4, "bogus", 1)), "'bogus'"),
        "no type of section": (good.spliced(first, b"\x66\0\0\0\0"), "section type 102"),
        "another version": (good.spliced(4, b"\0\0\0\x63", 8), "stream version"),
        "its magic number alone": (good.spliced(4, b"", len(good.stream)), "stream version"),
        "half of its sections": (good.spliced(good.end // 2, b"", len(good.stream)), ""),
        "no end": (good.spliced(good.end, b"", len(good.stream)), ""),
        "a last command": (good.spliced(good.end, b"\x08\0\1\0\0"), "has no commands"),
    }
    # Of the versions that these have; in mode reboot they take no part.
    for name, version in {"ram": 4, "block": 1, "dirty-bitmap": 1}.items():
        section = _section(1, name, version) + bytes(8)
        bad[f"a section {name}"] = good.spliced(first, section), f"'{name}' does not belong"
    monitor = loader.machine.monitor
    for what, (one, why) in bad.items():
        loader.refuses(one.sealed(), "could not load the state", what=what, reset=True)
        monitor.asides.clear()
        monitor.ask("info status")
        heard = " ".join(monitor.asides)
        require(why in heard, f"{what}: QEMU does not print {why!r}, but {heard!r}")
    nothing = good.spliced(first, b"\0", len(good.stream))
    loader.refuses(nothing.sealed(), "is not described", what="no sections", reset=True)
    other = good.telling(state="paused")
    loader.refuses(other.sealed(), "run state is missing", what="another run state", reset=True)
    loader.loads()


@scenario(
    "bad-load-not-now",
    "cprload into a VM that runs, has run, or was loaded already: refused, and it goes on",
)
def not_now(stage: Stage) -> None:
    file = str(stage.file())
    started = "must be started with option -S"

    def refuses(machine: Machine, says: str, what: str) -> None:
        said = machine.refusal("cprload", file=file)
        require(says in said, f"{what}: cprload says {said!r}, not {says!r}")

    first = stage.start()
    page = first.wait_counting()
    first.save(file)
    saved = first.page()
    require(saved.seed == page.seed, "the guest was started anew")

    second = stage.start("-S")
    second.load(file)
    for status in ("running", "paused", "running"):
        refuses(second, "loaded already", f"a VM that was loaded and is {status}")
        require(second.status() == status, f"it was {status}, and is not any more")
        if status == "paused":
            second.execute("cont")
            second.goes_on(saved)
        else:
            second.runs_on(second.page())
            second.execute("stop")
    last = second.page()
    second.save(file)

    # Loaded as paused, it has not run.
    third = stage.start("-S")
    third.load(file)
    refuses(third, "loaded already", "a VM that was loaded and is paused")
    require(third.status() == "paused", "a VM that was paused is not any more")
    third.execute("cont")
    third.goes_on(last)
    third.close()

    incoming = stage.start("-S", "-incoming", "defer", boot=False)
    refuses(incoming, started, "a VM that waits for a migration")
    incoming.close()

    # From here on it is another guest.
    for more in (["-S"], []):
        fresh = stage.start(*more)
        if more:
            fresh.execute("cont")
        # Of an earlier guest is the page at first.
        page = fresh.wait_started(stage.seeds[-1])
        refuses(fresh, started, "a VM that runs")
        fresh.runs_on(page)
        fresh.execute("stop")
        refuses(fresh, started, "a VM that has run")
        require(fresh.status() == "paused", "a VM that was paused is not any more")
        fresh.execute("cont")
        fresh.goes_on(page)
        fresh.close()


@scenario(
    "bad-load-other-memory",
    "RAM of another size, order or kind: refused by name; with the right RAM the guest goes on",
)
def other_memory(stage: Stage) -> None:
    saved = _saved(stage)
    file = str(stage.file())
    private = "memory-backend-ram,id=ram,size={mib}M"
    dimm = "memory-backend-file,id=more,size=32M,mem-path=more,share=on"
    device = ["-object", dimm, "-device", "pc-dimm,id=dimm,memdev=more"]
    for what, start, says in (
        ("less RAM", partial(stage.start, mib=32), "'ram' has 33554432 bytes, but had 67108864"),
        ("private RAM", partial(stage.start, memory=private), "'ram' of 67108864 bytes is missing"),
        ("more RAM", partial(stage.start, *device), "'more' of 33554432 bytes was not there"),
    ):
        machine = start("-S")
        said = machine.refusal("cprload", file=file)
        require(says in said, f"{what}: cprload says {said!r}, not {says!r}")
        require(_RESET in said, f"{what}: not told that the VM was reset: {said}")
        require(machine.status() == "prelaunch", f"{what}: the VM is {machine.status()}")
        machine.close()
    same = stage.start("-S")
    same.load(file)
    same.goes_on(saved)


def _two_nodes(stage: Stage, *order: str, paused: bool = True) -> Machine:
    """Two NUMA nodes, whose memory is in the files ``ram`` and ``ram2``."""
    words = ["-S"] if paused else []
    for name in ("ram", "ram2"):
        words += ["-object", f"memory-backend-file,id={name},size=32M,mem-path={name},share=on"]
    for name in order:
        words += ["-numa", f"node,memdev={name}"]
    return stage.start(*words, memory=None)


@scenario(
    "bad-load-memory-order",
    "RAM of two nodes in another order: refused; in the right order the guest goes on",
)
def memory_order(stage: Stage) -> None:
    first = _two_nodes(stage, "ram", "ram2", paused=False)
    first.wait_counting()
    first.save(stage.file())
    saved = first.page()
    other = _two_nodes(stage, "ram2", "ram")
    said = other.refusal("cprload", file=str(stage.file()))
    for says in ("is at address", _RESET):
        require(says in said, f"cprload says {said!r}, not {says!r}")
    require(other.status() == "prelaunch", f"the VM is {other.status()}")
    other.close()
    same = _two_nodes(stage, "ram", "ram2")
    same.load(stage.file())
    same.goes_on(saved)
