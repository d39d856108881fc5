"""The Linux guest: fetched from a mirror in a directory, its modules put in order, its archive."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from patchgen.live import linux
from patchgen.live.linux import MODULES, linux_guest, needed_modules, newc
from patchgen.live.waiting import Skipped
from tests.unit.source_help import Steps
from tests.unit.test_source_apt import Mirror, mirror

__all__ = ["mirror"]
needs_apt = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("apt-get", "dpkg-deb")), reason="no apt or dpkg"
)


def _module(*depends: str) -> bytes:
    return b"\x7fELF\0name=x\0depends=" + ",".join(depends).encode() + b"\0retpoline=Y\0"


def _modules(top: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = top / "kernel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (top / "modules.builtin").write_text("kernel/lib/crc16.ko\n", encoding="ascii")
    return top


def test_modules_come_behind_what_they_need(tmp_path: Path) -> None:
    top = _modules(
        tmp_path,
        {
            "fs/ext4.ko": _module("jbd2", "mbcache", "crc16"),
            "fs/jbd2.ko": _module(),
            "fs/mbcache.ko.xz": lzma.compress(_module()),
            "hw/virtio-rng.ko": _module("virtio"),
            "hw/virtio.ko": _module(),
        },
    )
    found = needed_modules(top, ["ext4", "virtio_rng", "crc16"])
    assert list(found) == ["jbd2", "mbcache", "ext4", "virtio", "virtio_rng"]
    assert found["mbcache"] == _module()
    with pytest.raises(Skipped, match="no module nvme"):
        needed_modules(top, ["nvme"])


def test_archive(tmp_path: Path) -> None:
    archive = b"".join(newc([("bin", 0o040755, b""), ("init", 0o100755, b"abcde")]))
    assert len(archive) % 4 == 0
    assert archive.startswith(b"070701" + b"00000001" + b"000041ED")
    assert b"init\0" in archive
    assert archive.endswith(b"TRAILER!!!\0" + bytes(-(110 + 11) % 4))
    if cpio := shutil.which("cpio"):
        subprocess.run([cpio, "-i", "--quiet"], cwd=tmp_path, input=archive, check=True)
        assert (tmp_path / "init").read_bytes() == b"abcde"


def _deb(mirror: Mirror, name: str, files: Path | None, depends: str = "") -> str:
    """Put a package into the pool; its stanza of Packages."""
    top = mirror.top.parent / f"deb-{name}"
    if files:
        shutil.copytree(files, top)
    (top / "DEBIAN").mkdir(parents=True)
    said = f"Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@example.org>\n"
    said += f"Depends: {depends}\n" if depends else ""
    (top / "DEBIAN/control").write_text(f"{said}Description: x\n", encoding="ascii")
    deb = mirror.top / f"pool/{name}_1_amd64.deb"
    subprocess.run(["dpkg-deb", "-b", top, deb], check=True, capture_output=True)
    data = deb.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return f"{said}Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n\n"


def _publish(mirror: Mirror, files: Path) -> None:
    """A suite with a kernel and busybox."""
    version = "6.1.0-1-amd64"
    (files / "boot").mkdir(parents=True)
    (files / f"boot/vmlinuz-{version}").write_bytes(b"kernel")
    names = {f"hw/{name}.ko": _module() for name in MODULES}
    _modules(files / "lib/modules" / version, names)
    box = files.with_name("box")
    (box / "bin").mkdir(parents=True)
    (box / "bin/busybox").write_bytes(b"busybox")
    stanzas = _deb(mirror, f"linux-image-{version}", files)
    stanzas += _deb(mirror, "linux-image-amd64", None, f"linux-image-{version} (= 1), other")
    stanzas += _deb(mirror, "busybox-static", box)
    index = mirror.top / "dists/bookworm/main/binary-amd64/Packages"
    index.parent.mkdir(parents=True)
    index.write_text(stanzas, encoding="ascii")
    data = index.read_bytes()
    (mirror.top / "dists/bookworm/Release").write_text(
        f"Origin: Debian\nSuite: bookworm\nCodename: bookworm\nComponents: main\n"
        f"Architectures: amd64\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
        f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/Packages\n",
        encoding="ascii",
    )


@needs_apt
def test_fetched_once(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _publish(mirror, tmp_path / "files")
    entry = f"deb [trusted=yes] copy:{mirror.top} bookworm main\n"
    mirror.host(monkeypatch, entry, deb822=False)
    ui = Steps()
    guest = linux_guest(ui)
    assert guest.version == "6.1.0-1-amd64"
    assert guest.kernel.read_bytes() == b"kernel"
    archive = guest.initramfs.read_bytes()
    assert all(f"modules/{name}.ko\0".encode() in archive for name in MODULES)
    assert b"busybox" in archive
    assert b"the first process of the linux guest" in archive.lower()
    assert any("index of packages of bookworm" in said for said in ui.said)
    assert not (mirror.etc / "state").exists()
    assert not (mirror.etc / "hook-ran").exists()
    # Without a mirror, what was fetched is used; another list of modules makes another archive.
    shutil.rmtree(mirror.top)
    monkeypatch.setattr(linux, "MODULES", MODULES[:1])
    again = linux_guest(Steps())
    assert again.initramfs != guest.initramfs
    assert not guest.initramfs.exists()
    assert [path.name for path in guest.kernel.parents[2].iterdir() if path.is_dir()] == [
        "linux-6.1.0-1-amd64"
    ]


@needs_apt
def test_skipped_where_there_is_none(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = f"deb [trusted=yes] copy:{mirror.top} bookworm main\n"
    mirror.host(monkeypatch, entry, deb822=False)
    with pytest.raises(Skipped, match=r"^no Linux guest: "):
        linux_guest(Steps())
