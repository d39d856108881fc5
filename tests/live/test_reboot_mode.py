"""The built QEMU at work: a guest goes on in another process with its memory in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800), pytest.mark.xdist_group("live")]


def test_round_trip(guests: Any, tmp_path: Path) -> None:
    file = tmp_path / "guest.sav"
    first = guests()
    first.wait_until_it_counts()
    assert first.ask("cprinfo")["return"] == {"modes": ["reboot"]}
    assert first.human("cprinfo").split() == ["reboot"]
    assert first.ask("cprsave", file=str(file), mode="reboot") == {"return": {}}
    assert first.process.wait(timeout=300) == 0
    saved = first.counter()
    assert file.read_bytes().startswith(b"QEVM")
    assert file.stat().st_mode & 0o777 == 0o600

    second = guests("-S")
    assert second.status() == "prelaunch"
    assert second.counter() == saved
    assert second.human(f"cprload {file}") == ""
    assert second.status() == "running"
    assert second.wait_until_it_counts() > saved
    assert "error" in second.ask("cprload", file=str(file))


def test_refused_and_failed_saves_leave_the_guest_running(guests: Any, tmp_path: Path) -> None:
    guest = guests()
    guest.wait_until_it_counts()
    there = tmp_path / "there"
    there.write_text("mine", encoding="ascii")
    for file in ("/dev/full", str(tmp_path / "no such directory" / "f")):
        assert "error" in guest.ask("cprsave", file=file, mode="reboot"), file
        guest.wait_until_it_counts()
    assert "bogus" in guest.human(f"cprsave {there} bogus")
    guest.wait_until_it_counts()
    assert guest.status() == "running"
    assert there.read_text(encoding="ascii") == "mine"
    assert not list(tmp_path.glob(".cprsave-*"))


def test_volatile_memory_is_refused_by_name(guests: Any, tmp_path: Path) -> None:
    guest = guests("-device", "VGA", ram="share=off")
    error = guest.ask("cprsave", file=str(tmp_path / "f"), mode="reboot")["error"]["desc"]
    assert "ram" in error
    assert "vga.vram" in error
    assert guest.status() == "running"
    assert not (tmp_path / "f").exists()


def test_a_damaged_file_is_refused_before_a_device_is_touched(guests: Any, tmp_path: Path) -> None:
    file = tmp_path / "guest.sav"
    first = guests()
    first.wait_until_it_counts()
    first.ask("cprsave", file=str(file), mode="reboot")
    first.process.wait(timeout=300)
    saved = first.counter()
    good = file.read_bytes()
    second = guests("-S")
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    for bad in (b"", b"text\n", good[:100], good[:middle], good[:-1], flipped):
        (tmp_path / "bad").write_bytes(bad)
        answer = second.ask("cprload", file=str(tmp_path / "bad"))
        assert "error" in answer, len(bad)
        assert second.status() == "prelaunch"
    assert second.ask("cprload", file=str(file)) == {"return": {}}
    assert second.wait_until_it_counts() > saved
