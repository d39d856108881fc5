"""Images that QEMU writes to RAM when it starts do not harm a saved guest's RAM."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from .guest import until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800), pytest.mark.xdist_group("live")]

AT, MARK, GUESTS = 0x200000, 0x42424242, 0x47474747


def loader(kind: str, place: Path) -> list[str]:
    """`-device loader` of one word at AT, from a file or from the command line."""
    if kind == "data":
        return ["-device", f"loader,addr={AT:#x},data={MARK:#x},data-len=4"]
    blob = place / "blob"
    blob.write_bytes(struct.pack("<I", MARK))
    return ["-device", f"loader,file={blob},addr={AT:#x},force-raw=on"]


@pytest.mark.parametrize("kind", ["file", "data"])
def test_loader_keeps_off_a_saved_guest(guests: Any, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "guest.sav"
    more = loader(kind, tmp_path)
    first = guests(*more)
    first.wait_until_it_counts()
    assert first.peek(AT) == MARK
    first.poke(AT, GUESTS)
    first.save(file)

    second = guests("-S", *more)
    assert second.peek(AT) == GUESTS
    second.ask("system_reset")
    # What fails leaves the RAM alone, too.
    second.refusal("cprsave", file="/dev/full", mode="reboot")
    second.refusal("migrate", uri="bogus:x")
    assert second.peek(AT) == GUESTS
    assert second.ask("cprload", file=str(file)) == {"return": {}}
    second.wait_until_it_counts()
    assert second.peek(AT) == GUESTS
    second.ask("system_reset")
    until(lambda: second.peek(AT) == MARK, "a later reset does not write")


@pytest.mark.parametrize("kind", ["file", "data"])
def test_loader_is_complete_when_the_guest_starts(guests: Any, tmp_path: Path, kind: str) -> None:
    """Saved before it ever ran: it starts with its image in the next process."""
    file = tmp_path / "guest.sav"
    more = loader(kind, tmp_path)
    first = guests("-S", *more)
    first.save(file)
    assert first.peek(AT) == 0
    second = guests("-S", *more)
    assert second.ask("cprload", file=str(file)) == {"return": {}}
    assert second.status() == "prelaunch"
    assert second.peek(AT) == 0
    assert second.ask("cont") == {"return": {}}
    assert second.peek(AT) == MARK
    second.wait_until_it_counts()


@pytest.mark.parametrize("kind", ["file", "data"])
def test_savevm_and_migrate_write_it_first(guests: Any, tmp_path: Path, kind: str) -> None:
    guest = guests("-S", *loader(kind, tmp_path))
    assert guest.peek(AT) == 0
    assert guest.ask("migrate", uri=f"exec:cat > {tmp_path / 'stream'}") == {"return": {}}
    until(lambda: guest.peek(AT) == MARK, "migrate does not write it")


def pvh_kernel(place: Path) -> Path:
    """An ELF image with a PVH note; behind the code, a counter of its own starts with MARK.

    again: inc dword [AT+0x40]; jmp again
    """
    code = bytes.fromhex("ff05") + struct.pack("<I", AT + 0x40) + bytes.fromhex("ebf8")
    code = code.ljust(0x40, b"\0") + struct.pack("<I", MARK)
    # XEN_ELFNOTE_PHYS32_ENTRY
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen", AT)
    ehdr = b"\x7fELF\1\1\1".ljust(16, b"\0")
    ehdr += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, AT, 52, 0, 0, 52, 32, 2, 40, 0, 0)
    note_at, code_at = 0x100, 0x1000
    load = struct.pack("<8I", 1, code_at, AT, AT, len(code), len(code), 7, 0x1000)
    noted = struct.pack("<8I", 4, note_at, 0, 0, len(note), len(note), 4, 4)
    image = (ehdr + load + noted).ljust(note_at, b"\0") + note
    kernel = place / "kernel"
    kernel.write_bytes(image.ljust(code_at, b"\0") + code)
    return kernel


def test_a_kernel_is_not_written_over_a_saved_guest(guests: Any, tmp_path: Path) -> None:
    file = tmp_path / "guest.sav"
    more = ["-kernel", str(pvh_kernel(tmp_path))]
    first = guests(*more)
    until(lambda: first.peek(AT + 0x40) > MARK, "the kernel does not run")
    first.save(file)
    saved = first.peek(AT + 0x40)

    second = guests("-S", *more)
    assert second.peek(AT + 0x40) == saved
    assert second.ask("cprload", file=str(file)) == {"return": {}}
    until(lambda: second.peek(AT + 0x40) > saved, "it does not go on")
    second.quit()

    # Without cprload, it is an ordinary start.
    third = guests("-S", *more)
    third.poke(AT + 0x40, 0)
    assert third.ask("cont") == {"return": {}}
    until(lambda: third.peek(AT + 0x40) > MARK, "the kernel was not written")
