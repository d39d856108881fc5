"""Edits: what they refuse, what is there already, and that they touch nothing but their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchgen.engine import edit as edit_module
from patchgen.engine.edit import Document
from patchgen.engine.site import DriftKind
from tests.unit.engine_help import after, miss, place

TWO = "int a(void)\n{\n    f();\n    f();\n}\n"


def test_not_found_has_candidates() -> None:
    text = "void door_open(void)\n{\n}\n\nvoid door_shut(void)\n{\n}\n"
    missed = miss(text, "at = { function = 'door_opens' }\nremove = true")
    assert missed.kind is DriftKind.NOT_FOUND
    best = missed.candidates[0]
    assert (best.name, best.file, best.line) == ("door_open", "a.c", 1)
    assert 0.9 < best.score < 1


def test_not_found_in_a_function_that_is_not_there() -> None:
    missed = miss(TWO, "at = { function = 'ab', call = 'f' }\nremove = true")
    assert missed.kind is DriftKind.NOT_FOUND
    assert missed.candidates[0].name == "a" or missed.candidates == ()


def test_ambiguous() -> None:
    missed = miss(TWO, "at = { function = 'a', call = 'f' }\nremove = true")
    assert missed.kind is DriftKind.AMBIGUOUS
    assert "2 times" in missed.reason


def test_count_wants_one_at_least() -> None:
    assert place(TWO, "at = { call = 'f' }\ncount = '>= 1'\nreplace = 'g()'").sites == 2
    missed = miss(TWO, "at = { call = 'h' }\ncount = '>= 1'\nreplace = 'g()'")
    assert missed.kind is DriftKind.COUNT


@pytest.mark.parametrize(
    ("text", "toml", "path"),
    [
        pytest.param(
            "int old(void)\n{\n}\n\nint new_one(void)\n{\n}\n",
            "at = { function = 'old' }\n"
            "insert = { after = '''\nint new_one(void)\n{\n}\n\nint new_two(void)\n{\n}\n''' }",
            "a.c",
            id="one-of-two-functions",
        ),
        pytest.param(
            "{ 'command': 'a' }\n\n{ 'command': 'x' }\n",
            "at = { qapi = 'a' }\n"
            "insert = { after = '''\n{ 'command': 'x' }\n\n{ 'command': 'y' }\n''' }",
            "a.json",
            id="one-of-two-commands",
        ),
        pytest.param(
            "int a(void)\n{\n    f();\n    g();\n    f();\n}\n",
            "at = { call = 'f' }\ncount = '>= 1'\nreplace = 'g()'\npresent = { call = 'g' }",
            "a.c",
            id="a-rule-that-was-kept-once",
        ),
        pytest.param(
            "int a(void)\n{\n    f(1, 2);\n    f(2);\n}\n",
            "at = { call = 'f', argument = 'last' }\ncount = '>= 1'\ninsert = { before = '1' }",
            "a.c",
            id="an-argument-that-some-have",
        ),
    ],
)
def test_partly_there(text: str, toml: str, path: str) -> None:
    assert miss(text, toml, path).kind is DriftKind.PARTLY_THERE


@pytest.mark.parametrize(
    ("text", "toml", "path"),
    [
        pytest.param(
            "int b(void)\n{\n}\n\nint old(void)\n{\n}\n",
            "at = { function = 'old' }\ninsert = { after = '''\nint b(void)\n{\n}\n''' }",
            "a.c",
            id="function-elsewhere",
        ),
        pytest.param(
            '#include "b.h"\n#include "a.h"\n',
            "at = { include = 'a.h' }\ninsert = { after = '#include \"b.h\"' }",
            "a.c",
            id="header-elsewhere",
        ),
        pytest.param(
            "struct S {\n    int a;\n    int b;\n};\n",
            "at = { struct = 'S', member = 'a' }\ninsert = { after = 'int b;' }",
            "a.c",
            id="member-beside",
        ),
        pytest.param(
            "#define M 2\n",
            "at = { macro = 'M' }\nreplace = '#define M 2'",
            "a.c",
            id="replaced",
        ),
        pytest.param(
            "int a(void)\n{\n    g();\n}\n",
            "at = { call = 'f' }\nremove = true\npresent = { call = 'g' }",
            "a.c",
            id="what-present-says",
        ),
        pytest.param(
            "One\nM: x\n\nTwo\nM: y\n",
            "at = { maintainers = 'One' }\ninsert = { after = '''\nTwo\nM: z\n''' }",
            "MAINTAINERS",
            id="section",
        ),
    ],
)
def test_already_there(text: str, toml: str, path: str) -> None:
    placed = place(text, toml, path)
    assert placed.there
    assert placed.document.text == text.encode()


@pytest.mark.parametrize(
    "toml",
    [
        pytest.param("at = { function = 'a' }\ninsert = { top = 'if (' }", id="breaks-the-syntax"),
        pytest.param(
            "at = { function = 'a', return = '0' }\n"
            "insert = { before = '''\nreturn 0;\nreturn 0;\n''' }",
            id="second-site",
        ),
    ],
)
def test_postcondition(toml: str) -> None:
    missed = miss("int a(void)\n{\n    f();\n    return 0;\n}\n", toml)
    assert missed.kind is DriftKind.POSTCONDITION


def test_postcondition_sees_that_a_removed_anchor_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Document, "replaced", lambda self, changes: self)
    missed = miss("int a(void)\n{\n}\n", "at = { function = 'a' }\nremove = true")
    assert missed.kind is DriftKind.POSTCONDITION


def test_postcondition_sees_bytes_that_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Document.replaced

    def shifted(self: Document, changes: list[tuple[int, int, bytes]]) -> Document:
        return honest(self, [(start - 1, end - 1, new) for start, end, new in changes])

    monkeypatch.setattr(edit_module.Document, "replaced", shifted)
    missed = miss(
        "int a;\n\nint b;\n", "at = { declaration = 'b' }\ninsert = { before = 'int c;' }"
    )
    assert missed.kind is DriftKind.POSTCONDITION


def test_no_inside_to_put_text_in() -> None:
    missed = miss("int a;\n", "at = { declaration = 'a' }\ninsert = { first = '1,' }")
    assert "no inside" in missed.reason


def test_bytes_that_are_no_utf8_stay() -> None:
    text = b'/* caf\xe9 */\nint a(void)\n{\n    f("\xff");\n}\n'
    placed = place(text, "at = { call = 'f' }\nreplace = 'g(@< args[0] >@)'")
    assert placed.document.text == text.replace(b"f(", b"g(")


# What surrounds an edit: functions, tables, comments, conditionals, in any order.
_AROUND = st.lists(
    st.sampled_from(
        [
            "/* a comment about target */\n",
            "#ifdef CONFIG_X\nint x(void)\n{\n    target(1);\n}\n#endif\n",
            "static int y(int a)\n{\n    QTAILQ_FOREACH(a, &b, c) {\n        odd(a);\n    }\n}\n",
            "struct T {\n    int target_like;\n};\n",
            "static const int t[] = {\n    1,\n    2,\n};\n",
            "\n\n",
            "void broken(int a\n{\n    if ((\n}\n",
            "#define M(x) \\\n    do { \\\n        x; \\\n    } while (0)\n",
            "type_init(target_like)\n",
        ]
    ),
    max_size=6,
).map("\n".join)
_LINES = st.lists(
    st.sampled_from(["one();", "two(1, 2);", "if (a) {\n    b();\n}"]), min_size=1, max_size=3
)
_PLACES = ["before", "after", "first", "last", "top", "local"]


@given(_AROUND, _AROUND, _LINES, st.sampled_from(_PLACES))
def test_nothing_but_the_place_changes(
    above: str, below: str, lines: list[str], where: str
) -> None:
    middle = "int wanted(int a)\n{\n    int b;\n\n    start(a);\n    stop(b);\n}\n"
    new = "int more;" if where == "local" else "\n".join(lines)
    head, tail = f"{above}\n", f"\n{below}"
    inside = "" if where in ("first", "last", "top", "local") else ", call = 'stop'"
    toml = f"at = {{ function = 'wanted'{inside} }}\ninsert = {{ {where} = '''\n{new}\n''' }}"
    result = after(f"{head}{middle}{tail}".encode(), toml)
    assert result.startswith(head)
    assert result.endswith(tail)
    changed = result[len(head) : len(result) - len(tail)]
    assert [line for line in changed.split("\n") if line in middle.split("\n")] != []
    rest = changed
    for line in new.split("\n"):
        assert f"    {line}\n" in rest
        rest = rest.replace(f"    {line}\n", "", 1)
    assert "".join(rest.split()) == "".join(middle.split())


WRAP = """
    at = { function = "f", call = "work" }
    wrap = { before = "lock();", after = "unlock();" }
"""


def test_a_wrap_is_there_if_both_of_its_texts_are() -> None:
    plain = b"void f(void)\n{\n    work();\n}\n"
    once = place(plain, WRAP).document.text
    assert place(once, WRAP).there
    half = plain.replace(b"    work();\n", b"    lock();\n    work();\n")
    assert miss(half, WRAP).kind is DriftKind.PARTLY_THERE
