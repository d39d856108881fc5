"""Boot disks: our own guest, assembled by the host's as and ld."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from functools import cache
from importlib import resources
from pathlib import Path

from patchgen.errors import ToolMissing
from patchgen.paths import cache_dir

DISK_SIZE = 1 << 20
"""Bytes of a boot disk; the rest behind the guest is zeros."""

_PREFIXES = ("", "x86_64-linux-gnu-", "i686-linux-gnu-")


def _tool(name: str) -> str:
    """The assembler or linker that knows 32-bit x86."""
    for prefix in _PREFIXES:
        found = shutil.which(prefix + name)
        if found and _knows_x86(found, name):
            return found
    raise ToolMissing(f"no {name} for x86 is installed", "apt install binutils (or its x86 cross)")


def _knows_x86(path: str, name: str) -> bool:
    said = subprocess.run([path, "--help"], capture_output=True, text=True, check=False).stdout
    return ("--32" if name == "as" else "elf_i386") in said


@cache
def counter_guest() -> Path:
    """A boot disk with ``guests/counter.S``, made once and kept in the cache.

    :raise ToolMissing: no assembler or linker for x86
    """
    source = resources.files("patchgen.live.guests").joinpath("counter.S").read_bytes()
    name = f"counter-{hashlib.sha256(source).hexdigest()[:16]}.img"
    image = cache_dir() / "guests" / name
    if image.is_file():
        return image
    image.parent.mkdir(exist_ok=True)
    part = image.with_name(f"{name}.{os.getpid()}")
    text, made = part.with_suffix(".S"), part.with_suffix(".o")
    try:
        text.write_bytes(source)
        subprocess.run([_tool("as"), "--32", "-o", made, text], check=True)
        link = [_tool("ld"), "-m", "elf_i386", "-Ttext", "0x7c00", "-e", "start"]
        subprocess.run([*link, "--oformat", "binary", "-o", part, made], check=True)
        with part.open("r+b") as file:
            file.truncate(DISK_SIZE)
        part.replace(image)
    finally:
        for one in (part, text, made):
            one.unlink(missing_ok=True)
    return image
