"""A QEMU process with a tiny guest of our own, whose RAM lies in a file that outlives it."""

from __future__ import annotations

import json
import mmap
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COUNTER = 0x500
MIB = 1 << 20
FIRMWARE = (Path("/usr/share/seabios"), Path("/usr/share/qemu"))

# cli; xor ax,ax; mov ds,ax; again: inc dword [0x500]; jmp again
COUNTING = bytes.fromhex("fa 31c0 8ed8 66ff060005 ebf9")


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Guest:
    """Spoken to in QMP over its standard input."""

    def __init__(
        self,
        qemu: Path,
        place: Path,
        *more: str,
        ram: str = "share=on",
        size: int = 64,
        code: bytes = COUNTING,
        memory: list[str] | None = None,
    ) -> None:
        disk = place / "boot.img"
        sector = code.ljust(510, b"\0") + b"\x55\xaa"
        if not disk.exists() or disk.read_bytes()[:512] != sector:
            disk.write_bytes(sector.ljust(1440 * 1024, b"\0"))
        self.ram = place / "ram"
        if memory is None:
            backend = f"memory-backend-file,id=ram,size={size}M,mem-path={self.ram},{ram}"
            memory = [
                "-machine",
                "pc,accel=tcg,memory-backend=ram",
                "-m",
                f"{size},slots=2,maxmem=1G",
            ]
            memory += ["-object", backend]
        argv = [str(qemu), *memory, "-nodefaults", "-vga", "none", "-display", "none"]
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

    def send(self, *commands: tuple[str, dict[str, object]]) -> None:
        """QMP commands, all in one piece."""
        assert self.process.stdin is not None
        lines = [json.dumps({"execute": name, "arguments": args}) for name, args in commands]
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        self.process.stdin.flush()

    def reply(self) -> dict[str, Any]:
        """The next reply, events skipped."""
        while True:
            answer = self._line()
            if "return" in answer or "error" in answer:
                return answer

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """A QMP command; the whole reply."""
        self.send((command, arguments))
        return self.reply()

    def save(self, file: Path | str) -> None:
        """`cprsave`, and the end of the process."""
        assert self.ask("cprsave", file=str(file), mode="reboot") == {"return": {}}
        assert self.process.wait(timeout=300) == 0

    def refusal(self, command: str, **arguments: object) -> str:
        """The error of a command that must fail."""
        answer = self.ask(command, **arguments)
        assert "error" in answer, answer
        said: str = answer["error"]["desc"]
        return said

    def human(self, line: str) -> str:
        """A command of the human monitor; what it prints."""
        said: str = self.ask("human-monitor-command", **{"command-line": line})["return"]
        return said

    def status(self) -> str:
        """The run state."""
        state: str = self.ask("query-status")["return"]["status"]
        return state

    def peek(self, address: int) -> int:
        """A word of the guest's RAM, read from outside through the file that holds it."""
        with (
            self.ram.open("rb") as file,
            mmap.mmap(file.fileno(), 4 * MIB, prot=mmap.PROT_READ) as ram,
        ):
            (value,) = struct.unpack_from("<I", ram, address)
            return int(value)

    def poke(self, address: int, value: int) -> None:
        """Write such a word."""
        with self.ram.open("r+b") as file, mmap.mmap(file.fileno(), 4 * MIB) as ram:
            struct.pack_into("<I", ram, address, value)

    def counter(self) -> int:
        """What the guest has counted."""
        return self.peek(COUNTER)

    def wait_until_it_counts(self, address: int = COUNTER) -> int:
        """Until the counter was seen to move; its value then."""
        until(lambda: self.peek(address), "the guest does not run")
        seen = self.peek(address)
        until(lambda: self.peek(address) != seen, "the guest does not run")
        return self.peek(address)

    def quit(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
