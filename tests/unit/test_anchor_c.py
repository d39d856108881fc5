"""Anchors in C, each with the verbs that make sense: a text before, and the text after."""

from __future__ import annotations

import pytest

from patchgen.engine.site import DriftKind
from tests.unit.engine_help import after, dedent, miss, place

UNIT = """
#include "qemu/osdep.h"
#include "hw/boards.h"

#define LIMIT 4
#define TWICE(x) \\
    ((x) + (x))

typedef struct Door {
    int width;
    bool open;
} Door;

enum Side {
    LEFT = 1,
    RIGHT,
};

static int doors;

int door_count(int side, bool open);

/* What can be done with a door */
static const Action actions[] = {
    { "open", door_open },
    { "shut", door_shut },
};

static SaveHandlers handlers = {
    .save = door_save,
    .load = door_load,
};

/* Open it */
static int door_open(Door *door, int how)
{
    int ret;

    /* Nobody knows how */
    ret = push(door, how);
    if (ret < 0) {
        complain(door);
        return ret;
    }
    switch (how) {
    case LEFT:
        turn(door);
        break;
    default:
        break;
    }
    for (int i = 0; i < how; i++) {
        creak();
    }
    door->open = true;
out:
    return 0;
}

void door_shut(Door *door)
{
    door->open = false;
}
"""


