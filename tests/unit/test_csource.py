"""C as QEMU writes it: macros are blanked to their own length, and parts parse on their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchgen.engine.csource import CSource, blank_macros, definitions, enclosing_function, words
from tests.unit.engine_help import after, dedent, miss, place

ODD = [
    "QTAILQ_FOREACH(se, &state.handlers, entry) {\n    visit(se);\n}",
    "QTAILQ_FOREACH_SAFE(se, &state.handlers, entry, next) {\n    visit(se);\n}",
    "QLIST_FOREACH(se, &list, next)\n    visit(se);",
    "RAMBLOCK_FOREACH(rb) {\n    visit(rb);\n}",
    "SAVEVM_FORALL(se, entry) {\n    visit(se);\n}",
    "g_autoptr(Error) err = NULL;",
    "g_autoptr(GString) s = g_string_new(NULL);",
    "g_autofree char *name = NULL;",
    "WITH_RCU_READ_LOCK_GUARD() {\n    visit(se);\n}",
    "switch (x) {\ncase 0 ... 9:\n    visit(se);\n    break;\ncase 'a' ... 'f':\n    break;\n}",
    "g_assert_cmpint(a, ==, b);",
    "g_assert_cmpuint(a, >=, 0);",
]


@pytest.mark.parametrize("statement", ODD, ids=lambda text: text.split("(")[0].split("\n")[0])
def test_statement_parses(statement: str) -> None:
    body = "".join(f"    {line}\n" for line in statement.split("\n"))
    text = f"int f(int x)\n{{\n    first();\n{body}    return 0;\n}}\n".encode()
    source = CSource(text)
    assert not source.has_error(0, len(text)), source.root_at(0)
    assert [(kind, name) for kind, name, _ in definitions(source)] == [("function", "f")]


@pytest.mark.parametrize(
    "text",
    [
        "static int coroutine_fn f(void)\n{\n}\n",
        "int no_coroutine_fn f(void);\n",
        "struct S {\n    int a;\n} QEMU_PACKED;\n",
        "struct S {\n    uint8_t a[4] QEMU_ALIGNED(16);\n};\n",
        "void f(const char *fmt, ...) GCC_FMT_ATTR(1, 2);\n",
        "void f(const char *fmt, ...)\n    G_GNUC_PRINTF(1, 2);\n",
        "G_NORETURN void f(void);\n",
        "struct S {\n    QTAILQ_ENTRY(S) next;\n    QLIST_HEAD(, S) all;\n};\n",
        "static QTAILQ_HEAD(, S) all;\n",
        "static void f(void)\n{\n}\n\ntype_init(f)\n\nint g;\n",
        "OBJECT_DECLARE_TYPE(A, B, C)\n\nint g;\n",
        "static const S s = {\n    .a = { [0 ... 7] = 1 },\n};\n",
    ],
)
def test_declaration_parses(text: str) -> None:
    source = CSource(text.encode())
    assert not source.has_error(0, len(text)), source.root_at(0)


_PIECES = st.sampled_from(
    [*ODD, "\n", "(", ")", "{", "}", ";", " f", "\\\n", "#if X\n", "#endif\n"]
)


@given(st.lists(_PIECES | st.text("ab_ (){};,\n\"'*/", max_size=8), max_size=12))
def test_blanking_keeps_length_and_lines(pieces: list[str]) -> None:
    text = "".join(pieces).encode()
    blanked = blank_macros(text)
    assert len(blanked) == len(text)
    lines = [[at for at, byte in enumerate(data) if byte == 10] for data in (text, blanked)]
    assert lines[0] == lines[1]


@given(st.lists(_PIECES, max_size=12))
def test_parts_cover_the_file_and_offsets_are_the_files(pieces: list[str]) -> None:
    text = "".join(pieces).encode()
    source = CSource(text)
    assert source.ends[-1] == len(text)
    assert source.ends == sorted(set(source.ends))
    for root, start, end in zip(source.roots, [0, *source.ends], source.ends, strict=False):
        assert start <= root.start_byte <= root.end_byte <= end


def test_error_in_one_function_does_not_reach_the_next() -> None:
    text = dedent("""
        int broken(void)
        {
            if (((;
        }

        int whole(void)
        {
            return 0;
        }
        """)
    source = CSource(text)
    assert source.has_error(0, 5)
    assert not source.has_error(text.index(b"whole"), len(text))
    toml = "at = { function = 'whole', return = '0' }\ninsert = { before = 'done();' }"
    assert "    done();\n    return 0;" in after(text, toml)


def test_conditionals_that_span_functions() -> None:
    text = dedent("""
        #ifdef CONFIG_A
        int f(void)
        {
            return 1;
        }

        int g(void)
        {
            return 2;
        }
        #else
        int h(void)
        {
        #ifdef B
            b();
        #endif
            return 3;
        }
        #endif
        """)
    source = CSource(text)
    assert not source.has_error(0, len(text))
    assert [name for _, name, _ in definitions(source)] == ["f", "g", "h"]
    assert enclosing_function(source, text.index(b"b();")) == "h"
    assert enclosing_function(source, 0) == ""


def test_text_form_of_a_function_that_does_not_parse() -> None:
    text = """
        static int odd(int a)
        {
            if (a) {
        #if X
            } else {
        #else
            {
        #endif
            return 0;
        }
        """
    found = place(text, "at = { function = 'odd' }\ninsert = { last = 'never();' }")
    assert found.by_text
    assert b"    return 0;\n    never();\n}\n" in found.document.text
    line = place(text, "at = { function = 'odd', return = '0' }\ninsert = { before = 'done();' }")
    assert line.by_text
    assert b"    done();\n    return 0;" in line.document.text
    top = miss(text, "at = { function = 'odd' }\ninsert = { top = 'x();' }")
    assert "not parsed" in top.reason


def test_definitions_of_every_kind() -> None:
    text = dedent("""
        #define M 1
        #define N(x) x
        struct S { int a; };
        enum E { A };
        typedef int T;
        int v;
        """)
    kinds = {name: kind for kind, name, _ in definitions(CSource(text))}
    assert kinds == {
        "M": "macro",
        "N": "macro",
        "S": "struct",
        "E": "enum",
        "T": "typedef",
        "v": "declaration",
    }


def test_words_are_whole() -> None:
    text = b"ab b.b bb b"
    assert [start for start, _ in words(text, b"b")] == [3, 5, 10]
    assert list(words(text, b"b", 4, 6)) == [(5, 6)]
