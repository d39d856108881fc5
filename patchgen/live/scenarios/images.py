"""Images that QEMU writes to RAM when it starts do not harm a saved guest's RAM."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import require, until

AT, MARK, GUESTS = 0x800000, 0x42424242, 0x47474747
"""Where the image goes, behind the guest's pattern; its word; what the guest makes of it."""
COUNTER = AT + 0x40
"""The counter of :func:`_pvh_kernel`."""


def _data(_: Stage) -> list[str]:
    return ["-device", f"loader,addr={AT:#x},data={MARK:#x},data-len=4"]


def _file(stage: Stage) -> list[str]:
    stage.file("blob").write_bytes(struct.pack("<I", MARK))
    return ["-device", f"loader,file=blob,addr={AT:#x},force-raw=on"]


KINDS: tuple[tuple[str, Callable[[Stage], list[str]]], ...] = (("data", _data), ("file", _file))
"""``-device loader`` of one word, from the command line or from a file."""


Play = Callable[[Stage, str, list[str]], None]


def _for_each_kind(play: Play) -> Callable[[Stage], None]:
    """A scenario that is played with either kind, each in RAM of its own: kind, options."""

    def both(stage: Stage) -> None:
        for kind, options in KINDS:
            stage.forget_ram()
            with stage.telling(f"loader,{kind}"):
                play(stage, kind, options(stage))

    return both


def _holds(machine: Machine, word: int, when: str) -> None:
    there = machine.guest.peek(AT)
    require(there == word, f"{when} there is {there:#x} instead of {word:#x}")


def _wait_written(machine: Machine) -> None:
    until(lambda: machine.guest.peek(AT) == MARK, "a later reset does not write the image")


@scenario(
    "images-keep-off-a-saved-guest",
    "-device loader writes at a start and at later resets, but not over what is to be loaded",
)
@_for_each_kind
def keep_off(stage: Stage, kind: str, words: list[str]) -> None:
    file = stage.file(f"{kind}.sav")
    first = stage.start(*words)
    first.wait_counting()
    _holds(first, MARK, "after an ordinary start")
    first.guest.poke(AT, GUESTS)
    first.save(file)

    second = stage.start("-S", *words)
    _holds(second, GUESTS, "after -S")
    second.execute("system_reset")
    second.qmp.wait_event("RESET")
    # What fails leaves the RAM alone, too.
    second.refusal("cprsave", file="/dev/full", mode="reboot")
    second.refusal("migrate", uri="bogus:x")
    _holds(second, GUESTS, "after a reset and what failed")
    saved = second.page()
    second.load(file)
    second.goes_on(saved)
    _holds(second, GUESTS, "after cprload")
    second.execute("system_reset")
    _wait_written(second)
    second.quit()


@scenario(
    "images-of-a-guest-that-never-ran",
    "a guest that is saved before it ever ran gets its image when it starts in the next process",
)
@_for_each_kind
def never_ran(stage: Stage, kind: str, words: list[str]) -> None:
    file = stage.file(f"{kind}.sav")
    first = stage.start("-S", *words)
    first.save(file)
    _holds(first, 0, "after cprsave")
    second = stage.start("-S", *words)
    second.load(file)
    require(second.status() == "prelaunch", f"prelaunch became {second.status()}")
    _holds(second, 0, "after cprload")
    second.execute("cont")
    _holds(second, MARK, "after cont")
    second.wait_counting()
    second.quit()


@scenario(
    "images-are-sent-by-migrate",
    "migrate of a VM that never ran writes its image first, and the destination has it",
)
@_for_each_kind
def migrated(stage: Stage, _: str, words: list[str]) -> None:
    first = stage.start("-S", *words)
    _holds(first, 0, "after -S")
    first.execute("migrate", uri="exec:cat > stream")
    first.wait_status("postmigrate")
    _holds(first, MARK, "after migrate")
    first.quit()
    second = stage.start("-incoming", "exec:cat stream", "-S", ram="ram2")
    second.wait_status("prelaunch")
    _holds(second, MARK, "at the destination")
    second.execute("cont")
    second.wait_counting()
    second.quit()
    stage.file("ram2").unlink()


@scenario(
    "images-are-in-snapshots",
    "savevm of a VM that never ran writes its image first; loadvm brings the RAM of the snapshot",
)
@_for_each_kind
def snapshots(stage: Stage, _: str, words: list[str]) -> None:
    stage.boot_on_qcow2()
    first = stage.start("-S", *words)
    _holds(first, 0, "after -S")
    said = first.human("savevm new")
    require(said == "", f"savevm: {said}")
    _holds(first, MARK, "after savevm")
    first.execute("cont")
    before = first.wait_counting()
    first.guest.poke(AT, GUESTS)
    said = first.human("savevm old")
    require(said == "", f"savevm: {said}")
    first.goes_on(before)
    first.quit()

    stage.forget_ram()
    second = stage.start("-S", *words)
    said = second.human("loadvm old")
    require(said == "", f"loadvm: {said}")
    _holds(second, GUESTS, "after loadvm")
    second.execute("cont")
    _holds(second, GUESTS, "after cont")
    second.counts_on(before)
    second.quit()


def _pvh_kernel(place: Path) -> list[str]:
    """An ELF image with a PVH note; behind the code, a counter of its own starts with MARK.

    again: inc dword [COUNTER]; jmp again
    """
    code = bytes.fromhex("ff05") + struct.pack("<I", COUNTER) + bytes.fromhex("ebf8")
    code = code.ljust(COUNTER - AT, b"\0") + struct.pack("<I", MARK)
    # XEN_ELFNOTE_PHYS32_ENTRY
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen", AT)
    ehdr = b"\x7fELF\1\1\1".ljust(16, b"\0")
    ehdr += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, AT, 52, 0, 0, 52, 32, 2, 40, 0, 0)
    note_at, code_at = 0x100, 0x1000
    load = struct.pack("<8I", 1, code_at, AT, AT, len(code), len(code), 7, 0x1000)
    noted = struct.pack("<8I", 4, note_at, 0, 0, len(note), len(note), 4, 4)
    image = (ehdr + load + noted).ljust(note_at, b"\0") + note
    (place / "kernel").write_bytes(image.ljust(code_at, b"\0") + code)
    return ["-kernel", "kernel"]


@scenario(
    "images-kernel-keeps-off-a-saved-guest",
    "-kernel with an ELF image goes on where it was; without cprload it starts anew",
)
def kernel(stage: Stage) -> None:
    file = stage.file()
    words = _pvh_kernel(stage.place)
    first = stage.start(*words, boot=False)
    until(lambda: first.guest.peek(COUNTER) > MARK, "the kernel does not run")
    first.save(file)
    saved = first.guest.peek(COUNTER)

    second = stage.start("-S", *words, boot=False)
    require(second.guest.peek(COUNTER) == saved, "-S writes over the guest's RAM")
    second.load(file)
    until(lambda: second.guest.peek(COUNTER) > saved, "it does not go on after cprload")
    second.quit()

    # Without cprload, it is an ordinary start.
    third = stage.start("-S", *words, boot=False)
    third.guest.poke(COUNTER, 0)
    third.execute("cont")
    until(lambda: third.guest.peek(COUNTER) > MARK, "the kernel was not written at its start")
