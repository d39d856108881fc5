"""Trees: the files of one commit, read lazily, with edits as an overlay in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Files(Protocol):
    """What the engine needs of a tree of source files. Paths use ``/``; contents are bytes."""

    def read(self, path: str) -> bytes | None:
        """The file's content, ``None`` if the tree has no such file."""

    def grep(self, word: str) -> tuple[str, ...]:
        """Paths of the C files that hold *word* as a whole word, sorted."""


@dataclass
class MemoryFiles:
    """A tree held in memory; tests and small jobs use it."""

    files: Mapping[str, bytes]

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def grep(self, word: str) -> tuple[str, ...]:
        import re

        pattern = re.compile(rb"\b" + re.escape(word.encode()) + rb"\b")
        return tuple(
            sorted(
                path
                for path, data in self.files.items()
                if path.endswith((".c", ".h")) and pattern.search(data)
            )
        )


@dataclass
class Tree:
    """A base tree plus the edits made so far; the one mutable object of the engine.

    :ivar base: the unchanged files
    :ivar edits: path -> new content
    """

    base: Files
    edits: dict[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        """The file as edited so far."""
        if path in self.edits:
            return self.edits[path]
        return self.base.read(path)

    def exists(self, path: str) -> bool:
        """Whether the tree has the file."""
        return self.read(path) is not None

    def grep(self, word: str) -> tuple[str, ...]:
        """Paths of the C files that hold *word*; edits are seen as well."""
        found = set(self.base.grep(word)) - set(self.edits)
        found.update(MemoryFiles(self.edits).grep(word))
        return tuple(sorted(found))
