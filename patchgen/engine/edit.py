"""One edit on one file: text, anchor, fragment -> new text, with its postcondition checked."""

from __future__ import annotations

import re
import textwrap
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from patchgen.engine.canchor import candidates_c, defined_in, find_c
from patchgen.engine.csource import CSource
from patchgen.engine.fragment import render
from patchgen.engine.listanchor import FINDERS, candidates_in_list, defined_by
from patchgen.engine.site import Candidate, DriftKind, Miss, Shape, Site
from patchgen.engine.spec import C_KINDS, At, Edit

_INCLUDE = re.compile(rb'\s*#\s*include\s+[<"]([^">]+)[">]\s*')


@dataclass
class Document:
    """A file being edited: its text and, for C, its syntax."""

    path: str
    text: bytes
    _source: CSource | None = None

    @property
    def source(self) -> CSource:
        """The parsed text."""
        if self._source is None:
            self._source = CSource(self.text)
        return self._source

    def replaced(self, changes: Sequence[tuple[int, int, bytes]]) -> Document:
        """The document with (start, end, new bytes) replaced, in file order."""
        parts, kept = [], 0
        for start, end, new in changes:
            parts += [self.text[kept:start], new]
            kept = end
        text = b"".join([*parts, self.text[kept:]])
        return Document(self.path, text)


@dataclass(frozen=True)
class Placed:
    """The outcome of one edit.

    :ivar there: it was already there and nothing was done
    :ivar by_text: the text form of the anchor was needed
    :ivar sites: how many sites were edited
    """

    document: Document
    there: bool = False
    by_text: bool = False
    sites: int = 1


def find(document: Document, at: At) -> list[Site]:
    """All sites of an anchor.

    :raise Miss: something that must enclose it is not there exactly once
    """
    if at.kind in C_KINDS:
        return find_c(document.source, at, document.path)
    return FINDERS[at.kind][0](document.text, at)


def candidates(document: Document, at: At) -> tuple[Candidate, ...]:
    """Names in the file that resemble the anchor's, best first."""
    if at.kind in C_KINDS:
        return candidates_c(document.source, at, document.path)
    return candidates_in_list(document.text, at, document.path)


def _locate(document: Document, at: At, count: str) -> list[Site]:
    sites = find(document, at)
    if not sites:
        miss = DriftKind.NOT_FOUND if count == "1" else DriftKind.COUNT
        raise Miss(miss, f"{at} is not there", candidates(document, at))
    if count == "1" and len(sites) > 1:
        raise Miss(DriftKind.AMBIGUOUS, f"{at} is there {len(sites)} times")
    return sites


def _lines(text: bytes, indent: bytes, suffix: bytes) -> bytes:
    """Text as whole lines with that indentation; preprocessor lines stay in column 0."""
    plain = textwrap.dedent(text.decode("utf-8", "surrogateescape")).strip("\n")
    lines = [line.encode("utf-8", "surrogateescape") if line else b"" for line in plain.split("\n")]
    out = b"\n".join(line if not line or line.startswith(b"#") else indent + line for line in lines)
    if suffix and not out.endswith(suffix):
        out += suffix
    trailing = b"\n\n" if text.endswith(b"\n\n") else b"\n"
    # A text that starts with an empty line wants one; TOML drops the newline after the quotes.
    return (b"\n" if text.startswith(b"\n") else b"") + out + trailing


def _block(text: bytes, before: bytes, behind: bytes) -> bytes:
    """Whole lines with one blank line to each neighbour."""
    out = text.strip(b"\n") + b"\n"
    if before and not before.endswith(b"\n\n"):
        out = b"\n" + out
    if behind and not behind.startswith(b"\n"):
        out += b"\n"
    return out


def _placed_text(document: Document, site: Site, place: str, text: bytes) -> tuple[int, bytes]:
    """(offset, bytes) for inserting *text* at a *place* of the site."""
    if place in ("local", "top"):
        return _below_locals(document.text, site, place, text)
    if place in ("first", "last"):
        if site.inner is None:
            raise Miss(DriftKind.NOT_FOUND, f"the anchor has no inside to put text {place} in")
        offset = site.inner[0] if place == "first" else site.inner[1]
        return offset, _lines(text, site.inner_indent, site.suffix)
    offset = site.start if place == "before" else site.end
    if site.shape is Shape.INLINE:
        text = text.rstrip(b"\n")
        return offset, text + site.separator if place == "before" else site.separator + text
    if site.shape is Shape.LINE:
        return offset, _lines(text, site.indent, site.suffix)
    return offset, _block(text, document.text[:offset], document.text[offset:])


