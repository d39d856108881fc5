"""What is about to happen to a VM when it is saved or loaded is neither lost nor fatal."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from .guest import until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800), pytest.mark.xdist_group("live")]

# Counts, and suspends itself when it finds something in 0x504:
#     cli; xor ax,ax; mov ds,ax; mov [0x504],eax; mov dx,0x604
# again: inc dword [0x500]; cmp byte [0x504],0; je again
#     mov byte [0x504],0; mov byte [0x508],1; mov ax,0x2400; out dx,ax; jmp again
SLEEPER = bytes.fromhex(
    "fa 31c0 8ed8 66a30405 ba0406 66ff060005 803e040500 74f4c606040500 c606080501 b80024 ef ebe4"
)
FLAG, ASLEEP = 0x504, 0x508


def test_a_suspend_that_races_with_cprsave_is_not_lost(guests: Any, tmp_path: Path) -> None:
    """Saved before it, it comes after the load; saved after it, the state is suspended."""
    file = tmp_path / "guest.sav"
    for _ in range(4):
        guest = guests(code=SLEEPER)
        guest.wait_until_it_counts()
        guest.poke(ASLEEP, 0)
        guest.poke(FLAG, 1)
        answer = guest.ask("cprsave", file=str(file), mode="reboot")
        if "error" in answer:
            assert "change its run state" in answer["error"]["desc"]
        else:
            assert guest.process.wait(timeout=300) == 0
            guest = guests("-S", code=SLEEPER)
            assert guest.ask("cprload", file=str(file)) == {"return": {}}
        until(lambda guest=guest: guest.status() == "suspended", "the suspend was lost")
        guest.quit()


def at_once(guest: Any, place: Path, *lines: str) -> str:
    """Lines of the human monitor in one turn of the main loop; the last monitor's answer.

    Each is typed into a monitor of its own but for the newline; the newlines come while the
    process is stopped.
    """
    monitors = []
    for number, line in enumerate(lines):
        monitor = socket.socket(socket.AF_UNIX)
        monitor.connect(str(place / f"monitor{number}"))
        monitor.sendall(line.encode())
        said = b""
        while not re.sub(rb"\x1b\[[KD]", b"", said).endswith(line[-8:].encode()):
            said += monitor.recv(4096)
        monitors.append(monitor)
    os.kill(guest.process.pid, signal.SIGSTOP)
    for monitor in monitors:
        monitor.sendall(b"\n")
    os.kill(guest.process.pid, signal.SIGCONT)
    said = b""
    while b"(qemu)" not in said:
        more = monitors[-1].recv(4096)
        said += more or b"(qemu)"
    return said.decode()


def test_a_suspend_that_is_pending_refuses_cprsave(guests: Any, tmp_path: Path) -> None:
    """The monitor plays the guest."""
    file = tmp_path / "guest.sav"
    more = []
    for number in range(2):
        path = tmp_path / f"monitor{number}"
        more += ["-chardev", f"socket,id=m{number},path={path},server,nowait"]
        more += ["-mon", f"chardev=m{number}"]
    guest = guests(*more)
    guest.wait_until_it_counts()
    said = at_once(guest, tmp_path, "o /w 0x604 0x2400", f"cprsave {file} reboot")
    assert "change its run state" in said
    assert not file.exists()
    until(lambda: guest.status() == "suspended", "the suspend was lost")


def test_a_reset_that_is_pending_does_not_hit_what_is_loaded(guests: Any, tmp_path: Path) -> None:
    file = tmp_path / "guest.sav"
    first = guests()
    first.wait_until_it_counts()
    first.save(file)
    saved = first.counter()
    second = guests("-S")
    second.send(("system_reset", {}), ("cprload", {"file": str(file)}))
    assert second.reply() == {"return": {}}
    answer = second.reply()
    if "error" in answer:
        assert "change its run state" in answer["error"]["desc"]
        until(lambda: second.status() == "prelaunch", "the reset was lost")
        assert second.ask("cprload", file=str(file)) == {"return": {}}
    assert second.wait_until_it_counts() > saved
    assert second.status() == "running"


def test_a_wakeup_that_is_pending_is_not_lost(guests: Any, tmp_path: Path) -> None:
    file = tmp_path / "guest.sav"
    guest = guests(code=SLEEPER)
    guest.wait_until_it_counts()
    guest.poke(FLAG, 1)
    until(lambda: guest.status() == "suspended", "the guest does not suspend")
    guest.send(("system_wakeup", {}), ("cprsave", {"file": str(file), "mode": "reboot"}))
    assert guest.reply() == {"return": {}}
    answer = guest.reply()
    if "error" in answer:
        assert "change its run state" in answer["error"]["desc"]
    else:
        assert guest.process.wait(timeout=300) == 0
        guest = guests("-S", code=SLEEPER)
        assert guest.ask("cprload", file=str(file)) == {"return": {}}
    assert guest.status() == "running"
    # It finds itself woken up: the firmware starts it anew.
    guest.wait_until_it_counts()
