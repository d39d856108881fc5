"""Anchors outside of C: QAPI, .hx tables, trace-events, build lists, MAINTAINERS, plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from patchgen.engine.site import (
    Candidate,
    Shape,
    Site,
    indent_at,
    line_end,
    line_start,
    nearest,
    squeeze,
)
from patchgen.engine.spec import At

Finder = Callable[[bytes, At], list[Site]]
Named = tuple[str, int]

_QAPI_HEAD = re.compile(
    rb"^\{ *'(?:command|struct|enum|union|alternate|event)' *: *'([^']+)'", re.MULTILINE
)
_QAPI_TOKEN = re.compile(rb"#[^\n]*|'[^'\n]*'|[{}\[\]]")


def _qapi_definitions(text: bytes) -> Iterator[tuple[str, int, int, int]]:
    """(name, start of its doc comment, start, end) of each definition in a QAPI schema file."""
    for head in _QAPI_HEAD.finditer(text):
        depth, end = 0, len(text)
        for token in _QAPI_TOKEN.finditer(text, head.start()):
            if token.group() in (b"{", b"["):
                depth += 1
            elif token.group() in (b"}", b"]"):
                depth -= 1
                if depth == 0:
                    end = line_end(text, token.start())
                    break
        start = head.start()
        while start and text[line_start(text, start - 1) : start].startswith(b"#"):
            start = line_start(text, start - 1)
        yield head.group(1).decode(), start, head.start(), end


def _find_qapi(text: bytes, at: At) -> list[Site]:
    sites = []
    for name, start, head, end in _qapi_definitions(text):
        if name != at.qapi:
            continue
        if at.member is None:
            sites.append(Site(start, end, Shape.BLOCK))
            continue
        word = re.compile(
            rb"'\*?" + re.escape(at.member.encode()) + rb"'( *: *('[^']*'|\[[^]]*\]))?"
        )
        for found in word.finditer(text, text.index(b"'data'", head), end):
            sites.append(Site(found.start(), found.end(), Shape.INLINE, separator=b", "))
    return sites


def _qapi_names(text: bytes) -> list[Named]:
    return [(name, head) for name, _, head, _ in _qapi_definitions(text)]


_HX_NAME = re.compile(rb'^ *\.name *= *"([^"]+)"', re.MULTILINE)
_HX_DEF = re.compile(rb'^DEF\("([^"]+)"', re.MULTILINE)
_HX_DOC_END = re.compile(rb"^(?:ERST|ETEXI)$", re.MULTILINE)
_HX_DOC = re.compile(rb"\s*(?:^HXCOMM[^\n]*\n)*\s*^(?:SRST|STEXI)\b", re.MULTILINE)


def _hx_entries(text: bytes) -> Iterator[tuple[str, int, int]]:
    """(name, start, end) of each entry of a .hx table, its documentation block included."""
    for found in _HX_NAME.finditer(text):
        start = line_start(text, text.rfind(b"{", 0, found.start()))
        close = text.find(b"\n    },", found.end())
        yield found.group(1).decode(), start, _hx_end(text, line_end(text, close + 1))
    for found in _HX_DEF.finditer(text):
        depth, close = 0, found.end()
        for token in re.compile(rb'"(?:\\.|[^"\\])*"|[()]').finditer(text, found.start()):
            depth += {b"(": 1, b")": -1}.get(token.group(), 0)
            if depth == 0 and token.group() == b")":
                close = token.end()
                break
        yield found.group(1).decode(), found.start(), _hx_end(text, line_end(text, close))


def _hx_end(text: bytes, end: int) -> int:
    documented = _HX_DOC.match(text, end)
    if documented is None:
        return end
    closing = _HX_DOC_END.search(text, documented.end())
    return line_end(text, closing.end()) if closing else end


def _find_hx(text: bytes, at: At) -> list[Site]:
    return [
        Site(start, end, Shape.BLOCK) for name, start, end in _hx_entries(text) if name == at.hx
    ]


def _hx_names(text: bytes) -> list[Named]:
    return [(name, start) for name, start, _ in _hx_entries(text)]


_TRACE = re.compile(rb"^(?:(?:disable|vcpu|tcg) )*(\w+)\(", re.MULTILINE)


def _find_trace(text: bytes, at: At) -> list[Site]:
    return [
        Site(found.start(), line_end(text, found.start()), Shape.LINE)
        for found in _TRACE.finditer(text)
        if found.group(1).decode() == at.trace
    ]


def _trace_names(text: bytes) -> list[Named]:
    return [(found.group(1).decode(), found.start()) for found in _TRACE.finditer(text)]


_MAKE_LIST = re.compile(rb"^([\w$().-]+) *[+:]?= *((?:\\\n|[^\n])*)\n", re.MULTILINE)


def _find_make(text: bytes, at: At) -> list[Site]:
    sites = []
    for found in _MAKE_LIST.finditer(text):
        if found.group(1).decode() != at.make:
            continue
        wanted = (at.entry or at.holding or "").encode()
        word = re.compile(rb"(?<!\S)" + re.escape(wanted) + rb"(?!\S)")
        if at.entry is None:
            if at.holding is None or word.search(text, found.start(2), found.end(2)):
                sites.append(Site(found.start(), found.end(), Shape.LINE))
            continue
        sites.extend(
            Site(hit.start(), hit.end(), Shape.INLINE, separator=b" ")
            for hit in word.finditer(text, found.start(2), found.end(2))
        )
    return sites


def _make_names(text: bytes) -> list[Named]:
    names: list[Named] = []
    for found in _MAKE_LIST.finditer(text):
        names.append((found.group(1).decode(), found.start()))
        names.extend(
            (hit.group().decode("utf-8", "replace"), found.start(2) + hit.start())
            for hit in re.finditer(rb"[^\s\\]+", found.group(2))
        )
    return names


def _meson_lists(text: bytes) -> Iterator[tuple[str, int, int]]:
    """(target, start, end) of ``target.add(...)`` calls and ``target = files(...)`` lists."""
    for head in re.finditer(rb"^ *(\w+)(?:\.add\(| *\+?= *(?:files\(|\[))", text, re.MULTILINE):
        depth = 0
        for token in re.compile(rb"#[^\n]*|'[^'\n]*'|[()\[\]]").finditer(text, head.start()):
            depth += {b"(": 1, b"[": 1, b")": -1, b"]": -1}.get(token.group(), 0)
            if depth == 0 and token.group() in (b")", b"]"):
                yield head.group(1).decode(), head.start(), token.end()
                break


def _find_meson(text: bytes, at: At) -> list[Site]:
    sites = []
    for target, start, end in _meson_lists(text):
        if target != at.meson:
            continue
        if at.entry is None:
            if at.holding is None or f"'{at.holding}'".encode() in text[start:end]:
                sites.append(Site(line_start(text, start), line_end(text, end), Shape.LINE))
            continue
        quoted = b"'" + at.entry.encode() + b"'"
        for hit in re.compile(re.escape(quoted)).finditer(text, start, end):
            line = text[line_start(text, hit.start()) : line_end(text, hit.start())].strip()
            if line.rstrip(b",") == quoted:
                sites.append(
                    Site(
                        line_start(text, hit.start()),
                        line_end(text, hit.start()),
                        Shape.LINE,
                        indent=indent_at(text, hit.start()),
                        suffix=b",",
                    )
                )
            else:
                sites.append(Site(hit.start(), hit.end(), Shape.INLINE, separator=b", "))
    return sites


def _meson_names(text: bytes) -> list[Named]:
    names: list[Named] = [(target, start) for target, start, _ in _meson_lists(text)]
    names.extend((m.group(1).decode(), m.start()) for m in re.finditer(rb"'([\w./-]+\.c)'", text))
    return names


_SECTION = re.compile(rb"(?:^|\n\n)([^\n]+)\n(?=[A-Z]:)")


def _find_maintainers(text: bytes, at: At) -> list[Site]:
    sites = []
    for found in _SECTION.finditer(text):
        if found.group(1).decode("utf-8", "replace") != at.maintainers:
            continue
        end = text.find(b"\n\n", found.end())
        end = len(text) if end < 0 else end + 1
        if at.entry is None:
            sites.append(Site(found.start(1), end, Shape.BLOCK))
            continue
        offset = found.end()
        while offset < end:
            stop = line_end(text, offset)
            if squeeze(text[offset:stop]) == squeeze(at.entry):
                sites.append(Site(offset, stop, Shape.LINE))
            offset = stop
    return sites


def _maintainers_names(text: bytes) -> list[Named]:
    return [(m.group(1).decode("utf-8", "replace"), m.start(1)) for m in _SECTION.finditer(text)]


_PREPROC = re.compile(
    rb"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b((?:\\\n|[^\n])*)\n?", re.MULTILINE
)


def _preproc_blocks(text: bytes) -> Iterator[tuple[str, int, int, int, int]]:
    """(condition, start, start and end of the first branch, end) of each ``#if … #endif``."""
    stack: list[tuple[str, int, int, int | None]] = []
    for found in _PREPROC.finditer(text):
        word = found.group(1).decode()
        if word.startswith("if"):
            rest = squeeze(re.sub(rb"/\*.*?\*/|//.*|\\\n", b" ", found.group(2)))
            stack.append((f"{word} {rest}", found.start(), found.end(), None))
        elif stack:
            condition, start, inner, branch = stack.pop()
            if word == "endif":
                yield condition, start, inner, branch or found.start(), found.end()
            else:
                stack.append((condition, start, inner, branch or found.start()))