def _below_locals(text: bytes, site: Site, place: str, new: bytes) -> tuple[int, bytes]:
    """(offset, bytes) for one more local, or for a first paragraph of statements."""
    offset = site.locals_end
    if offset is None or site.inner is None:
        raise Miss(DriftKind.NOT_FOUND, "the function is not parsed, so its top is not known")
    lines = _lines(new.strip(b"\n"), site.inner_indent, b"")
    none_yet = offset == site.inner[0]
    if place == "top" and not none_yet:
        lines = b"\n" + lines
    if (place == "top" or none_yet) and not text[offset:].startswith((b"\n", b"}")):
        lines += b"\n"
    return offset, lines


def _verb_change(
    document: Document, site: Site, edit: Edit, texts: tuple[bytes, ...]
) -> list[tuple[int, int, bytes]]:
    """(start, end, new bytes) of each change that an edit makes at one site, in file order."""
    if edit.insert is not None:
        offset, new = _placed_text(document, site, edit.insert.place, texts[0])
        return [(offset, offset, new)]
    if edit.wrap is not None:
        return [
            (site.start, site.start, _lines(texts[0], site.indent, b"")),
            (site.end, site.end, _lines(texts[1], site.indent, b"")),
        ]
    if edit.remove:
        end = site.end
        if site.shape is Shape.BLOCK and document.text[end : end + 1] == b"\n":
            end += 1
        return [(site.start, end, b"")]
    if site.shape is Shape.INLINE:
        return [(site.start, site.end, texts[0].rstrip(b"\n"))]
    if site.shape is Shape.LINE:
        return [(site.start, site.end, _lines(texts[0], site.indent, site.suffix))]
    return [(site.start, site.end, texts[0].strip(b"\n") + b"\n")]


@lru_cache(maxsize=256)
def _defined(kind: str, text: bytes) -> tuple[tuple[str, str], ...]:
    """(anchor kind, name) of what a text defines at the top of a file of that kind."""
    if kind in C_KINDS or kind == "file":
        return tuple(defined_in(text))
    return tuple((kind, name) for name in defined_by(kind, text))


def _included(text: bytes) -> tuple[tuple[str, str], ...]:
    """The headers that a text includes, if it does nothing else."""
    lines = [_INCLUDE.fullmatch(line) for line in text.splitlines() if line.strip()]
    found = [line.group(1).decode() for line in lines if line]
    return tuple(("include", name) for name in found) if len(found) == len(lines) else ()


def _defines(edit: Edit, path: str, text: bytes) -> tuple[tuple[str, str], ...]:
    at = edit.at
    if at is None or edit.insert is None:
        return ()
    inside = edit.insert.place not in ("before", "after")
    if at.kind in C_KINDS:
        if not path.endswith((".c", ".h")) or at.in_body or at.parameter or at.kind == "call":
            return ()
        if inside or at.member or at.enumerator or at.entry or at.field:
            return ()
        return _included(text) or _defined("function", text)
    if at.kind in ("file", "preproc"):
        if path.endswith((".c", ".h")):
            return _defined("function", text)
        return _defined("qapi", text) if path.endswith(".json") else ()
    return _defined(at.kind, text) if not (at.member or at.entry) else ()


def _already(document: Document, edit: Edit, text: bytes) -> bool:
    """Whether what the edit brings is there already.

    :raise Miss: a part of it is, and a part is not
    """
    return all_there(document, _defines(edit, document.path, text))


def all_there(document: Document, names: tuple[tuple[str, str], ...]) -> bool:
    """Whether the file has all of the names (kind, name); ``False`` if there are none.

    :raise Miss: it has some of them, and others not
    """
    if not names:
        return False
    there = [
        name
        for kind, name in names
        if name.encode() in document.text and find(document, _named(kind, name))
    ]
    if there and len(there) < len(names):
        missing = ", ".join(name for _, name in names if name not in there)
        raise Miss(DriftKind.PARTLY_THERE, f"{', '.join(there)} is there already, {missing} is not")
    return bool(there)


def _present(document: Document, edit: Edit) -> bool:
    """Whether the anchor that stands for the edit's result matches.

    :raise Miss: it does, and a rule for any number of sites has sites left
    """
    if edit.present is None or not find(document, edit.present):
        return False
    if edit.count != "1" and edit.insert is None and edit.at and find(document, edit.at):
        reason = f"{edit.present} is there already, and so is {edit.at}"
        raise Miss(DriftKind.PARTLY_THERE, reason)
    return True


