"""The file that ``cprsave`` writes: a migration stream and its seal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from patchgen.live import stream
from patchgen.live.waiting import Failed, require

MAGIC = b"QEVM"
SEAL = b"QEMU-CPR-1 "
WORDS = ("mode", "state", "machine", "length", "sha256")

_SECTION_FULL = 4


@dataclass(frozen=True)
class StateFile:
    """A file, taken apart.

    :ivar stream: what comes before the seal
    :ivar words: ``mode``, ``state``, ``machine`` of the seal; its length and digest follow from
        the rest
    """

    stream: bytes
    words: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, data: bytes) -> StateFile:
        """Take a file apart.

        :raise Failed: it is none, or it is not sealed as it must be
        """
        require(data.startswith(MAGIC), "the file is no migration stream")
        at = data.rfind(SEAL)
        require(at > 0 and data.endswith(b"\n"), "the file has no seal")
        words = [word.partition("=") for word in data[at:-1].decode("ascii").split(" ")[1:]]
        require([name for name, _, _ in words] == list(WORDS), f"the seal is {data[at:]!r}")
        one = cls(data[:at], tuple((name, value) for name, _, value in words[:3]))
        require(one.sealed() == data, "the seal is not right for the file")
        return one

    def sealed(self, length: int | None = None) -> bytes:
        """The whole file, with a seal that is right for it.

        :param length: tell this length of the stream instead
        """
        words = b"".join(f"{name}={value} ".encode("ascii") for name, value in self.words)
        told = len(self.stream) if length is None else length
        whole = self.stream + SEAL + words + b"length=%d sha256=" % told
        return whole + hashlib.sha256(whole).hexdigest().encode("ascii") + b"\n"

    def word(self, name: str) -> str:
        """A word of the seal."""
        return dict(self.words)[name]

    def telling(self, **words: str) -> StateFile:
        """The same with other words in its seal."""
        return replace(self, words=tuple(dict(self.words, **words).items()))

    def spliced(self, at: int, more: bytes, to: int | None = None) -> StateFile:
        """The same with *more* in place of the stream's bytes from *at* to *to*."""
        rest = self.stream[at if to is None else to :]
        return replace(self, stream=self.stream[:at] + more + rest)

    def section(self, name: str) -> int:
        """Where the first full section of that name starts: type, number, counted name.

        :raise Failed: there is none
        """
        at = self.stream.find(bytes([len(name)]) + name.encode("ascii")) - 5
        if at < 0 or self.stream[at] != _SECTION_FULL:
            raise Failed(f"the file has no section {name}")
        return at

    @property
    def end(self) -> int:
        """Where the sections end: the end mark, before the description of the devices."""
        return stream.end_of_sections(self.stream)

    def description(self) -> dict[str, Any]:
        """The description of the devices, made by QEMU as JSON."""
        return stream.description(self.stream)
