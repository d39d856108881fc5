"""C as QEMU writes it, parsed by tree-sitter after macros that break the grammar are blanked.

Without blanking 55 % of QEMU's C files hold a parse error, with it a third of that. Every
replacement has the length of what it replaces, so that offsets in the parsed text are offsets in
the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import tree_sitter_c
from tree_sitter import Language, Node, Parser
from tree_sitter import Tree as Syntax

# Comments and strings are not spared: what is blanked there changes no syntax. A pattern starts
# with a literal, which the regex engine finds far faster than a look-behind; whether a word starts
# there is asked afterwards.
# (literal that must be in the file, pattern, what stands in its place before the padding)
_MACROS: Final[tuple[tuple[bytes, re.Pattern[bytes], bytes], ...]] = tuple(
    (literal, re.compile(re.escape(literal) + rest, re.MULTILINE), new)
    for literal, rest, new in (
        (b"coroutine_", rb"(?:mixed_)?fn\b", b""),
        (b"no_coroutine_fn", rb"\b", b""),
        (b"QEMU_", rb"(?:PACKED|NORETURN|WARN_UNUSED_RESULT|SENTINEL|ALWAYS_INLINE|USED)\b", b""),
        (b"QEMU_ALIGNED", rb"\([^()]*\)", b""),
        (b"G_GNUC_", rb"\w+(?:[ ]?\([^()]*\))?", b""),
        (b"G_NORETURN", rb"\b", b""),
        (b"GCC_FMT_ATTR", rb"\([^()]*\)", b""),
        (b"TSA_", rb"\w+(?:\([^()]*\))?", b""),
        (b"GRAPH_", rb"(?:RD|WR|UN)LOCK\w*", b""),
        (b"g_autofree", rb"\b", b""),
        (b"WITH_", rb"[A-Z0-9_]*_GUARD\(\)", b"while (1)"),
        (b"Q", rb"(?:TAILQ|LIST|SIMPLEQ|SLIST)_(?:HEAD|ENTRY)\([^()]*\)(?=\s+\w)", b"int"),
        (b"\n", rb"[A-Za-z_]\w*\((?:[^(){};]|\([^()]*\))*\)[ \t]*(?=\n(?!\s*[{,;]))", b""),
        (b", ", rb"(?:==|!=|<=|>=|<|>)\s*,", b",0,"),
        (b" ...", rb"\s*[\w']+(?=\s*:)", b""),
    )
)
_LOOP: Final = re.compile(rb"FOR(?:EACH|ALL)\w*(?=\()")
_AUTOPTR: Final = re.compile(rb"g_auto(?:ptr|slist|list)?\((\w+)\)")
_WORD: Final = re.compile(rb"\w")
_WORD_TAIL: Final = re.compile(rb"[A-Z0-9_]+$")


def _pad(new: bytes, old: bytes) -> bytes:
    """*new* padded to *old*'s length, newlines of *old* kept where they were."""
    if b"\n" not in old:
        return new.ljust(len(old))
    out = bytearray(re.sub(rb"[^\n]", b" ", old))
    out[: len(new)] = new
    return bytes(out)


def _blank_loops(text: bytes) -> bytes:
    out = bytearray(text)
    for found in _LOOP.finditer(text):
        word = _WORD_TAIL.search(text, max(0, found.start() - 60), found.start())
        start = word.start() if word else found.start()
        if text[:start].endswith(b"define "):
            continue
        out[start : found.end()] = b"while".ljust(found.end() - start)
    return bytes(out)


def _blank_autoptr(found: re.Match[bytes]) -> bytes:
    return b" " * (found.start(1) - found.start()) + found.group(1) + b" "


def _blanker(new: bytes) -> Callable[[re.Match[bytes]], bytes]:
    def blank(found: re.Match[bytes]) -> bytes:
        old = found.group()
        if old[:1].isalpha() and _WORD.match(found.string, found.start() - 1):
            return old
        return _pad(new, old)

    return blank


