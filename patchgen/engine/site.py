"""Sites: where an anchor lands in a file, and what is said when it lands nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Shape(Enum):
    """How text is put beside a site.

    * ``BLOCK``: whole lines, one blank line between neighbours (functions, definitions)
    * ``LINE``: whole lines, indented like the site (statements, members, list entries)
    * ``INLINE``: inside a line (parameters, arguments, expressions)
    """

    BLOCK = "block"
    LINE = "line"
    INLINE = "inline"


@dataclass(frozen=True)
class Site:
    """One place that an anchor names; all numbers are byte offsets into the file.

    :ivar start, end: the extent; for BLOCK and LINE from a line's start to behind a newline
    :ivar inner: the inside (a body between its braces), where the anchor has one
    :ivar locals_end: behind the last of the declarations that a function's body starts with
    :ivar indent: white space that starts lines put beside the site
    :ivar inner_indent: the same for lines put inside
    :ivar separator: put between an INLINE site and its new neighbour
    :ivar suffix: what every LINE neighbour must end with, such as a list's comma
    :ivar captures: values for the fragment's template, such as a call's arguments
    :ivar by_text: the parsed form was not usable and the text form found the place
    """

    start: int
    end: int
    shape: Shape
    inner: tuple[int, int] | None = None
    locals_end: int | None = None
    indent: bytes = b""
    inner_indent: bytes = b""
    separator: bytes = b""
    suffix: bytes = b""
    captures: Mapping[str, object] = field(default_factory=dict)
    by_text: bool = False


@dataclass(frozen=True)
class Candidate:
    """A name in this tree that resembles the one looked for.

    :ivar score: 0 to 1, :class:`difflib.SequenceMatcher`'s ratio
    :ivar line: line number in the file, from 1
    """

    name: str
    file: str
    line: int
    score: float


class DriftKind(Enum):
    """Why an edit does not fit a tree; the values are stable codes."""

    FILE_MISSING = "PG351"
    NOT_FOUND = "PG352"
    AMBIGUOUS = "PG353"
    COUNT = "PG354"
    PARTLY_THERE = "PG355"
    POSTCONDITION = "PG356"
    FILE_AMBIGUOUS = "PG357"
    NEEDS = "PG358"
    UNKNOWN_FACT = "PG359"


class Miss(Exception):
    """An anchor did not match as it must; turned into a drift by the caller.

    :ivar kind: why
    :ivar reason: one line
    :ivar candidates: nearest names, best first
    """

    def __init__(
        self, kind: DriftKind, reason: str, candidates: tuple[Candidate, ...] = ()
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.candidates = candidates


def line_start(text: bytes, offset: int) -> int:
    """Offset of the start of the line that holds *offset*."""
    return text.rfind(b"\n", 0, offset) + 1


def line_end(text: bytes, offset: int) -> int:
    """Offset behind the newline of the line that holds *offset*."""
    found = text.find(b"\n", offset)
    return len(text) if found < 0 else found + 1


def line_number(text: bytes, offset: int) -> int:
    """Line number of *offset*, from 1."""
    return text.count(b"\n", 0, offset) + 1


def indent_at(text: bytes, offset: int) -> bytes:
    """The white space that the line holding *offset* starts with."""
    found = re.compile(rb"[ \t]*").match(text, line_start(text, offset))
    return found.group() if found else b""


def squeeze(text: bytes | str) -> str:
    """White space runs as one blank, for comparing source text whatever its layout."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return " ".join(text.split())


def nearest(
    wanted: str, names: list[tuple[str, int]], text: bytes, file: str, limit: int = 3
) -> tuple[Candidate, ...]:
    """The *limit* names most like *wanted*; *names* are (name, byte offset) pairs."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(b=wanted, autojunk=False)
    scored: dict[str, tuple[float, int]] = {}
    for name, offset in names:
        if name in scored:
            continue
        matcher.set_seq1(name)
        if matcher.real_quick_ratio() < 0.4 or matcher.quick_ratio() < 0.4:
            continue
        score = matcher.ratio()
        if score >= 0.4:
            scored[name] = (score, offset)
    best = sorted(scored.items(), key=lambda item: (-item[1][0], item[1][1]))[:limit]
    return tuple(
        Candidate(name, file, line_number(text, offset), round(score, 2))
        for name, (score, offset) in best
    )
