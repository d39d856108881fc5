"""Anchors in C files: functions and what is in them, declarations, types, macros, includes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from patchgen.engine.cbody import checked_calls, find_in_body, invocations, near_in_body, walk
from patchgen.engine.csource import CSource, ancestor, declared_by, definitions
from patchgen.engine.site import (
    Candidate,
    DriftKind,
    Miss,
    Shape,
    Site,
    indent_at,
    line_end,
    line_start,
    nearest,
    squeeze,
)
from patchgen.engine.spec import At

_TYPE_NODES = {"struct": "struct_specifier", "enum": "enum_specifier"}


def find_c(source: CSource, at: At, file: str) -> list[Site]:
    """All sites of a C anchor, in file order.

    :raise Miss: an enclosing construct (the function of a statement) is not there, or not once
    """
    if at.include is not None:
        return _includes(source, at.include)
    if at.macro is not None:
        return _macros(source, at.macro)
    if at.struct is not None:
        return _members(source, at, _types(source, "struct", at.struct), file)
    if at.enum is not None:
        return _members(source, at, _types(source, "enum", at.enum), file)
    if at.declaration is not None:
        return _declaration_parts(source, at, file)
    if at.function is not None:
        functions = _functions(source, at.function)
        if not at.in_body:
            return _parameters(source, functions, at) if at.parameter else functions
        if len(functions) != 1:
            raise _enclosing_miss(source, "function", at.function, len(functions), file)
        return find_in_body(source, functions[0], at, file)
    return checked_calls(source, at) if at.checked else invocations(source, at, None)


def candidates_c(source: CSource, at: At, file: str) -> tuple[Candidate, ...]:
    """Names in the file that resemble the anchor's, or in what encloses it if that is there."""
    if at.function is not None and at.in_body:
        functions = _functions(source, at.function)
        if len(functions) == 1:
            return near_in_body(source, functions[0], at, file)
    part = at.member or at.enumerator or at.entry or at.field or at.parameter
    if part is not None:
        near = nearest(squeeze(part), _parts(source, at), source.text, file)
        if near:
            return near
    wanted = at.name
    kinds = {
        "function": ("function",),
        "declaration": ("declaration", "function"),
        "struct": ("struct", "typedef"),
        "enum": ("enum", "typedef"),
        "macro": ("macro",),
    }.get(at.kind)
    if at.kind == "include":
        names = [
            (m.group(1).decode("utf-8", "replace"), m.start())
            for m in re.finditer(rb'^#include\s+[<"]([^">]+)', source.text, re.MULTILINE)
        ]
    elif kinds is None:
        names = [
            (m.group(1).decode("utf-8", "replace"), m.start())
            for m in re.finditer(rb"\b([A-Za-z_]\w*)\s*\(", source.text)
        ]
    else:
        names = [(name, at_) for kind, name, at_ in definitions(source) if kind in kinds]
    return nearest(wanted, names, source.text, file)


def _parts(source: CSource, at: At) -> list[tuple[str, int]]:
    """(text, offset) of the parts that the anchor's struct, enum, table or prototype has."""
    names: list[tuple[str, int]] = []

    def add(node: Node | None) -> None:
        if node is not None:
            names.append((squeeze(source.source(node)).lstrip("."), node.start_byte))

    if at.declaration is not None and at.parameter is None:
        tables = [_initializer(node) for _, node in _declarations(source, at.declaration)]
        for entry in (entry for values in tables if values for entry in values.named_children):
            for part in [entry] if at.entry else entry.children_by_field_name("designator"):
                add(part)
    elif at.parameter is not None:
        for name in source.occurrences(at.name, top=True):
            for node in walk(declared_by(name)):
                if node.type == "parameter_declaration":
                    add(node.child_by_field_name("declarator"))
    else:
        kind = "struct" if at.struct is not None else "enum"
        for node in (node for _, body in _types(source, kind, at.name) for node in walk(body)):
            if node.type == "enumerator":
                add(node.child_by_field_name("name"))
            elif node.type == "field_identifier":
                add(node)
    return names


def _enclosing_miss(source: CSource, kind: str, name: str, count: int, file: str) -> Miss:
    if count:
        return Miss(DriftKind.AMBIGUOUS, f"{kind} {name} is there {count} times")
    at = At(function=name) if kind == "function" else At(declaration=name)
    return Miss(DriftKind.NOT_FOUND, f"{kind} {name} is not there", candidates_c(source, at, file))