def _find_preproc(text: bytes, at: At) -> list[Site]:
    wanted = squeeze(at.preproc or "").removeprefix("#")
    return [
        Site(start, end, Shape.BLOCK, (inner, branch))
        for condition, start, inner, branch, end in sorted(_preproc_blocks(text), key=_by_start)
        if condition == wanted
    ]


def _by_start(block: tuple[str, int, int, int, int]) -> int:
    return block[1]


def _preproc_names(text: bytes) -> list[Named]:
    return [(condition, start) for condition, start, *_ in _preproc_blocks(text)]


def _find_file(text: bytes, at: At) -> list[Site]:
    if at.file == "start":
        return [Site(0, 0, Shape.BLOCK)]
    return [Site(len(text), len(text), Shape.BLOCK)] if at.file == "end" else []


def _find_text(text: bytes, at: At) -> list[Site]:
    wanted = (at.text or "").encode()
    sites = []
    start = text.find(wanted) if wanted else -1
    while start >= 0:
        end = start + len(wanted)
        whole = start == line_start(text, start) and wanted.endswith(b"\n")
        indent = indent_at(text, start) if whole else b""
        shape = Shape.LINE if whole else Shape.INLINE
        sites.append(Site(start, end, shape, indent=indent, by_text=True))
        start = text.find(wanted, end)
    return sites