def blank_macros(text: bytes) -> bytes:
    """*text* with grammar-breaking macros replaced by as many harmless bytes."""
    out = _blank_loops(text)
    for literal, pattern, new in _MACROS:
        if literal in out:
            out = pattern.sub(_blanker(new), out)
    return _AUTOPTR.sub(_blank_autoptr, out)


@lru_cache(maxsize=1)
def _parser() -> Parser:
    return Parser(Language(tree_sitter_c.language()))


def _point(text: bytes, offset: int) -> tuple[int, int]:
    start = text.rfind(b"\n", 0, offset) + 1
    return (text.count(b"\n", 0, offset), offset - start)


@dataclass(frozen=True)
class CSource:
    """One C file and its syntax.

    :ivar text: the file's bytes
    :ivar syntax: tree-sitter's tree of the blanked text; offsets are those of *text*
    """

    text: bytes
    blanked: bytes
    syntax: Syntax

    @classmethod
    def parse(cls, text: bytes) -> CSource:
        """Parse a whole file."""
        blanked = blank_macros(text)
        return cls(text, blanked, _parser().parse(blanked))

    def replaced(self, start: int, end: int, new: bytes) -> CSource:
        """The file with bytes *start* to *end* replaced by *new*, parsed incrementally."""
        text = self.text[:start] + new + self.text[end:]
        stop = start + len(new)
        blanked = self._blanked_locally(text, start, end, stop)
        if blanked is None:
            return CSource.parse(text)
        old = self.syntax.copy()
        old.edit(
            start,
            end,
            stop,
            _point(self.blanked, start),
            _point(self.blanked, end),
            _point(blanked, stop),
        )
        return CSource(text, blanked, _parser().parse(blanked, old))

    def replaced_all(self, changes: Sequence[tuple[int, int, bytes]]) -> CSource:
        """The file with several (start, end, new bytes) replaced, in order, none overlapping."""
        if len(changes) == 1:
            return self.replaced(*changes[0])
        old = self.syntax.copy()
        text = self.text
        for start, end, new in reversed(changes):
            stop = start + len(new)
            points = (_point(text, start), _point(text, end))
            text = text[:start] + new + text[end:]
            old.edit(start, end, stop, *points, _point(text, stop))
        blanked = blank_macros(text)
        # What lies between the changes must be blanked as it was, else the old syntax is no help.
        shift = kept = 0
        for start, end, new in [*changes, (len(self.text), len(self.text), b"")]:
            if blanked[kept + shift : start + shift] != self.blanked[kept:start]:
                return CSource(text, blanked, _parser().parse(blanked))
            shift += len(new) - (end - start)
            kept = end
        return CSource(text, blanked, _parser().parse(blanked, old))

    def _blanked_locally(self, text: bytes, start: int, end: int, stop: int) -> bytes | None:
        """The blanked form of the edited *text*, by looking at some lines around the edit.

        ``None`` if the old lines, blanked alone, differ from their blanked form in the file: then
        something from further away reaches in and the whole file has to be looked at.
        """
        left = self.text.rfind(b"\n\n", 0, start) + 1
        right = self.text.find(b"\n\n", self.text.find(b"\n\n", end) + 2)
        if right < 0:
            right = len(self.text)
        shift = stop - end
        if blank_macros(self.text[left:right]) != self.blanked[left:right]:
            return None
        return self.blanked[:left] + blank_macros(text[left : right + shift]) + self.blanked[right:]

    @cached_property
    def root(self) -> Node:
        """The translation unit."""
        return self.syntax.root_node

    def node_at(self, start: int, end: int) -> Node | None:
        """The smallest named node that covers the bytes."""
        return self.root.named_descendant_for_byte_range(start, end)

    def occurrences(self, name: str) -> list[Node]:
        """The identifiers *name* of the file, in order; none in comments or strings."""
        found = []
        for match in re.finditer(rb"\b" + re.escape(name.encode()) + rb"\b", self.text):
            node = self.node_at(match.start(), match.end())
            if (
                node is not None
                and node.type.endswith("identifier")
                and node.start_byte == match.start()
                and node.end_byte == match.end()
            ):
                found.append(node)
        return found

    def source(self, node: Node) -> bytes:
        """The node's text as it stands in the file, macros included."""
        return self.text[node.start_byte : node.end_byte]