def change(toml: str) -> tuple[list[str], list[str]]:
    """(lines that went, lines that came) by an edit of :data:`UNIT`."""
    old, new = dedent(UNIT).decode().split("\n"), after(UNIT, toml).split("\n")
    head = next(
        (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
        min(len(old), len(new)),
    )
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return old[head : len(old) - tail], new[head : len(new) - tail]


@pytest.mark.parametrize(
    ("toml", "gone", "come"),
    [
        pytest.param(
            "at = { include = 'hw/boards.h' }\ninsert = { before = '#include \"hw/arm.h\"' }",
            [],
            ['#include "hw/arm.h"'],
            id="include-before",
        ),
        pytest.param(
            "at = { include = 'hw/boards.h' }\ninsert = { after = '#include \"hw/loader.h\"' }",
            [],
            ['#include "hw/loader.h"'],
            id="include-after",
        ),
        pytest.param(
            "at = { include = 'hw/boards.h' }\nremove = true",
            ['#include "hw/boards.h"'],
            [],
            id="include-remove",
        ),
        pytest.param(
            "at = { macro = 'LIMIT' }\nreplace = '#define LIMIT 8'",
            ["#define LIMIT 4"],
            ["#define LIMIT 8"],
            id="macro-replace",
        ),
        pytest.param(
            "at = { macro = 'TWICE' }\ninsert = { after = '#define THRICE 3' }",
            [],
            ["#define THRICE 3"],
            id="macro-of-two-lines-after",
        ),
        pytest.param(
            "at = { struct = 'Door', member = 'width' }\ninsert = { after = 'int height;' }",
            [],
            ["    int height;"],
            id="member-after",
        ),
        pytest.param(
            "at = { struct = 'Door' }\ninsert = { first = '''\n/* Which */\nint id;\n\n''' }",
            [],
            ["    /* Which */", "    int id;", ""],
            id="struct-first-keeps-empty-line",
        ),
        pytest.param(
            "at = { struct = 'Door' }\ninsert = { last = 'int id;' }",
            [],
            ["    int id;"],
            id="struct-last",
        ),
        pytest.param(
            "at = { enum = 'Side', enumerator = 'LEFT' }\ninsert = { after = 'UP,' }",
            [],
            ["    UP,"],
            id="enumerator-after",
        ),
        pytest.param(
            "at = { declaration = 'doors' }\ninsert = { after = 'static int windows;' }",
            [],
            ["static int windows;"],
            id="variable-after",
        ),
        pytest.param(
            "at = { declaration = 'door_count' }\ninsert = { before = 'int door_id(void);' }",
            [],
            ["int door_id(void);"],
            id="prototype-before",
        ),
        pytest.param(
            "at = { declaration = 'door_count', parameter = 'open' }\n"
            "insert = { before = 'int id' }",
            ["int door_count(int side, bool open);"],
            ["int door_count(int side, int id, bool open);"],
            id="prototype-parameter-before",
        ),
        pytest.param(
            "at = { declaration = 'actions', entry = '{ \"open\", door_open }' }\n"
            "insert = { after = '{ \"lock\", door_lock },' }",
            [],
            ['    { "lock", door_lock },'],
            id="initializer-entry-after",
        ),
        pytest.param(
            "at = { declaration = 'handlers', field = 'load' }\nreplace = '.load = door_load_2,'",
            ["    .load = door_load,"],
            ["    .load = door_load_2,"],
            id="initializer-field-replace",
        ),
        pytest.param(
            "at = { declaration = 'handlers' }\ninsert = { first = '.mode_mask = 1,' }",
            [],
            ["    .mode_mask = 1,"],
            id="initializer-first",
        ),
        pytest.param(
            "at = { declaration = 'handlers' }\n"
            "insert = { after = '''\nint door_id(void)\n{\n}\n''' }",
            [],
            ["int door_id(void)", "{", "}", ""],
            id="table-after",
        ),
        pytest.param(
            "at = { function = 'door_open' }\ninsert = { before = '''\nint a(void)\n{\n}\n''' }",
            [],
            ["int a(void)", "{", "}", ""],
            id="function-before-its-comment",
        ),
        pytest.param(
            "at = { function = 'door_open' }\ninsert = { after = '''\nint a(void)\n{\n}\n''' }",
            [],
            ["int a(void)", "{", "}", ""],
            id="function-after",
        ),
        pytest.param(
            "at = { function = 'door_open' }\ninsert = { local = 'int i;' }",
            [],
            ["    int i;"],
            id="one-more-local",
        ),
        pytest.param(
            "at = { function = 'door_shut' }\ninsert = { local = 'int i;' }",
            [],
            ["    int i;", ""],
            id="first-local",
        ),
        pytest.param(
            "at = { function = 'door_open' }\n"
            "insert = { top = '''\nif (stuck()) {\n    return 1;\n}\n''' }",
            [],
            ["    if (stuck()) {", "        return 1;", "    }", ""],
            id="top-behind-locals",
        ),
        pytest.param(
            "at = { function = 'door_shut' }\ninsert = { top = 'look();' }",
            [],
            ["    look();", ""],
            id="top-without-locals",
        ),
        pytest.param(
            "at = { function = 'door_open' }\ninsert = { last = 'never();' }",
            [],
            ["    never();"],
            id="function-last",
        ),
        pytest.param(
            "at = { function = 'door_open', parameter = 'how' }\n"
            "insert = { after = 'Error **errp' }",
            ["static int door_open(Door *door, int how)"],
            ["static int door_open(Door *door, int how, Error **errp)"],
            id="parameter-after",
        ),
        pytest.param(
            "at = { function = 'door_open', call = 'push' }\ninsert = { before = 'look();' }",
            [],
            ["    look();"],
            id="statement-before-its-comment",
        ),
        pytest.param(
            "at = { function = 'door_open', assign = 'door->open' }\n"
            "insert = { after = 'ring();' }",
            [],
            ["    ring();"],
            id="assignment-after",
        ),
        pytest.param(
            "at = { function = 'door_open', local = 'ret' }\nreplace = 'int ret = 0;'",
            ["    int ret;"],
            ["    int ret = 0;"],
            id="local-replace",
        ),
        pytest.param(
            "at = { function = 'door_open', return = 'ret' }\ninsert = { before = 'ring();' }",
            [],
            ["        ring();"],
            id="return-before",
        ),
        pytest.param(
            "at = { function = 'door_open', label = 'out' }\ninsert = { after = 'ring();' }",
            [],
            ["    ring();"],
            id="label-after",
        ),
        pytest.param(
            "at = { function = 'door_open', statement = 'creak();' }\nremove = true",
            ["        creak();"],
            [],
            id="statement-remove",
        ),
        pytest.param(
            "at = { function = 'door_open', statement = 'creak();' }\n"
            "wrap = { before = 'lock();', after = 'unlock();' }",
            ["        creak();"],
            ["        lock();", "        creak();", "        unlock();"],
            id="statement-wrap",
        ),
        pytest.param(
            "at = { function = 'door_open', if = 'ret < 0' }\ninsert = { first = 'ring();' }",
            [],
            ["        ring();"],
            id="if-first",
        ),
        pytest.param(
            "at = { function = 'door_open', if = 'ret < 0' }\ninsert = { after = 'ring();' }",
            [],
            ["    ring();"],
            id="if-after",
        ),
        pytest.param(
            "at = { function = 'door_open', if = 'ret < 0', part = 'condition' }\n"
            "replace = 'failed(ret)'\npresent = { function = 'door_open', if = 'failed(ret)' }",
            ["    if (ret < 0) {"],
            ["    if (failed(ret)) {"],
            id="if-condition-replace",
        ),
        pytest.param(
            "at = { function = 'door_open', if = 'ret < 0', call = 'complain' }\n"
            "insert = { before = 'ring();' }",
            [],
            ["        ring();"],
            id="call-inside-if",
        ),
        pytest.param(
            "at = { function = 'door_open', case = 'LEFT' }\ninsert = { before = 'case UP:' }",
            [],
            ["    case UP:"],
            id="case-before",
        ),
        pytest.param(
            "at = { function = 'door_open', loop = 'for (int i = 0; i < how; i++)' }\n"
            "insert = { last = 'squeak();' }",
            [],
            ["        squeak();"],
            id="loop-last",
        ),
        pytest.param(
            "at = { call = 'push', argument = 'last' }\ninsert = { after = 'true' }\n"
            "present = { call = 'push', arguments = { 2 = 'true' } }",
            ["    ret = push(door, how);"],
            ["    ret = push(door, how, true);"],
            id="argument-after",
        ),
        pytest.param(
            "at = { call = 'push', argument = '0' }\nreplace = '&@< args[0] >@->hinge'",
            ["    ret = push(door, how);"],
            ["    ret = push(&door->hinge, how);"],
            id="argument-replace-with-capture",
        ),
        pytest.param(
            "at = { call = 'push', checked = true }\ninsert = { after = 'pushed(@< args[0] >@);' }",
            [],
            ["    pushed(door);"],
            id="call-with-its-check-after",
        ),
    ],
)
def test_before_and_after(toml: str, gone: list[str], come: list[str]) -> None:
    assert change(toml) == (gone, come)


def test_blank_lines_around_functions() -> None:
    text = "int a(void)\n{\n}\nint b(void)\n{\n}\n"
    new = "insert = { after = '''\nint c(void)\n{\n}\n''' }"
    assert after(text, f"at = {{ function = 'a' }}\n{new}") == (
        "int a(void)\n{\n}\n\nint c(void)\n{\n}\n\nint b(void)\n{\n}\n"
    )


def test_removed_function_takes_its_comment_and_one_blank_line() -> None:
    text = "int a;\n\n/* B */\nvoid b(void)\n{\n}\n\nvoid c(void)\n{\n}\n"
    assert after(text, "at = { function = 'b' }\nremove = true") == (
        "int a;\n\nvoid c(void)\n{\n}\n"
    )


def test_every_call_but_prototype_definition_macro_comment_and_string() -> None:
    text = """
        #define CALL f(0)
        int f(int a);
        int f(int a)
        {
            return a;
        }

        int g(void)
        {
            /* f(1) */
            puts("f(2)");
            return f(3) + f (4);
        }
        """
    toml = "at = { call = 'f', argument = 'last' }\ncount = '>= 1'\ninsert = { after = '-1' }"
    placed = place(text, toml)
    assert placed.sites == 2
    assert b"return f(3, -1) + f (4, -1);" in placed.document.text
    assert placed.document.text.count(b"-1") == 2


def test_inside_outside_and_arguments_narrow_calls() -> None:
    text = "void a(void)\n{\n    f(x, y);\n    f(x, z);\n}\n\nvoid b(void)\n{\n    f(x, y);\n}\n"
    assert after(text, "at = { call = 'f', arguments = { 1 = 'z' } }\nreplace = 'g()'") == (
        text.replace("f(x, z)", "g()")
    )
    inside = "at = { call = 'f', inside = ['b'] }\nreplace = 'g(@< args[1] >@)'"
    outside = "at = { call = 'f', outside = ['a'] }\nreplace = 'g(@< args[1] >@)'"
    head, _, tail = text.rpartition("f(x, y)")
    assert after(text, inside) == after(text, outside) == f"{head}g(y){tail}"


@pytest.mark.parametrize(
    "body",
    [
        "    ret = block(why);\n    if (ret) {\n        return ret;\n    }\n",
        "    if (block(why) < 0) {\n        return -1;\n    }\n",
    ],
    ids=["if-behind", "call-in-the-condition"],
)
def test_checked_call_reaches_through_its_check(body: str) -> None:
    text = f"int f(void)\n{{\n{body}    return 0;\n}}\n"
    toml = "at = { call = 'block', checked = true }\ninsert = { after = 'told(@< args[0] >@);' }"
    assert after(text, toml) == text.replace("    return 0;", "    told(why);\n    return 0;")


def test_call_that_nobody_checks_is_no_site() -> None:
    text = "void f(void)\n{\n    block(why);\n    done();\n}\n"
    toml = "at = { call = 'block', checked = true }\ninsert = { after = 'told();' }"
    assert "is not there" in miss(text, toml).reason


def test_typedef_and_tag_name_the_same_struct() -> None:
    text = "typedef struct {\n    int a;\n} Plain;\n\nstruct Tagged {\n    int a;\n};\n"
    for name in ("Plain", "Tagged"):
        toml = f"at = {{ struct = '{name}', member = 'a' }}\ninsert = {{ after = 'int b;' }}"
        assert after(text, toml).count("int b;") == 1


def test_struct_is_not_found_by_a_use_or_a_declaration() -> None:
    text = "struct S;\nstruct S *make(void);\n"
    toml = "at = { struct = 'S' }\ninsert = { last = 'int b;' }"
    assert "is not there" in miss(text, toml).reason


def test_function_in_both_branches_of_a_conditional_is_there_twice() -> None:
    text = "#ifdef A\nint f(void)\n{\n    a();\n}\n#else\nint f(void)\n{\n    b();\n}\n#endif\n"
    toml = "at = { function = 'f' }\ninsert = { top = 'x();' }"
    assert "2 times" in miss(text, toml).reason
    one = "at = { function = 'f', call = 'b' }\nremove = true"
    assert "2 times" in miss(text, one).reason


def test_comment_of_its_own_belongs_to_the_statement_below() -> None:
    text = """
        void f(void)
        {
            a(); /* beside */
            b();

            /* one
             * two */
            c();
        }
        """
    before_b = "at = { function = 'f', call = 'b' }\ninsert = { before = 'x();' }"
    assert "beside */\n    x();\n    b();" in after(text, before_b)
    before_c = "at = { function = 'f', call = 'c' }\ninsert = { before = 'x();' }"
    assert "\n\n    x();\n    /* one" in after(text, before_c)


def test_preprocessor_lines_stay_in_column_0() -> None:
    text = "void f(void)\n{\n    a();\n}\n"
    toml = (
        "at = { function = 'f', call = 'a' }\ninsert = { after = '''\n#ifdef X\nb();\n#endif\n''' }"
    )
    assert after(text, toml) == ("void f(void)\n{\n    a();\n#ifdef X\n    b();\n#endif\n}\n")


TABLE = """
    struct S {
        int one;
        int two_of;
    };

    enum E {
        E_FIRST = 1,
        E_LAST_ONE,
    };

    static T table[] = {
        { A, B },
        { A, C },
    };

    static H handlers = {
        .setup_it = f,
    };

    void f(int first, int second_one)
    {
        int count_of = 0;

        if (first > 1) {
            s->mode_of = first;
            prepare_it(first);
        }
        switch (first) {
        case MODE_OLD:
            return first + 1;
        }
    out_here:
        return count_of;
    }
"""


@pytest.mark.parametrize(
    "at, nearest",
    [
        ('struct = "S", member = "two"', "two_of"),
        ('enum = "E", enumerator = "E_LAST"', "E_LAST_ONE"),
        ('declaration = "table", entry = "{ A, D }"', "{ A, B }"),
        ('declaration = "handlers", field = "setup"', "setup_it"),
        ('function = "f", local = "count"', "count_of"),
        ('function = "f", assign = "s->mode"', "s->mode_of"),
        ('function = "f", call = "prepare"', "prepare_it"),
        ('function = "f", return = "count"', "count_of"),
        ('function = "f", label = "out"', "out_here"),
        ('function = "f", statement = "prepare(first);"', "prepare_it(first);"),
        ('function = "f", if = "first > 2"', "first > 1"),
        ('function = "f", if = "first > 2", call = "prepare_it"', "first > 1"),
        ('function = "f", case = "MODE_NEW"', "MODE_OLD"),
        ('function = "f", parameter = "second"', "second_one"),
    ],
)
def test_candidates_are_of_the_anchor_s_kind(at: str, nearest: str) -> None:
    """Not the function that was found, but what was looked for inside of it."""
    missed = miss(TABLE, f'at = {{ {at} }}\ninsert = {{ before = "x" }}')
    assert missed.kind is DriftKind.NOT_FOUND
    assert missed.candidates[0].name == nearest
    text = dedent(TABLE).decode().splitlines()
    assert nearest in text[missed.candidates[0].line - 1]
