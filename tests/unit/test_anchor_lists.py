"""Anchors outside of C: QAPI, .hx tables, trace-events, build lists, MAINTAINERS, plain text."""

from __future__ import annotations

import pytest

from tests.unit.engine_help import after, dedent, miss

QAPI = """
##
# @Colour:
#
# Since: 1.0
##
{ 'enum': 'Colour', 'data': [ 'red', 'green' ] }

##
# @paint:
##
{ 'command': 'paint', 'data': { 'colour': 'Colour', '*thick': 'bool' } }
"""

HX_RST = """
    {
        .name       = "push",
        .cmd        = hmp_push,
    },

SRST
``push``
  Push.
ERST

    {
        .name       = "pull",
        .cmd        = hmp_pull,
    },
SRST
``pull``
ERST

DEF("door", HAS_ARG, QEMU_OPTION_door,
    "-door (open)\\n", QEMU_ARCH_ALL)
SRST
``-door``
ERST
"""

HX_TEXI = HX_RST.replace("SRST", "STEXI").replace("ERST", "ETEXI")

TRACE = '# doors.c\ndoor_open(int how) "%d"\ndisable door_shut(void) ""\n'

MAKE = "obj-y += a.o b.o\nobj-$(CONFIG_X) += x.o \\\n    y.o\nobj-y += c.o\n"

MESON = """
doors_ss = ss.source_set()
doors_ss.add(files(
  'left.c',
  'right.c',
))
doors_ss.add(when: 'CONFIG_X', if_true: files('x.c'))
"""

MAINTAINERS = """
Intro
-----

Doors
M: A B <a@b.example>
S: Maintained
F: doors/

Windows
S: Orphan
F: windows/
"""

HEADER = """
#ifndef DOOR_H
#define DOOR_H

#ifndef CONFIG_USER_ONLY   /* no doors there */

int door(void);

#if defined(A) && \\
    defined(B)
int both(void);
#else
int one(void);
#endif

#endif

#endif
"""


