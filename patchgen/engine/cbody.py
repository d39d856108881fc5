"""Anchors inside a C function: statements by what they do, and invocations by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tree_sitter import Node

from patchgen.engine.csource import CSource, declared_by, enclosing_function, words
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

_OPENING = re.compile(rb"\s*\(")
_STATEMENTS = frozenset(
    {
        "expression_statement",
        "declaration",
        "return_statement",
        "if_statement",
        "while_statement",
        "for_statement",
        "do_statement",
        "switch_statement",
        "goto_statement",
        "break_statement",
        "continue_statement",
        "labeled_statement",
        "case_statement",
    }
)


def walk(node: Node | None) -> Iterator[Node]:
    """The node and all named nodes below it, in order; nothing for ``None``."""
    stack = [node] if node is not None else []
    while stack:
        here = stack.pop()
        yield here
        stack.extend(reversed(here.named_children))


def _statement_site(source: CSource, node: Node, body: Node | None = None) -> Site:
    """A statement as whole lines, with the comment that stands directly above it.

    *body* is what stands between its braces, if it has any.
    """
    text = source.text
    start = line_start(text, node.start_byte)
    above = node.prev_named_sibling
    while above is not None and above.type == "comment" and _directly_above(text, above, start):
        start = line_start(text, above.start_byte)
        above = above.prev_named_sibling
    indent = indent_at(text, node.start_byte)
    inner = None
    if body is not None and body.type == "compound_statement":
        inner = (line_end(text, body.start_byte), line_start(text, body.end_byte - 1))
    return Site(
        start,
        line_end(text, node.end_byte - 1),
        Shape.LINE,
        inner,
        indent=indent,
        inner_indent=indent + b"    ",
    )


def _directly_above(text: bytes, comment: Node, start: int) -> bool:
    """Whether a comment has lines of its own and ends on the line above *start*."""
    alone = not text[line_start(text, comment.start_byte) : comment.start_byte].strip()
    return alone and line_end(text, comment.end_byte - 1) == start


def _header(source: CSource, node: Node) -> str:
    """The condition of an ``if``, ``while`` or ``switch``, or a loop macro with its arguments."""
    if node.type == "for_statement":
        body = node.child_by_field_name("body")
        end = body.start_byte if body is not None else node.end_byte
        return squeeze(source.text[node.start_byte : end])
    condition = node.child_by_field_name("condition")
    if condition is None:
        return ""
    if node.type == "while_statement":
        return squeeze(source.text[node.start_byte : condition.end_byte])
    return squeeze(source.source(condition))[1:-1].strip()


def _nested(source: CSource, scope: Node, at: At) -> list[tuple[Node, Node | None]]:
    """(statement, its body) for the container that *at* names inside *scope*."""
    found: list[tuple[Node, Node | None]] = []
    for node in walk(scope):
        if at.if_ is not None and node.type == "if_statement":
            if _header(source, node) == squeeze(at.if_):
                found.append((node, node.child_by_field_name("consequence")))
        elif at.loop is not None and node.type in ("while_statement", "for_statement"):
            if _header(source, node) == squeeze(at.loop):
                found.append((node, node.child_by_field_name("body")))
        elif at.case is not None and node.type == "case_statement":
            value = node.child_by_field_name("value")
            label = "default" if value is None else squeeze(source.source(value))
            if label == squeeze(at.case):
                found.append((node, node))
    return found


def _leaf(source: CSource, node: Node, at: At) -> bool:
    """Whether *node* is the statement that *at* describes."""
    if at.local is not None:
        return node.type == "declaration" and any(
            source.source(name) == at.local.encode() and _declares(node, name)
            for name in walk(node)
            if name.type == "identifier"
        )
    if at.assign is not None:
        if node.type != "expression_statement" or not node.named_children:
            return False
        expression = node.named_children[0]
        left = expression.child_by_field_name("left")
        return (
            expression.type == "assignment_expression"
            and left is not None
            and squeeze(source.source(left)) == squeeze(at.assign)
        )
    if at.return_ is not None:
        if node.type != "return_statement":
            return False
        value = " ".join(squeeze(source.source(child)) for child in node.named_children)
        return value == squeeze(at.return_)
    if at.statement is not None:
        return node.type in _STATEMENTS and squeeze(source.source(node)) == squeeze(at.statement)
    return False


def _declares(declaration: Node, name: Node) -> bool:
    owner = declared_by(name)
    return owner is not None and owner.id == declaration.id


def _scope(source: CSource, function: Site) -> Node | None:
    """The body of a function, if it was parsed."""
    if function.inner is None or function.by_text:
        return None
    start, end = function.inner
    scope = source.root_at(function.start).descendant_for_byte_range(max(start - 2, 0), end)
    while scope is not None and scope.type not in ("compound_statement", "function_definition"):
        scope = scope.parent
    return scope


def find_in_body(source: CSource, function: Site, at: At, file: str) -> list[Site]:
    """Sites inside one function.

    :raise Miss: the container (``if``, ``loop``, ``case``) is not there exactly once
    """
    scope = _scope(source, function)
    if scope is None:
        return _by_text(source, function, at)
    if at.if_ is not None or at.loop is not None or at.case is not None:
        nested = _nested(source, scope, at)
        if at.part is not None:
            return [_condition_site(node) for node, _ in nested]
        if not at.has_leaf:
            return [_statement_site(source, node, body) for node, body in nested]
        if len(nested) != 1:
            raise Miss(
                DriftKind.AMBIGUOUS if nested else DriftKind.NOT_FOUND,
                f"{at.container} is there {len(nested)} times in {at.function}"
                if nested
                else f"{at.container} is not there in {at.function}",
                () if nested else near_in_body(source, function, _container_only(at), file),
            )
        scope = nested[0][1] or nested[0][0]
    if at.label is not None:
        return _labels(source, scope, at.label)
    if at.call is not None:
        return _calls(source, scope, at)
    sites = [_statement_site(source, n) for n in walk(scope) if _leaf(source, n, at)]
    if not sites and scope.has_error:
        return _by_text(source, function, at)
    return sites


def _container_only(at: At) -> At:
    return At(function=at.function, if_=at.if_, loop=at.loop, case=at.case)


def near_in_body(source: CSource, function: Site, at: At, file: str) -> tuple[Candidate, ...]:
    """What resembles the statement or the block that *at* names in a function."""
    leaves = (at.local, at.assign, at.return_, at.statement, at.label, at.call)
    wanted = next((leaf for leaf in leaves if leaf is not None), None)
    wanted = wanted or at.if_ or at.loop or at.case or ""
    scope = _scope(source, function)
    names: list[tuple[str, int]] = []
    for node in walk(scope):
        part = _name_like(source, node, at)
        if part:
            names.append((part, node.start_byte))
    return nearest(squeeze(wanted), names, source.text, file)


def _name_like(source: CSource, node: Node, at: At) -> str:
    """What *node* is called if it is of the kind that *at* names; empty if it is not."""
    part: Node | None = None
    if at.local is not None:
        return source.source(node).decode("utf-8", "replace") if _is_local(node) else ""
    if at.call is not None and node.type == "call_expression":
        part = node.child_by_field_name("function")
    elif at.assign is not None and node.type == "assignment_expression":
        part = node.child_by_field_name("left")
    elif at.return_ is not None and node.type == "return_statement":
        part = next(iter(node.named_children), None)
    elif at.label is not None and node.type == "labeled_statement":
        part = node.child_by_field_name("label")
    elif at.statement is not None and node.type in _STATEMENTS:
        part = node
    elif not at.has_leaf:
        if at.if_ is not None and node.type == "if_statement":
            return _header(source, node)
        if at.loop is not None and node.type in ("while_statement", "for_statement"):
            return _header(source, node)
        if at.case is not None and node.type == "case_statement":
            part = node.child_by_field_name("value")
    return squeeze(source.source(part)) if part is not None else ""


def _is_local(node: Node) -> bool:
    owner = declared_by(node) if node.type == "identifier" else None
    return owner is not None and owner.type == "declaration"


def _labels(source: CSource, scope: Node, name: str) -> list[Site]:
    sites = []
    for node in walk(scope):
        label = node.child_by_field_name("label") if node.type == "labeled_statement" else None
        if label is not None and source.source(label) == name.encode():
            start = line_start(source.text, node.start_byte)
            end = line_end(source.text, label.end_byte)
            sites.append(Site(start, end, Shape.LINE, indent=b"    "))
    return sites


def _calls(source: CSource, scope: Node, at: At) -> list[Site]:
    if at.argument is not None:
        return invocations(source, at, scope)
    sites: dict[int, Site] = {}
    for site in invocations(source, at, scope):
        node = source.node_at(site.start, site.start)
        while node is not None and node.type not in _STATEMENTS:
            node = node.parent
        if node is not None:
            sites[node.start_byte] = _statement_site(source, node)
    return list(sites.values())


def _condition_site(node: Node) -> Site:
    """What stands between the parentheses of an ``if`` or ``while``."""
    condition = node.child_by_field_name("condition")
    assert condition is not None
    return Site(condition.start_byte + 1, condition.end_byte - 1, Shape.INLINE)


def checked_calls(source: CSource, at: At) -> list[Site]:
    """Calls in a file as statements, each with the ``if`` that looks at its result.

    That ``if`` holds the call in its condition, or follows the statement that makes the call. A
    call that nobody checks is no site.
    """
    sites = []
    for call in invocations(source, at, None):
        node = source.node_at(call.start, call.start)
        while node is not None and node.type not in _STATEMENTS:
            node = node.parent
        if node is None:
            continue
        last: Node | None = node
        if node.type != "if_statement":
            last = node.next_named_sibling
        if last is None or last.type != "if_statement":
            continue
        site, end = _statement_site(source, node), line_end(source.text, last.end_byte - 1)
        sites.append(replace(site, end=end, captures=call.captures))
    return sites


def _by_text(source: CSource, function: Site, at: At) -> list[Site]:
    """The text form for functions that do not parse: a whole line with that statement."""
    wanted = at.statement or (f"return {at.return_};" if at.return_ else None)
    if wanted is None or function.inner is None:
        return []
    sites = []
    offset = function.inner[0]
    while offset < function.inner[1]:
        end = line_end(source.text, offset)
        if squeeze(source.text[offset:end]) == squeeze(wanted):
            indent = indent_at(source.text, offset)
            sites.append(Site(offset, end, Shape.LINE, indent=indent, by_text=True))
        offset = end
    return sites


def _arguments(text: bytes, opening: int) -> tuple[list[tuple[int, int]], int] | None:
    """Extents of the arguments of a call whose parenthesis is at *opening*, and its end."""
    depth = 0
    spans: list[tuple[int, int]] = []
    start = opening + 1
    for found in re.finditer(
        rb"""/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[()\[\]{},]""", text[opening:], re.DOTALL
    ):
        token, offset = found.group(), opening + found.start()
        if token in b"([{":
            depth += 1
        elif token in b")]}":
            depth -= 1
            if depth == 0:
                if text[start:offset].strip() or spans:
                    spans.append((start, offset))
                return [_trim(text, *span) for span in spans], offset + 1
        elif token == b"," and depth == 1:
            spans.append((start, offset))
            start = offset + 1
    return None


def _trim(text: bytes, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start : start + 1].isspace():
        start += 1
    while end > start and text[end - 1 : end].isspace():
        end -= 1
    return start, end


def invocations(source: CSource, at: At, scope: Node | None) -> list[Site]:
    """Calls of a function or uses of a function-like macro, in a file or in *scope*.

    Captures: ``args``, the source text of the arguments. Definitions, prototypes and ``#define``
    lines are no invocations. With ``argument`` the site is that argument.
    """
    name = (at.call or "").encode()
    low, high = (scope.start_byte, scope.end_byte) if scope else (0, len(source.text))
    sites = []
    for start, stop in words(source.text, name, low, high):
        opening = _OPENING.match(source.text, stop)
        if opening is None:
            continue
        node = source.node_at(start, stop)
        if node is None or node.type in ("comment", "string_content", "string_literal"):
            continue
        if node.type.startswith("preproc") or _is_declarator(node, start):
            continue
        split = _arguments(source.text, opening.end() - 1)
        if split is None:
            continue
        spans, end = split
        args = [source.text[a:b].decode("utf-8", "surrogateescape") for a, b in spans]
        if any(
            squeeze(arg) != squeeze(args[i]) if i < len(args) else True for i, arg in at.positions()
        ):
            continue
        if at.inside or at.outside:
            function = enclosing_function(source, start)
            if (at.inside and function not in at.inside) or function in at.outside:
                continue
        captures = {"args": args, "name": at.call}
        if at.argument is None:
            sites.append(Site(start, end, Shape.INLINE, captures=captures))
            continue
        index = len(spans) - 1 if at.argument == "last" else int(at.argument)
        if index < len(spans):
            a, b = spans[index]
            sites.append(Site(a, b, Shape.INLINE, separator=b", ", captures=captures))
    return sites


def _is_declarator(node: Node, start: int) -> bool:
    """Whether the name at *start* declares the function instead of calling it."""
    if node.type.endswith("identifier") and node.start_byte == start:
        owner = declared_by(node)
        return owner is not None and owner.type in ("function_definition", "declaration")
    return False
