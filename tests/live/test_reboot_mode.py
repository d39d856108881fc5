"""The built QEMU at work: a guest goes on in another process with its memory in place."""

from __future__ import annotations

import json
import mmap
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchgen.cli import run

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800), pytest.mark.xdist_group("live")]

# cli; xor ax,ax; mov ds,ax; again: inc dword [0x500]; jmp again
_CODE = bytes.fromhex("fa 31c0 8ed8 66ff060005 ebf9")
SECTOR = _CODE.ljust(510, b"\0") + b"\x55\xaa"
COUNTER = 0x500
MIB = 1 << 20
FIRMWARE = (Path("/usr/share/seabios"), Path("/usr/share/qemu"))


@pytest.fixture(scope="session")
def qemu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary of the distribution's 5.2 with the series."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run(["build", "v5.2.0", "--source", "distro", "--json"])
    data = json.loads(out.getvalue())
    assert code == 0, data
    return Path(data["result"]["binary"])


class Guest:
    """A QEMU process with the counting guest, spoken to in QMP over its standard input."""

    def __init__(self, qemu: Path, place: Path, *more: str, ram: str = "share=on") -> None:
        disk = place / "boot.img"
        disk.write_bytes(SECTOR.ljust(1440 * 1024, b"\0"))
        self._ram = place / "ram"
        backend = f"memory-backend-file,id=ram,size=64M,mem-path={self._ram},{ram}"
        argv = [str(qemu), "-machine", "pc,accel=tcg,memory-backend=ram", "-m", "64"]
        argv += ["-object", backend, "-nodefaults", "-vga", "none", "-display", "none"]
        argv += ["-drive", f"if=floppy,format=raw,file={disk}", "-qmp", "stdio", *more]
        for directory in FIRMWARE:
            argv += ["-L", str(directory)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert "QMP" in self._line()
        self.ask("qmp_capabilities")

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"QEMU ended with {self.process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """A QMP command; the whole reply, events skipped."""
        assert self.process.stdin is not None
        asked = json.dumps({"execute": command, "arguments": arguments})
        self.process.stdin.write(asked.encode() + b"\n")
        self.process.stdin.flush()
        while True:
            answer = self._line()
            if "return" in answer or "error" in answer:
                return answer

    def human(self, line: str) -> str:
        """A command of the human monitor; what it prints."""
        said: str = self.ask("human-monitor-command", **{"command-line": line})["return"]
        return said

    def status(self) -> str:
        """The run state."""
        state: str = self.ask("query-status")["return"]["status"]
        return state

    def counter(self) -> int:
        """The guest's counter, read from outside through the file that holds its RAM."""
        with (
            self._ram.open("rb") as file,
            mmap.mmap(file.fileno(), MIB, prot=mmap.PROT_READ) as ram,
        ):
            (value,) = struct.unpack_from("<I", ram, COUNTER)
            return int(value)

    def wait_until_it_counts(self) -> int:
        """Until the counter was seen to move; its value then."""
        seen = self.counter()
        deadline = time.monotonic() + 120
        while self.counter() == seen or not seen:
            assert time.monotonic() < deadline, "the guest does not run"
            seen = seen or self.counter()
            time.sleep(0.01)
        return self.counter()

    def quit(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def guests(qemu: Path, tmp_path: Path) -> Iterator[Any]:
    """A function that starts guests, all in one directory; they are ended with the test."""
    if not all(directory.is_dir() for directory in FIRMWARE):
        pytest.skip("no firmware: the packages seabios and qemu-system-data are not installed")
    started: list[Guest] = []

    def start(*more: str, **options: Any) -> Guest:
        started.append(Guest(qemu, tmp_path, *more, **options))
        return started[-1]

    yield start
    for guest in started:
        guest.quit()


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