def _block(source: CSource, start: int, end: int) -> tuple[int, int]:
    """Whole lines of a top-level construct, with the comment that stands directly above it."""
    text = source.text
    start = line_start(text, start)
    if start:
        last = max(0, len(text[:start].rstrip()) - 1)
        above = source.node_at(last, last)
        if (
            above is not None
            and above.type == "comment"
            and text[above.end_byte : start].count(b"\n") == 1
            and not text[line_start(text, above.start_byte) : above.start_byte].strip()
        ):
            start = line_start(text, above.start_byte)
    return start, line_end(text, max(start, end - 1))


def _functions(source: CSource, name: str) -> list[Site]:
    sites = []
    for node in source.occurrences(name, top=True):
        owner = declared_by(node)
        if owner is not None and owner.type == "function_definition":
            body = owner.child_by_field_name("body")
            if body is None or ancestor(owner, "function_definition") is not None:
                continue
            start, end = _block(source, owner.start_byte, owner.end_byte)
            inner = (line_end(source.text, body.start_byte), _brace_line(source, body))
            sites.append(
                Site(
                    start,
                    end,
                    Shape.BLOCK,
                    inner,
                    _locals_end(source, body),
                    inner_indent=b"    ",
                    captures={"name": name},
                )
            )
    return sites or _functions_by_text(source, name)


def _locals_end(source: CSource, body: Node) -> int:
    """Offset of the line behind the declarations that a body starts with."""
    end = body.start_byte
    for child in body.named_children:
        if child.type == "declaration":
            end = child.end_byte - 1
        elif child.type != "comment":
            break
    return line_end(source.text, end)


def _functions_by_text(source: CSource, name: str) -> list[Site]:
    """The text form: the name at a line's start or behind its type, a body closed in column 0."""
    word = re.escape(name.encode())
    pattern = re.compile(
        rb"^(?!#|return\b|else\b)(?:[A-Za-z_][^\n;{}()=]*[\s*])?"
        + word
        + rb"\s*\((?:[^(){};]|\([^()]*\))*\)\s*\n\{\n",
        re.MULTILINE,
    )
    sites = []
    for found in pattern.finditer(source.text):
        close = source.text.find(b"\n}", found.end() - 1)
        if close < 0:
            continue
        start, end = _block(source, found.start(), close + 2)
        sites.append(
            Site(
                start,
                end,
                Shape.BLOCK,
                (found.end(), close + 1),
                inner_indent=b"    ",
                by_text=True,
                captures={"name": name},
            )
        )
    return sites


def _brace_line(source: CSource, body: Node) -> int:
    """Offset of the start of the line with a body's closing brace."""
    return line_start(source.text, body.end_byte - 1)


def _parameters(source: CSource, owners: list[Site], at: At) -> list[Site]:
    sites = []
    for owner in owners:
        for node in source.occurrences(at.parameter or ""):
            if not owner.start <= node.start_byte < owner.end:
                continue
            declared = declared_by(node)
            if declared is not None and declared.type == "parameter_declaration":
                body = ancestor(declared, "compound_statement")
                if body is not None:
                    continue
                sites.append(
                    Site(declared.start_byte, declared.end_byte, Shape.INLINE, separator=b", ")
                )
    return sites


def _top_level(node: Node) -> bool:
    return ancestor(node, "compound_statement", "parameter_list", "field_declaration_list") is None


def _declarations(source: CSource, name: str) -> list[tuple[Site, Node]]:
    found = []
    for node in source.occurrences(name, top=True):
        owner = declared_by(node)
        if owner is None or owner.type not in ("declaration", "type_definition"):
            continue
        if not _top_level(owner):
            continue
        start, end = _block(source, owner.start_byte, owner.end_byte)
        inner = None
        values = _initializer(owner)
        if values is not None:
            inner = (line_end(source.text, values.start_byte), _brace_line(source, values))
        shape = Shape.BLOCK if values is not None else Shape.LINE
        site = Site(start, end, shape, inner, inner_indent=b"    ", captures={"name": name})
        found.append((site, owner))
    return found


def _initializer(declaration: Node) -> Node | None:
    for declarator in declaration.children_by_field_name("declarator"):
        if declarator.type == "init_declarator":
            value = declarator.child_by_field_name("value")
            if value is not None and value.type == "initializer_list":
                return value
    return None


