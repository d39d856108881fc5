"""The Linux guest: a kernel and busybox of the distribution, and an init script of ours."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from filelock import FileLock

from patchgen.live.waiting import Skipped
from patchgen.paths import cache_dir
from patchgen.source.apt import AptFailed
from patchgen.source.debs import packages_of_any_suite
from patchgen.ui import Ui

MODULES = ("qemu_fw_cfg", "virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "ext4")
"""Loaded by the init script, behind those that they need."""
_IF_THERE = ("crc32c_generic",)
"""ext4 asks for it by an alias; newer kernels have it built in under another name."""

_PACKAGE, _KERNEL = "linux-image-amd64", r"linux-image-\d[^ ]*-amd64"
_BUSYBOX = "busybox-static"
_TEMPORARY = "fetching-"


@dataclass(frozen=True)
class LinuxGuest:
    """What ``-kernel`` and ``-initrd`` take.

    :ivar version: of the kernel, such as ``6.1.0-50-amd64``
    """

    version: str
    kernel: Path
    initramfs: Path


def linux_guest(ui: Ui) -> LinuxGuest:
    """The guest, from the cache; what is missing there is fetched first.

    :raise Skipped: it cannot be had
    """
    top = cache_dir() / "guests"
    top.mkdir(exist_ok=True)
    with FileLock(str(top / "linux.lock")):
        root = _cached(top) or _fetch(top, ui)
        version = root.name.removeprefix("linux-")
        return LinuxGuest(version, root / "boot" / f"vmlinuz-{version}", _initramfs(root, version))


def _cached(top: Path) -> Path | None:
    """The newest guest that was unpacked before."""
    there = [path for path in top.glob("linux-*") if path.is_dir()]
    return max(there, key=lambda path: path.stat().st_mtime, default=None)


def _fetch(top: Path, ui: Ui) -> Path:
    """Fetch and unpack the packages; a directory called after the kernel's version.

    To be called under the lock: what a killed run left is removed.

    :raise Skipped: they cannot be had
    """
    tool = shutil.which("dpkg-deb")
    if tool is None:
        raise Skipped("no Linux guest: dpkg-deb is not installed, which unpacks it")
    for left in top.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=top) as name:
        scratch = Path(name)
        try:
            packages = packages_of_any_suite(cache_dir() / "apt", "amd64", ui)
            kernel = packages.dependency(_PACKAGE, _KERNEL)
            debs = packages.download([kernel, _BUSYBOX], scratch, ui)
        except AptFailed as exc:
            raise Skipped(f"no Linux guest: {exc.reason}") from exc
        made = scratch / "root"
        ui.step(f"unpacking {kernel} and {_BUSYBOX}")
        for deb in debs:
            words = [tool, "-x", str(deb), str(made)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Skipped(f"no Linux guest: {deb.name}: {done.stderr.strip()}")
        root = top / kernel.replace("linux-image-", "linux-")
        made.rename(root)
        return root


# --- the modules ------------------------------------------------------------------------------


def _plain(path: Path) -> bytes:
    """A module's file; newer suites compress them."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _name(path: Path) -> str:
    return path.name.split(".")[0].replace("-", "_")


def needed_modules(directory: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Modules and all that they need, in an order in which they load.

    There is no ``modules.dep`` before depmod ran, so each module is asked itself. What is built
    into the kernel needs no module.

    :param directory: ``lib/modules/VERSION``
    :return: contents by name
    :raise Skipped: there is no such module
    """
    files = {_name(path): path for path in directory.glob("kernel/**/*.ko*")}
    builtin = (directory / "modules.builtin").read_text(encoding="ascii").splitlines()
    inside = {_name(Path(line)) for line in builtin}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        name = name.replace("-", "_")
        if name in found or name in inside:
            return
        if name not in files:
            raise Skipped(f"no Linux guest: its kernel has no module {name}")
        data = _plain(files[name])
        for said in re.findall(rb"\0depends=([^\0]+)", data):
            for one in said.decode("ascii").split(","):
                add(one)
        found[name] = data

    for name in _IF_THERE:
        if name in files:
            add(name)
    for name in wanted:
        add(name)
    return found


# --- the initramfs ----------------------------------------------------------------------------


def newc(files: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """A cpio archive in the format newc.

    :param files: path, mode with the file's type, contents
    """
    # The same input makes the same archive: no times, no owners.
    listed = [*files, ("TRAILER!!!", 0, b"")]
    for number, (path, mode, data) in enumerate(listed, 1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        yield head + bytes(-len(head) % 4)
        yield data + bytes(-len(data) % 4)


def _initramfs(root: Path, version: str) -> Path:
    """The archive with busybox, the modules and our init, made once for each init."""
    init = resources.files("patchgen.live.guests").joinpath("linux-init.sh").read_bytes()
    digest = hashlib.sha256(init + " ".join(_IF_THERE + MODULES).encode()).hexdigest()[:16]
    archive = root / f"initramfs-{digest}.cpio"
    if archive.is_file():
        return archive
    modules = needed_modules(root / "lib" / "modules" / version, MODULES)
    order = "".join(f"{name}.ko\n" for name in modules)
    executable, file, directory = 0o100755, 0o100644, 0o040755
    busybox = next(path for path in (root / "bin", root / "usr/bin") if path.is_dir()) / "busybox"
    files = [
        ("bin", directory, b""),
        ("modules", directory, b""),
        ("bin/busybox", executable, busybox.read_bytes()),
        ("init", executable, init),
        ("modules/order", file, order.encode()),
        *((f"modules/{name}.ko", file, data) for name, data in modules.items()),
    ]
    for old in root.glob("initramfs-*"):
        old.unlink()
    part = root / f"part.{os.getpid()}"
    with part.open("wb") as out:
        for piece in newc(files):
            out.write(piece)
    part.replace(archive)
    return archive
