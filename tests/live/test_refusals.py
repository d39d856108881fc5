"""What would be lost refuses cprsave; what does not belong together refuses cprload."""

from __future__ import annotations

import contextlib
import hashlib
import os
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


def test_files_of_the_vm_are_not_replaced(guests: Any, tmp_path: Path) -> None:
    guest = guests()
    guest.wait_until_it_counts()
    (tmp_path / "soft").symlink_to("ram")
    (tmp_path / "hard").hardlink_to(tmp_path / "boot.img")
    for name in ("ram", "boot.img", "soft", "hard"):
        before = (tmp_path / name).stat()
        said = guest.refusal("cprsave", file=str(tmp_path / name), mode="reboot")
        assert "in use by this VM" in said
        after = (tmp_path / name).stat()
        assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)
    guest.wait_until_it_counts()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any directory")
def test_a_directory_that_cannot_be_read(guests: Any, tmp_path: Path) -> None:
    place = tmp_path / "drop"
    place.mkdir(mode=0o300)
    guest = guests()
    guest.wait_until_it_counts()
    guest.save(place / "f")
    assert (place / "f").read_bytes().startswith(b"QEVM")


def saved(guests: Any, file: Path, **options: Any) -> int:
    """Save a running guest; what it has counted."""
    guest = guests(**options)
    guest.wait_until_it_counts()
    guest.save(file)
    count: int = guest.counter()
    return count


def test_another_size_of_memory_is_refused(guests: Any, tmp_path: Path) -> None:
    file = tmp_path / "guest.sav"
    count = saved(guests, file)
    other = guests("-S", size=32)
    said = other.refusal("cprload", file=str(file))
    for word in ("'ram'", str(32 << 20), str(64 << 20), "the VM was reset"):
        assert word in said
    assert other.status() == "prelaunch"
    other.quit()
    same = guests("-S")
    assert same.ask("cprload", file=str(file)) == {"return": {}}
    assert same.wait_until_it_counts() > count


def two_nodes(place: Path, *order: str) -> list[str]:
    """Two NUMA nodes, whose memory is in the files `ram` and `ram2`."""
    argv = ["-machine", "pc,accel=tcg", "-m", "64"]
    for name in ("ram", "ram2"):
        path = place / name
        argv += ["-object", f"memory-backend-file,id={name},size=32M,mem-path={path},share=on"]
    for name in order:
        argv += ["-numa", f"node,memdev={name}"]
    return argv


def test_memory_in_another_order_is_refused(guests: Any, tmp_path: Path) -> None:
    file = tmp_path / "guest.sav"
    count = saved(guests, file, memory=two_nodes(tmp_path, "ram", "ram2"))
    other = guests("-S", memory=two_nodes(tmp_path, "ram2", "ram"))
    assert "is at address" in other.refusal("cprload", file=str(file))
    other.quit()
    same = guests("-S", memory=two_nodes(tmp_path, "ram", "ram2"))
    assert same.ask("cprload", file=str(file)) == {"return": {}}
    assert same.wait_until_it_counts() > count


def seal(stream: bytes, line: bytes) -> bytes:
    """The stream with a seal that is right for it, made after another one."""
    words = line.split(b" ")[:-1]
    words[-1] = b"length=%d" % len(stream)
    whole = stream + b" ".join(words) + b" sha256="
    return whole + hashlib.sha256(whole).hexdigest().encode() + b"\n"


def test_sections_that_do_not_belong_into_a_state_are_refused(guests: Any, tmp_path: Path) -> None:
    """Whoever can write the file can seal it as well."""
    file = tmp_path / "guest.sav"
    count = saved(guests, file)
    data = file.read_bytes()
    split = data.rindex(b"QEMU-CPR-1 ")
    stream, line = data[:split], data[split:]
    assert seal(stream, line) == data
    # A full section: type, number, then the counted name.
    first = stream.index(b"\x07cpr-ram") - 5
    assert stream[first] == 4
    command = b"\x08\0\1\0\0"
    part = b"\2\0\0\0\0" + bytes(8)
    end = b"\3\0\0\0\0" + bytes(8)
    number = stream[first + 1 : first + 5]
    header = b"\4" + number + b"\x07cpr-ram" + bytes(4) + b"\0\0\0\1"
    huge = header + b"\x7f\xff\xff\xff"
    again = guests("-S")
    for bad in (command, part, end, huge):
        (tmp_path / "bad").write_bytes(seal(stream[:first] + bad + stream[first:], line))
        assert "the VM was reset" in again.refusal("cprload", file=str(tmp_path / "bad"))
    # Nothing says what RAM it belongs to.
    (tmp_path / "bad").write_bytes(seal(stream[:first] + b"\0", line))
    assert "is not described" in again.refusal("cprload", file=str(tmp_path / "bad"))
    assert again.ask("cprload", file=str(file)) == {"return": {}}
    assert again.wait_until_it_counts() > count