_DECLARATORS: Final = frozenset(
    {
        "function_declarator",
        "pointer_declarator",
        "array_declarator",
        "parenthesized_declarator",
        "init_declarator",
        "attributed_declarator",
    }
)


def declared_by(name: Node) -> Node | None:
    """The definition, declaration or parameter in which identifier *name* is what is declared."""
    node = name
    while (parent := node.parent) is not None:
        if parent.type in _DECLARATORS:
            target = parent.child_by_field_name("declarator")
            if target is None:  # parenthesized declarators have no field name
                target = next((c for c in parent.named_children if c.id == node.id), None)
            if target is None or target.id != node.id:
                return None
            node = parent
            continue
        declarators = parent.children_by_field_name("declarator")
        if any(child.id == node.id for child in declarators):
            return parent
        return None
    return None


def ancestor(node: Node, *types: str) -> Node | None:
    """The nearest ancestor of one of the *types*."""
    up = node.parent
    while up is not None and up.type not in types:
        up = up.parent
    return up


def enclosing_function(source: CSource, offset: int) -> str:
    """Name of the function whose definition holds *offset*; empty outside of functions."""
    node = source.root.descendant_for_byte_range(offset, offset)
    while node is not None and node.type != "function_definition":
        node = node.parent
    if node is None:
        return ""
    declarator = node.child_by_field_name("declarator")
    while declarator is not None and declarator.type != "identifier":
        inner = declarator.child_by_field_name("declarator")
        declarator = inner or next(iter(declarator.named_children), None)
    return source.source(declarator).decode() if declarator is not None else ""


_CONTAINERS: Final = frozenset(
    {
        "preproc_if",
        "preproc_ifdef",
        "preproc_elif",
        "preproc_elifdef",
        "preproc_else",
        "ERROR",
        "linkage_specification",
        "declaration_list",
    }
)


def definitions(source: CSource) -> list[tuple[str, str, int]]:
    """What a file defines at its top: (kind, name, byte offset) for each.

    Kinds are ``function``, ``declaration``, ``struct``, ``enum``, ``macro`` and ``typedef``.
    """
    found: list[tuple[str, str, int]] = []
    stack = [source.root]
    while stack:
        node = stack.pop()
        for child in node.named_children:
            kind = child.type
            if kind in _CONTAINERS:
                stack.append(child)
            elif kind in ("preproc_def", "preproc_function_def"):
                _add(found, "macro", source, child.child_by_field_name("name"))
            elif kind == "function_definition":
                _add_declarators(found, "function", source, child)
            elif kind == "declaration":
                _add_declarators(found, "declaration", source, child)
                _add_tag(found, source, child.child_by_field_name("type"))
            elif kind == "type_definition":
                _add_declarators(found, "typedef", source, child)
                _add_tag(found, source, child.child_by_field_name("type"))
            elif kind in ("struct_specifier", "enum_specifier"):
                _add_tag(found, source, child)
    return sorted(found, key=lambda item: item[2])


def _add(found: list[tuple[str, str, int]], kind: str, source: CSource, node: Node | None) -> None:
    if node is not None:
        found.append((kind, source.source(node).decode("utf-8", "replace"), node.start_byte))


def _add_declarators(
    found: list[tuple[str, str, int]], kind: str, source: CSource, node: Node
) -> None:
    for declarator in node.children_by_field_name("declarator"):
        name: Node | None = declarator
        while name is not None and not name.type.endswith("identifier"):
            name = name.child_by_field_name("declarator") or next(
                (c for c in name.named_children if c.type in _DECLARATORS), None
            )
        _add(found, kind, source, name)


def _add_tag(found: list[tuple[str, str, int]], source: CSource, node: Node | None) -> None:
    if node is None or node.child_by_field_name("body") is None:
        return
    kind = {"struct_specifier": "struct", "enum_specifier": "enum"}.get(node.type)
    if kind is not None:
        _add(found, kind, source, node.child_by_field_name("name"))