def _text_names(text: bytes) -> list[Named]:
    names: list[Named] = []
    offset = 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            names.append((squeeze(line), offset))
        offset += len(line)
    return names


def _no_names(text: bytes) -> list[Named]:
    return []


#: kind -> (finds sites, lists the names there are)
FINDERS: dict[str, tuple[Finder, Callable[[bytes], list[Named]]]] = {
    "qapi": (_find_qapi, _qapi_names),
    "hx": (_find_hx, _hx_names),
    "trace": (_find_trace, _trace_names),
    "make": (_find_make, _make_names),
    "meson": (_find_meson, _meson_names),
    "maintainers": (_find_maintainers, _maintainers_names),
    "preproc": (_find_preproc, _preproc_names),
    "file": (_find_file, _no_names),
    "text": (_find_text, _text_names),
}


def candidates_in_list(text: bytes, at: At, file: str) -> tuple[Candidate, ...]:
    """Names of the anchor's kind that resemble the one looked for."""
    wanted = at.name
    if at.kind in ("make", "meson"):
        wanted = at.entry or at.holding or wanted
    if at.kind == "text":
        wanted = squeeze(wanted)
    return nearest(wanted, FINDERS[at.kind][1](text), text, file)


def defined_by(kind: str, text: bytes) -> list[str]:
    """Names that a fragment of that kind of file defines; used to see what is already there."""
    known = kind in ("qapi", "hx", "trace", "maintainers")
    return [name for name, _ in FINDERS[kind][1](text)] if known else []
