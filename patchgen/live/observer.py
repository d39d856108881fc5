"""What a guest does, seen from outside through its RAM."""

from __future__ import annotations

import mmap
import os
import struct
from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

STATUS = 0x100000
"""Guest-physical address of the status page, as in ``guests/counter.S``."""
PATTERN, WORDS = 0x200000, 0x100000
"""Address of the pattern, and its size in words of 4 bytes."""
MAGIC = b"PGGUEST1"
SUSPEND, RESET, POWER_OFF = 1, 2, 3

_PAGE = struct.Struct("<8sIIQIIIIII")
PAGE_SIZE = _PAGE.size
"""Bytes of the guest's account of itself."""
_COUNTER, _COMMAND = STATUS + 0x10, STATUS + 0x28
_FACTOR = 0x9E3779B1
_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class GuestPage:
    """The guest's own account of itself.

    :ivar starts: how often it was booted in this RAM
    :ivar seed: what it was given when it was booted
    :ivar counter: steps so far
    :ivar ticks: timer interrupts so far, 100 per second of its clock
    :ivar passes: complete checks of its pattern
    :ivar errors: words of the pattern that were wrong, and exceptions
    :ivar wakes: returns from suspend to RAM
    :ivar command: the command that it has not seen yet
    :ivar lines: lines printed on its serial port
    """

    starts: int
    seed: int
    counter: int
    ticks: int
    passes: int
    errors: int
    wakes: int
    command: int
    lines: int


def page_of(raw: bytes) -> GuestPage | None:
    """The account in *raw*, which starts at :data:`STATUS`; ``None`` if there is none."""
    magic, *values = _PAGE.unpack_from(raw)
    return GuestPage(*values) if magic == MAGIC else None


class GuestRam(ABC):
    """A view of a guest's RAM, shared with the QEMU process that runs it.

    Addresses are guest-physical.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Give the view back."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """What is there."""

    @abstractmethod
    def write(self, address: int, data: bytes) -> None:
        """Put *data* there."""

    def page(self) -> GuestPage | None:
        """The status page, ``None`` while the guest has not made one."""
        return page_of(self.read(STATUS, PAGE_SIZE))

    def counter(self) -> int:
        """The guest's counter alone, as fast as possible."""
        return int.from_bytes(self.read(_COUNTER, 8), "little")

    def command(self, number: int) -> None:
        """Tell the guest to do something: :data:`SUSPEND`, :data:`RESET`, :data:`POWER_OFF`."""
        self.poke(_COMMAND, number)

    def peek(self, address: int) -> int:
        """A word of 4 bytes."""
        return int.from_bytes(self.read(address, 4), "little")

    def poke(self, address: int, value: int) -> None:
        """Write a word of 4 bytes."""
        self.write(address, value.to_bytes(4, "little"))

    def wrong_words(self, seed: int) -> int:
        """How many words of the pattern are not those of *seed*."""
        made = _pattern(seed)
        there = self.read(PATTERN, 4 * WORDS)
        if there == made:
            return 0
        words = zip(array("I", there), array("I", made), strict=True)
        return sum(one != other for one, other in words)


class Observer(GuestRam):
    """A view through the file that holds the RAM.

    :param path: the file behind the RAM; its offset 0 is guest-physical address 0
    :raise OSError: it cannot be opened
    :raise ValueError: it is empty
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def close(self) -> None:
        """Give the view back."""
        self._map.close()

    def read(self, address: int, size: int) -> bytes:
        """What is there."""
        return self._map[address : address + size]

    def write(self, address: int, data: bytes) -> None:
        """Put *data* there."""
        self._map[address : address + len(data)] = data


class ProcessRam(GuestRam):
    """A view through the memory of the process, whatever the RAM is made of.

    :param pid: the process
    :param base: where guest-physical address 0 is in it
    :raise OSError: its memory may not be looked at
    """

    def __init__(self, pid: int, base: int) -> None:
        self._base = base
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the view back."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def read(self, address: int, size: int) -> bytes:
        """What is there."""
        return os.pread(self._fd, size, self._base + address)

    def write(self, address: int, data: bytes) -> None:
        """Put *data* there."""
        os.pwrite(self._fd, data, self._base + address)


@lru_cache(4)
def _pattern(seed: int) -> bytes:
    """What the guest fills its pattern with."""
    made = array("I", bytes(4 * WORDS))
    for number in range(WORDS):
        word = (number + seed) * _FACTOR & _MASK
        made[number] = word ^ word >> 15
    return made.tobytes()
