"""What the kernel tells of a process: its mappings, its descriptors, its memory."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) (\S+) (\d+) *(.*)")


@dataclass(frozen=True)
class Mapping:
    """A range of addresses.

    :ivar shared: whether what is written goes to the file
    :ivar offset: of the file
    :ivar inode: of the file, 0 for none
    :ivar private_kib: pages that belong to the process alone and are in no file
    """

    start: int
    end: int
    shared: bool
    offset: int
    inode: int
    name: str
    private_kib: int


def mappings(pid: int) -> list[Mapping]:
    """All of a process."""
    found: list[Mapping] = []
    head: re.Match[str] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        if match := _HEAD.fullmatch(line):
            head = match
        elif head and line.startswith("Anonymous:"):
            start, end, modes, offset, _, inode, name = head.groups()
            found.append(
                Mapping(
                    int(start, 16),
                    int(end, 16),
                    modes.endswith("s"),
                    int(offset, 16),
                    int(inode),
                    name,
                    int(line.split()[1]),
                )
            )
    return found


def _fds(pid: int) -> Iterator[tuple[int, Path]]:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        yield int(path.name), path


def descriptors(pid: int) -> Counter[str]:
    """What a process has open, each as often as it does; numbers that mean nothing are left out."""
    return Counter(_kind(str(path.readlink())) for _, path in _fds(pid))


def _kind(target: str) -> str:
    return re.sub(r"^(socket|pipe):\[\d+\]$", r"\1", target)


def left_open(pid: int) -> Counter[str]:
    """Descriptors that a program executed by the process would get, but for the first three."""
    found = Counter[str]()
    for number, path in _fds(pid):
        info = Path(f"/proc/{pid}/fdinfo/{number}").read_text(encoding="ascii")
        flags = int(re.search(r"flags:\s+(\d+)", info)[1], 8)  # type: ignore[index]
        if number > 2 and not flags & os.O_CLOEXEC:
            found[_kind(str(path.readlink()))] += 1
    return found


def memory(pid: int) -> tuple[int, int]:
    """(KiB of its own, KiB in files without a name that it has open)"""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    anonymous = int(re.search(r"RssAnon:\s+(\d+)", status)[1])  # type: ignore[index]
    files = {}
    for _, path in _fds(pid):
        if str(path.readlink()).startswith("/memfd:"):
            seen = path.stat()
            files[seen.st_ino] = seen.st_blocks // 2
    return anonymous, sum(files.values())