def _declaration_parts(source: CSource, at: At, file: str) -> list[Site]:
    name = at.declaration or ""
    found = _declarations(source, name)
    if at.parameter is None and at.entry is None and at.field is None:
        return [site for site, _ in found]
    if len(found) != 1:
        raise _enclosing_miss(source, "declaration", name, len(found), file)
    site, owner = found[0]
    if at.parameter is not None:
        return _parameters(source, [site], at)
    values = _initializer(owner)
    if values is None:
        return []
    sites = []
    for child in values.named_children:
        if at.entry is not None:
            hit = squeeze(source.source(child)) == squeeze(at.entry)
        else:
            hit = child.type == "initializer_pair" and any(
                source.source(part) == f".{at.field}".encode()
                for part in child.children_by_field_name("designator")
            )
        if hit:
            sites.append(_line_site(source, child))
    return sites


def _line_site(source: CSource, node: Node) -> Site:
    indent = indent_at(source.text, node.start_byte)
    return Site(
        line_start(source.text, node.start_byte),
        line_end(source.text, node.end_byte),
        Shape.LINE,
        indent=indent,
        inner_indent=indent + b"    ",
    )


def _types(source: CSource, kind: str, name: str) -> list[tuple[Site, Node]]:
    """Struct or enum definitions by tag or by the name that a typedef gives them."""
    found: dict[int, tuple[Site, Node]] = {}
    for node in source.occurrences(name, top=True):
        parent = node.parent
        if parent is None:
            continue
        body_owner: Node | None = None
        if parent.type == _TYPE_NODES[kind]:
            body_owner = parent
        elif parent.type == "type_definition":
            body_owner = parent.child_by_field_name("type")
        if body_owner is None or body_owner.type != _TYPE_NODES[kind]:
            continue
        body = body_owner.child_by_field_name("body")
        if body is None:
            continue
        outer = body_owner
        while outer.parent is not None and outer.parent.type in ("declaration", "type_definition"):
            outer = outer.parent
        start, end = _block(source, outer.start_byte, outer.end_byte)
        inner = (line_end(source.text, body.start_byte), _brace_line(source, body))
        found[body.start_byte] = (Site(start, end, Shape.BLOCK, inner, inner_indent=b"    "), body)
    return list(found.values())


def _members(source: CSource, at: At, types: list[tuple[Site, Node]], file: str) -> list[Site]:
    wanted = at.member or at.enumerator
    if wanted is None:
        return [site for site, _ in types]
    if len(types) != 1:
        raise Miss(
            DriftKind.AMBIGUOUS if types else DriftKind.NOT_FOUND,
            f"{at.kind} {at.name} is there {len(types)} times"
            if types
            else f"{at.kind} {at.name} is not there",
            candidates_c(source, at, file),
        )
    body = types[0][1]
    sites = []
    for node in source.occurrences(wanted):
        if not body.start_byte <= node.start_byte < body.end_byte:
            continue
        if at.enumerator is not None:
            owner = node.parent
            if owner is not None and owner.type == "enumerator":
                sites.append(_line_site(source, owner))
            continue
        owner = declared_by(node)
        if (
            owner is not None
            and owner.type == "field_declaration"
            and owner.parent is not None
            and owner.parent.id == body.id
        ):
            sites.append(_line_site(source, owner))
    return sites


def _macros(source: CSource, name: str) -> list[Site]:
    pattern = re.compile(
        rb"^[ \t]*#[ \t]*define[ \t]+" + re.escape(name.encode()) + rb"\b(?:\\\n|[^\n])*\n",
        re.MULTILINE,
    )
    return [Site(m.start(), m.end(), Shape.LINE) for m in pattern.finditer(source.text)]


def _includes(source: CSource, name: str) -> list[Site]:
    pattern = re.compile(
        rb'^#[ \t]*include[ \t]+[<"]' + re.escape(name.encode()) + rb'[>"][^\n]*\n', re.MULTILINE
    )
    return [Site(m.start(), m.end(), Shape.LINE) for m in pattern.finditer(source.text)]


def defined_in(text: bytes) -> Iterator[tuple[str, str]]:
    """What a fragment of C defines at its top: (kind, name); used to see what is already there."""
    for kind, name, _ in definitions(CSource(text)):
        yield kind, name
