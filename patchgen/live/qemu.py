"""The QEMU that scenarios are run on, and what it can do."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from patchgen.build.record import BuildRecord
from patchgen.live.waiting import LIMIT, Skipped

FIRMWARE = (Path("/usr/share/seabios"), Path("/usr/share/qemu"))
"""Where Debian's seabios and qemu-system-data are; used where the tree has no images."""


@dataclass(frozen=True)
class Qemu:
    """A built QEMU.

    :ivar accel: ``tcg`` or ``kvm``
    :ivar firmware: directories for ``-L``
    :ivar patches: how many patches of the series it has, 0 for a pristine one
    """

    binary: Path
    img: Path
    source: Path
    firmware: tuple[Path, ...]
    patches: int
    accel: str = "tcg"

    def under(self, accel: str) -> Qemu:
        """The same with another accelerator."""
        return replace(self, accel=accel)

    def help(self, *words: str) -> str:
        """What it prints for options such as ``-device help``."""
        return _help(self.binary, words, self.firmware)

    def has_device(self, name: str) -> bool:
        """Whether ``-device NAME`` is built."""
        return f'"{name}"' in self.help("-device", "help")

    @property
    def memory_property(self) -> bool:
        """Whether machines have the property ``memory-backend`` (5.0 and later)."""
        return "memory-backend=" in self.help("-machine", "pc,help")


@cache
def _help(binary: Path, words: tuple[str, ...], firmware: tuple[Path, ...]) -> str:
    where = [word for directory in firmware for word in ("-L", str(directory))]
    done = subprocess.run(
        [binary, *words, *where], capture_output=True, text=True, check=False, timeout=LIMIT
    )
    return done.stdout


def firmware_dirs(*, present: bool) -> tuple[Path, ...]:
    """Where QEMU is to look for firmware, besides its own tree.

    :param present: whether the tree has it
    :raise Skipped: neither the tree has it, nor is it installed
    """
    if present:
        return ()
    found = tuple(path for path in FIRMWARE if path.is_dir())
    if len(found) < len(FIRMWARE):
        raise Skipped("no firmware: install the packages seabios and qemu-system-data")
    return found


def qemu_of(record: BuildRecord) -> Qemu:
    """The binary of a build.

    :raise Skipped: it has no firmware, and none is installed
    """
    tools = {path.name: path for path in record.tools}
    return Qemu(
        record.binary,
        tools.get("qemu-img", record.binary.with_name("qemu-img")),
        record.source_dir,
        firmware_dirs(present=record.firmware == "present"),
        record.patches,
    )


def environment() -> dict[str, str]:
    """The environment of QEMU processes: nothing of the user's that QEMU or libraries heed."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C.UTF-8"}
