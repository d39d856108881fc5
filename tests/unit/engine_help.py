"""Edits as series files spell them, on small texts."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from patchgen.engine.edit import Document, Placed, apply_edit
from patchgen.engine.series import values
from patchgen.engine.site import Miss
from patchgen.engine.spec import Edit

Text = str | bytes


def edit(toml: str, **more: Any) -> Edit:
    """The edit that a series file's text says; ``why`` and ``file`` are filled in."""
    data = {"why": "test", "file": "a.c", **tomllib.loads(textwrap.dedent(toml)), **more}
    return msgspec.convert(data, Edit)


def place(
    text: Text, toml: str, path: str = "a.c", facts: Mapping[str, object] | None = None
) -> Placed:
    """The outcome of one edit on *text*; both are dedented."""
    asked = edit(toml)
    content = text if isinstance(text, bytes) else dedent(text)
    return apply_edit(Document(path, content), asked, values(asked), facts or {}, "test")


def after(text: Text, toml: str, path: str = "a.c") -> str:
    """The text after an edit that must not find itself there already, but must on its result."""
    placed = place(text, toml, path)
    assert not placed.there
    again = place(placed.document.text, toml, path) if _repeats(toml) else None
    assert again is None or again.there, "the edit does not recognize its own result"
    return placed.document.text.decode()


def _repeats(toml: str) -> bool:
    """Whether an edit can be recognized: insertions and wraps can, others if they say how."""
    return any(word in toml for word in ("insert", "wrap", "present"))


def miss(text: Text, toml: str, path: str = "a.c") -> Miss:
    """How an edit misses *text*."""
    try:
        placed = place(text, toml, path)
    except Miss as missed:
        return missed
    raise AssertionError(f"the edit was made:\n{placed.document.text.decode()}")


def dedent(text: str) -> bytes:
    """*text* without its indentation and its first, empty line."""
    return textwrap.dedent(text).removeprefix("\n").encode()