def _named(kind: str, name: str) -> At:
    kind = "declaration" if kind == "typedef" else kind
    return At(**{kind: name})  # type: ignore[arg-type]


def apply_edit(
    document: Document,
    edit: Edit,
    templates: tuple[str, ...],
    values: Mapping[str, object],
    where: str,
) -> Placed:
    """Apply an edit whose anchor is in *document*.

    :param templates: the texts of the verb, not yet rendered
    :param values: facts for the templates; captures of the site are added
    :raise Miss: the anchor is not there as it must, or the postcondition does not hold
    :raise FragmentError: a template cannot be rendered
    """
    at = edit.at
    assert at is not None
    per_site = at.call is not None and any("@<" in template for template in templates)
    texts: tuple[bytes, ...] = ()
    if _present(document, edit):
        return Placed(document, there=True)
    if not per_site:
        texts = tuple(render(t, values, where) for t in templates)
        if texts and _already(document, edit, texts[0]):
            return Placed(document, there=True)
    sites = _locate(document, at, edit.count)
    changes: list[tuple[int, int, bytes]] = []
    for site in sites:
        if per_site:
            both = ChainMap(dict(site.captures), cast(MutableMapping[str, object], values))
            texts = tuple(render(t, both, where) for t in templates)
        changes.extend(_verb_change(document, site, edit, texts))
    if _changed_already(document, edit, changes):
        return Placed(document, there=True, sites=len(sites))
    changed = document.replaced(changes)
    _check_after(document, changed, edit, sites, changes)
    return Placed(changed, by_text=any(site.by_text for site in sites), sites=len(sites))


def _changed_already(document: Document, edit: Edit, changes: list[tuple[int, int, bytes]]) -> bool:
    """Whether every change finds its own result.

    :raise Miss: some do, and some do not
    """
    if edit.insert is not None:
        there = [_stands(document, edit, change) for change in changes]
    elif edit.wrap is not None:
        there = [
            document.text.endswith(new, 0, start)
            if index % 2 == 0
            else document.text.startswith(new, start)
            for index, (start, _, new) in enumerate(changes)
        ]
    elif edit.replace is not None:
        there = [document.text[start:end] == new for start, end, new in changes]
    else:
        return False
    if any(there) and not all(there):
        reason = f"{sum(there)} of {len(there)} places have it already"
        raise Miss(DriftKind.PARTLY_THERE, reason)
    return all(there)


def _stands(document: Document, edit: Edit, change: tuple[int, int, bytes]) -> bool:
    """Whether an insertion's bytes already stand where they would be put."""
    assert edit.insert is not None
    offset, _, new = change
    forward = edit.insert.place in ("after", "first", "top")
    if edit.at is not None and edit.at.file is not None:
        forward = edit.at.file == "start"
    if not new.endswith(b"\n"):
        near = document.text[offset : offset + len(new)]
        return near == new if forward else document.text[:offset].endswith(new)
    bare = new.strip(b"\n") + b"\n"
    if forward:
        return document.text[offset : offset + len(bare) + 2].lstrip(b"\n").startswith(bare)
    return (
        document.text[max(0, offset - len(bare) - 2) : offset]
        .rstrip(b"\n")
        .endswith(bare.rstrip(b"\n"))
    )


def _check_after(
    before: Document,
    after: Document,
    edit: Edit,
    sites: list[Site],
    changes: list[tuple[int, int, bytes]],
) -> None:
    """The postcondition: the new text is where the anchor says, and the syntax is no worse."""
    at = edit.at
    assert at is not None
    again = find(after, at)
    if edit.insert is not None or edit.wrap is not None:
        if len(again) != len(sites):
            raise Miss(
                DriftKind.POSTCONDITION,
                f"{at} is there {len(again)} times after the edit, {len(sites)} before",
            )
    elif edit.remove and again:
        raise Miss(DriftKind.POSTCONDITION, f"{at} is still there after its removal")
    shift = 0
    for start, end, new in changes:
        placed = start + shift
        if after.text[placed : placed + len(new)] != new:
            raise Miss(DriftKind.POSTCONDITION, f"the text beside {at} is not where it belongs")
        if (
            at.kind in C_KINDS
            and after.source.has_error(placed, placed + len(new))
            and not before.source.has_error(start, end)
        ):
            raise Miss(DriftKind.POSTCONDITION, f"the C does not parse after the edit at {at}")
        shift += len(new) - (end - start)
    if len(after.text) != len(before.text) + shift:
        raise Miss(DriftKind.POSTCONDITION, f"the edit at {at} changed more than its place")