@pytest.mark.parametrize(
    ("text", "path", "toml", "old", "new"),
    [
        pytest.param(
            QAPI,
            "a.json",
            "at = { qapi = 'Colour' }\ninsert = { after = '''\n##\n# @x:\n##\n"
            "{ 'command': 'x' }\n''' }",
            "##\n# @paint",
            "##\n# @x:\n##\n{ 'command': 'x' }\n\n##\n# @paint",
            id="qapi-after",
        ),
        pytest.param(
            QAPI,
            "a.json",
            "at = { qapi = 'Colour', member = 'green' }\ninsert = { after = \"'blue'\" }",
            "'green' ]",
            "'green', 'blue' ]",
            id="qapi-enum-value",
        ),
        pytest.param(
            QAPI,
            "a.json",
            "at = { qapi = 'paint', member = 'thick' }\ninsert = { before = \"'x': 'int'\" }",
            "'*thick'",
            "'x': 'int', '*thick'",
            id="qapi-member",
        ),
        pytest.param(
            QAPI,
            "a.json",
            "at = { file = 'end' }\ninsert = { after = '''\n{ 'command': 'x' }\n''' }",
            "'bool' } }\n",
            "'bool' } }\n\n{ 'command': 'x' }\n",
            id="file-end",
        ),
        pytest.param(
            HX_RST,
            "a.hx",
            "at = { hx = 'pull' }\n"
            "insert = { before = '''\n    {\n        .name = \"x\",\n    },\n''' }",
            '    {\n        .name       = "pull"',
            '    {\n        .name = "x",\n    },\n\n    {\n        .name       = "pull"',
            id="hx-before",
        ),
        pytest.param(
            HX_TEXI,
            "a.hx",
            "at = { hx = 'push' }\n"
            "insert = { after = '''\n    {\n        .name = \"x\",\n    },\n''' }",
            '    {\n        .name       = "pull"',
            '    {\n        .name = "x",\n    },\n\n    {\n        .name       = "pull"',
            id="hx-texinfo-after-its-documentation",
        ),
        pytest.param(
            HX_RST,
            "a.hx",
            "at = { hx = 'door' }\ninsert = { before = '''\nDEF(\"x\", 0, X, \"-x\", ALL)\n''' }",
            'DEF("door"',
            'DEF("x", 0, X, "-x", ALL)\n\nDEF("door"',
            id="hx-option",
        ),
        pytest.param(
            TRACE,
            "trace-events",
            "at = { trace = 'door_open' }\ninsert = { after = 'door_ajar(void) \"\"' }",
            "disable",
            'door_ajar(void) ""\ndisable',
            id="trace-after",
        ),
        pytest.param(
            TRACE,
            "trace-events",
            "at = { trace = 'door_shut' }\nremove = true",
            'disable door_shut(void) ""\n',
            "",
            id="trace-remove",
        ),
        pytest.param(
            MAKE,
            "Makefile.objs",
            "at = { make = 'obj-y', entry = 'b.o' }\ninsert = { after = 'bb.o' }",
            "b.o\n",
            "b.o bb.o\n",
            id="make-entry",
        ),
        pytest.param(
            MAKE,
            "Makefile.objs",
            "at = { make = 'obj-y', holding = 'a.o' }\ninsert = { after = 'obj-y += d.o' }",
            "b.o\n",
            "b.o\nobj-y += d.o\n",
            id="make-assignment",
        ),
        pytest.param(
            MESON,
            "meson.build",
            "at = { meson = 'doors_ss', entry = 'left.c' }\ninsert = { after = \"'middle.c'\" }",
            "'left.c',\n",
            "'left.c',\n  'middle.c',\n",
            id="meson-line",
        ),
        pytest.param(
            MESON,
            "meson.build",
            "at = { meson = 'doors_ss', entry = 'x.c' }\ninsert = { after = \"'y.c'\" }",
            "'x.c'",
            "'x.c', 'y.c'",
            id="meson-inline",
        ),
        pytest.param(
            MESON,
            "meson.build",
            "at = { meson = 'doors_ss', holding = 'x.c' }\n"
            'insert = { before = "doors_ss.add(z)" }',
            "doors_ss.add(when",
            "doors_ss.add(z)\ndoors_ss.add(when",
            id="meson-call",
        ),
        pytest.param(
            MAINTAINERS,
            "MAINTAINERS",
            "at = { maintainers = 'Doors' }\ninsert = { after = '''\nGates\nS: Odd Fixes\n''' }",
            "Windows\n",
            "Gates\nS: Odd Fixes\n\nWindows\n",
            id="maintainers-section",
        ),
        pytest.param(
            MAINTAINERS,
            "MAINTAINERS",
            "at = { maintainers = 'Doors', entry = 'F: doors/' }\ninsert = { after = 'F: gates/' }",
            "F: doors/\n",
            "F: doors/\nF: gates/\n",
            id="maintainers-line",
        ),
        pytest.param(
            HEADER,
            "a.h",
            "at = { preproc = 'ifndef CONFIG_USER_ONLY' }\n"
            "insert = { last = '''\nint last(void);\n\n''' }",
            "#endif\n\n#endif\n\n#endif",
            "#endif\n\nint last(void);\n\n#endif\n\n#endif",
            id="preproc-last",
        ),
        pytest.param(
            HEADER,
            "a.h",
            "at = { preproc = '#if defined(A) && defined(B)' }\n"
            "insert = { last = 'int also(void);' }",
            "int both(void);\n",
            "int both(void);\nint also(void);\n",
            id="preproc-first-branch-last",
        ),
        pytest.param(
            "some words here\n",
            "README",
            "at = { text = 'words' }\nreplace = 'letters'",
            "words",
            "letters",
            id="text",
        ),
        pytest.param(
            "top\n  one\n  two\n",
            "README",
            "at = { text = \"  one\\n\" }\ninsert = { after = 'more' }",
            "one\n",
            "one\n  more\n",
            id="text-of-a-whole-line",
        ),
        pytest.param(
            "one\n",
            "README",
            "at = { file = 'start' }\ninsert = { before = 'none' }",
            "one\n",
            "none\n\none\n",
            id="file-start",
        ),
    ],
)
def test_before_and_after(text: str, path: str, toml: str, old: str, new: str) -> None:
    plain = dedent(text).decode()
    assert plain.count(old) == 1
    assert after(text, toml, path) == plain.replace(old, new)


def test_make_entries_that_only_look_alike() -> None:
    toml = "at = { make = 'obj-y', entry = 'a' }\ninsert = { after = 'x' }"
    assert miss(MAKE, toml, "Makefile").candidates


@pytest.mark.parametrize(
    ("text", "toml", "nearest"),
    [
        (QAPI, "at = { qapi = 'pint' }\nremove = true", "paint"),
        (HX_RST, "at = { hx = 'pusch' }\nremove = true", "push"),
        (TRACE, "at = { trace = 'door_opened' }\nremove = true", "door_open"),
        (MAKE, "at = { make = 'obj-y', entry = 'bb.o' }\nremove = true", "b.o"),
        (MESON, "at = { meson = 'doors_ss', entry = 'wright.c' }\nremove = true", "right.c"),
        (MAINTAINERS, "at = { maintainers = 'Door' }\nremove = true", "Doors"),
        (
            HEADER,
            "at = { preproc = 'ifdef CONFIG_USER_ONLY' }\nremove = true",
            "ifndef CONFIG_USER_ONLY",
        ),
        ("some words here\n", "at = { text = 'some word here' }\nremove = true", "some words here"),
    ],
)
def test_candidates(text: str, toml: str, nearest: str) -> None:
    best = miss(text, toml).candidates[0]
    assert best.name == nearest
    near = dedent(text).decode().split("\n")[best.line - 1 : best.line + 1]
    assert nearest.rsplit(" ", maxsplit=1)[-1] in "\n".join(near)
