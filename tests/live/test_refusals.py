"""What would be lost refuses cprsave."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800), pytest.mark.xdist_group("live")]


def has(qemu: Path, device: str) -> bool:
    """Whether the binary knows the device."""
    done = subprocess.run([qemu, "-device", "help"], capture_output=True, text=True, check=True)
    return f'"{device}"' in done.stdout


@pytest.mark.parametrize("device", ["virtio-mem-pci", "virtio-pmem-pci"])
def test_devices_that_lose_something_refuse(
    guests: Any, qemu: Path, tmp_path: Path, device: str
) -> None:
    if not has(qemu, device):
        pytest.skip(f"{device} is not built")
    backend = f"memory-backend-file,id=more,size=64M,mem-path={tmp_path / 'more'},share=on"
    guest = guests("-object", backend, "-device", f"{device},memdev=more,disable-legacy=on")
    guest.wait_until_it_counts()
    said = guest.refusal("cprsave", file=str(tmp_path / "f"), mode="reboot")
    assert device.removesuffix("-pci") in said
    assert guest.status() == "running"
    assert not (tmp_path / "f").exists()


def answer_vhost_user(listener: socket.socket) -> None:
    """A back end that knows how to log, so that no migration blocker speaks for it."""
    # GET_FEATURES: LOG_ALL and PROTOCOL_FEATURES; GET_PROTOCOL_FEATURES: LOG_SHMFD
    features = {1: 1 << 26 | 1 << 30, 15: 1 << 1}
    with contextlib.suppress(OSError):
        connection, _ = listener.accept()
        while header := connection.recv(12, socket.MSG_WAITALL):
            request, _, size = struct.unpack("<III", header)
            if size:
                connection.recv(size, socket.MSG_WAITALL)
            if request in features:
                connection.sendall(struct.pack("<IIIQ", request, 5, 8, features[request]))


def test_vhost_user_refuses(guests: Any, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "backend"))
    listener.listen()
    threading.Thread(target=answer_vhost_user, args=(listener,), daemon=True).start()
    more = ["-chardev", f"socket,id=c,path={tmp_path / 'backend'}"]
    more += ["-netdev", "vhost-user,id=n0,chardev=c"]
    more += ["-device", "virtio-net-pci,netdev=n0,romfile="]
    guest = guests(*more)
    said = guest.refusal("cprsave", file=str(tmp_path / "f"), mode="reboot")
    assert said.endswith("netdev 'n0' (vhost-user) has state of its own")
    assert guest.status() == "running"


def test_all_reasons_come_in_one_error(guests: Any, tmp_path: Path) -> None:
    guest = guests("-device", "VGA", "-snapshot", ram="share=off")
    said = guest.refusal("cprsave", file=str(tmp_path / "f"), mode="reboot")
    for reason in ("ram", "vga.vram", "is temporary"):
        assert reason in said
