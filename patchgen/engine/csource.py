"""C as QEMU writes it, parsed by tree-sitter after macros that break the grammar are blanked.

Without blanking 55 % of QEMU's C files hold a parse error, with it a third of that. Every
replacement has the length of what it replaces, so that offsets in the parsed text are offsets in
the file.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import tree_sitter_c
from tree_sitter import Language, Node, Parser, Range
from tree_sitter import Tree as Syntax

Span = tuple[int, int]

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


_DIRECTIVE: Final = re.compile(
    rb"^[ \t]*#[ \t]*(if|elif|else|endif)[^\n\\]*(?:\\\n[^\n\\]*)*", re.MULTILINE
)


def _blank_unpaired(text: bytes) -> bytes:
    """*text* without the conditional directives whose partners are not in it."""
    if b"#" not in text:
        return text
    open_: list[list[tuple[int, int]]] = []
    unpaired: list[tuple[int, int]] = []
    for found in _DIRECTIVE.finditer(text):
        word, span = found.group(1), found.span()
        if word == b"if":
            open_.append([span])
        elif not open_:
            unpaired.append(span)
        elif word == b"endif":
            open_.pop()
        else:
            open_[-1].append(span)
    for start, end in [*unpaired, *(span for spans in open_ for span in spans)]:
        text = text[:start] + _pad(b"", text[start:end]) + text[end:]
    return text


@dataclass(frozen=True)
class CSource:
    """One C file, parsed in parts as they are asked for.

    A part ends with a line that starts with a closing brace, so it is one function, type or table
    with the declarations and comments before it. An error in one part does not reach the others,
    and a file of which one function is edited costs no more than that function.

    :ivar text: the file's bytes; all offsets are offsets into it
    """

    text: bytes
    _parsed: dict[int, Syntax] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def ends(self) -> list[int]:
        """Offsets behind the parts, in order."""
        found = [match.end() for match in re.finditer(rb"\n\}[^\n]*\n?", self.text)]
        if not found or self.text[found[-1] :].strip():
            return [*found, len(self.text)]
        return [*found[:-1], len(self.text)]

    def root_at(self, offset: int) -> Node:
        """The translation unit of the part that holds *offset*."""
        return self._part(min(bisect_right(self.ends, offset), len(self.ends) - 1))

    def _part(self, index: int) -> Node:
        syntax = self._parsed.get(index)
        if syntax is None:
            start, end = self.ends[index - 1] if index else 0, self.ends[index]
            part = blank_macros(b"\n" + _blank_unpaired(self.text[start:end]))[1:]
            parser = _parser()
            # The points (row, column) are of no interest, so they are not computed.
            parser.included_ranges = [Range((0, start), (0, end), start, end)]
            syntax = self._parsed[index] = parser.parse(bytes(start) + part)
        return syntax.root_node

    @property
    def roots(self) -> Iterator[Node]:
        """The translation units of all parts."""
        return (self._part(index) for index in range(len(self.ends)))

    def has_error(self, start: int, end: int) -> bool:
        """Whether a part that the bytes touch does not parse."""
        first, last = (bisect_right(self.ends, offset) for offset in (start, max(start, end - 1)))
        return any(
            self._part(index).has_error for index in range(first, min(last + 1, len(self.ends)))
        )

    def node_at(self, start: int, end: int) -> Node | None:
        """The smallest named node that covers the bytes."""
        return self.root_at(start).named_descendant_for_byte_range(start, end)

    def occurrences(self, name: str, top: bool = False) -> list[Node]:
        """The identifiers *name* of the file, in order; none in comments or strings.

        :param top: only those that something at file level may be named by: outside of braces, or
            on a line that is not indented
        """
        found = []
        word = name.encode()
        for start, end in words(self.text, word):
            if top and self._inside(start):
                continue
            node = self.node_at(start, end)
            if (
                node is not None
                and node.type.endswith("identifier")
                and node.start_byte == start
                and node.end_byte == end
            ):
                found.append(node)
        return found

    def _inside(self, offset: int) -> bool:
        line = self.text.rfind(b"\n", 0, offset) + 1
        if self.text[line : line + 1] not in (b" ", b"\t"):
            return False
        index = bisect_right(self.ends, offset)
        return b"{" in self.text[self.ends[index - 1] if index else 0 : line]

    def source(self, node: Node) -> bytes:
        """The node's text as it stands in the file, macros included."""
        return self.text[node.start_byte : node.end_byte]


def words(text: bytes, word: bytes, start: int = 0, end: int | None = None) -> Iterator[Span]:
    """(start, end) of each place where *word* stands as a whole word."""
    size = len(word)
    end = len(text) if end is None else end
    found = text.find(word, start, end)
    while found >= 0:
        stop = found + size
        if not _WORD.match(text, stop) and not (found and _WORD.match(text, found - 1)):
            yield found, stop
        found = text.find(word, stop, end)


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
    node = source.root_at(offset).descendant_for_byte_range(offset, offset)
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
    stack = list(source.roots)
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
