"""A sealed world for the tests of patchgen.source: no network, no home, a QEMU of five files."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from patchgen.ui import Ui

FILES: dict[str, bytes] = {
    "VERSION": b"5.2.0\n",
    "softmmu/vl.c": b"int main(void) { return 0; }\n",
    "qapi/migration.json": b"# QAPI\n",
    "configure": b"#!/bin/sh\n",
}
LINK = ("docs", "qapi/migration.json")
MTIME = 1_600_000_000


class Steps(Ui):
    """Remembers what was said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def step(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(f"warning: {text}")


def seal(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Keep the user's home, git and apt out; returns the cache directory."""
    home = folder / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("GIT_", "PATCHGEN_", "APT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.org")
        monkeypatch.setenv(f"GIT_{who}_DATE", "1500000000 +0200")
    # Nothing listens on port 1: refused at once, wherever the tests run.
    monkeypatch.setenv("PATCHGEN_UPSTREAM", "http://127.0.0.1:1/qemu.git")
    monkeypatch.setenv("PATCHGEN_CACHE", str(folder / "cache"))
    return folder / "cache"


def git(where: Path, *args: str) -> str:
    """Run git in *where*."""
    done = subprocess.run(["git", *args], cwd=where, capture_output=True, check=True)
    return done.stdout.decode().strip()


def write_tree(top: Path, files: dict[str, bytes] | None = None) -> Path:
    """A QEMU directory without git."""
    for name, data in (files or FILES).items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (MTIME, MTIME))
    (top / "configure").chmod(0o755)
    if not (top / LINK[0]).is_symlink():
        (top / LINK[0]).symlink_to(LINK[1])
    return top


def write_repo(top: Path, *tags: str) -> str:
    """A QEMU repository with one commit and *tags* (annotated); its commit."""
    write_tree(top)
    git(top, "init", "-q", "-b", "master")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "QEMU")
    for tag in tags:
        git(top, "tag", "-a", "-m", tag, tag)
    return git(top, "rev-parse", "HEAD")


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A tar member with any of TarInfo's fields set."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mtime = MTIME
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def write_tar(
    path: Path, extra: Iterable[tuple[tarfile.TarInfo, bytes]] = (), top: str = "qemu-5.2.0/"
) -> Path:
    """A release tarball of the fake QEMU, with *extra* members at its end."""
    with tarfile.open(path, "w:xz") as tar:
        for name, content in FILES.items():
            info, data = member(top + name, content, mode=0o775 if name == "configure" else 0o664)
            tar.addfile(info, io.BytesIO(data))
        tar.addfile(member(top + LINK[0], type=tarfile.SYMTYPE, linkname=LINK[1])[0])
        for info, data in extra:
            tar.addfile(info, io.BytesIO(data))
    return path
