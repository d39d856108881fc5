"""Facts are probed from the base tree; conditions over them allow little."""

from __future__ import annotations

import pytest

from patchgen.engine.facts import Case, Fact, Facts, next_release
from patchgen.engine.series import load_default_series
from patchgen.engine.site import DriftKind, Miss
from patchgen.engine.tree import MemoryFiles, Tree
from patchgen.errors import FactError

MARKUP = Fact(
    "test",
    (
        Case("texinfo", file="a.hx", contains="STEXI"),
        Case("rst", file="a.hx", matches=r"^SRST$"),
    ),
)
ALWAYS = Fact("test", (Case("found", file="b.c"), Case("none")))


def facts(**files: str) -> Facts:
    """Facts of a tree with those files; ``__`` in a name is a dot."""
    tree = Tree(MemoryFiles({k.replace("__", "."): v.encode() for k, v in files.items()}))
    return Facts(tree, {"markup": MARKUP, "other": ALWAYS})


@pytest.mark.parametrize(
    ("version", "following"),
    [
        ("4.2.0", "5.0"),
        ("4.2.1", "5.0"),
        ("5.1.0", "5.2"),
        ("5.2.0", "6.0"),
        ("5.2.50", "6.0"),
        ("10.0.3", "10.1"),
        ("10.2.0", "11.0"),
    ],
)
def test_next_release(version: str, following: str) -> None:
    assert next_release(version) == following
    assert facts(VERSION=version + "\n")["next_release"] == following


def test_first_case_that_holds() -> None:
    assert facts(a__hx="x\nSRST\n")["markup"] == "rst"
    assert facts(a__hx="STEXI\nSRST\n")["markup"] == "texinfo"
    assert facts()["other"] == "none"
    assert facts(b__c="")["other"] == "found"
    assert set(facts()) == {"version", "next_release", "markup", "other"}


def test_no_case_is_a_drift() -> None:
    with pytest.raises(Miss) as caught:
        facts(a__hx=" SRST")["markup"]
    assert caught.value.kind is DriftKind.UNKNOWN_FACT


def test_edits_change_no_fact() -> None:
    tree = Tree(MemoryFiles({"a.hx": b"SRST\n"}), {"a.hx": b"STEXI\n"})
    assert Facts(tree, {"markup": MARKUP})["markup"] == "rst"


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("markup == 'rst'", True),
        ("markup != 'rst'", False),
        ("markup == 'rst' and other == 'found'", False),
        ("markup == 'rst' or nothing == 'x'", True),
        ("not other == 'found'", True),
        ("markup in ('rst', 'md')", True),
        ("markup not in ['rst']", False),
    ],
)
def test_conditions(condition: str, truth: bool) -> None:
    assert facts(a__hx="SRST\n").holds(condition) is truth


@pytest.mark.parametrize(
    "condition",
    ["markup ==", "len(markup)", "markup.x", "markup < 'a'", "markup == 5", "nothing == 'x'", ""],
)
def test_conditions_that_are_refused(condition: str) -> None:
    with pytest.raises(FactError):
        facts(a__hx="SRST\n").holds(condition)


def test_condition_asks_only_what_it_needs() -> None:
    assert facts().holds("other == 'none' or markup == 'rst'")


OLD = {
    "hmp-commands.hx": "STEXI\n",
    "migration/Makefile.objs": "",
    "include/monitor/hmp.h": "void hmp_handle_error(Monitor *mon, Error **errp);\n",
    "blockdev-nbd.c": "static NBDServerData *nbd_server;\n",
    "qapi/misc.json": "{ 'command': 'quit' }\n",
    "include/hw/xen/xen.h": "static inline bool xen_enabled(void)\n",
    "include/qom/object.h": (
        "ObjectProperty *object_property_find(Object *obj, const char *name,\n"
        "                                     Error **errp);\n"
    ),
}
NEW = {
    "hmp-commands.hx": "SRST\n",
    "migration/meson.build": "",
    "include/monitor/hmp.h": "bool hmp_handle_error(Monitor *mon, Error *err);\n",
    "blockdev-nbd.c": "static NBDServerData *nbd_server;\n",
    "qapi/block-export.json": "{ 'command': 'query-block-exports', 'returns': [] }\n",
    "qapi/control.json": "{ 'command': 'quit',\n  'allow-preconfig': true }\n",
    "include/system/xen.h": "#define xen_enabled() 0\n",
    "include/qom/object.h": (
        "ObjectProperty *object_property_find(Object *obj, const char *name);\n"
    ),
}


def test_facts_of_the_series_on_an_old_and_a_new_tree() -> None:
    probes = load_default_series().facts
    for files, expected in (
        (OLD, ["texinfo", "make", "address", "nbd", "misc", "hw/xen/xen.h", "errp"]),
        (NEW, ["rst", "meson", "error", "any", "control", "system/xen.h", "plain"]),
    ):
        known = Facts(Tree(MemoryFiles({k: v.encode() for k, v in files.items()})), probes)
        names = ["hx_markup", "build", "hmp_error", "block_exports", "quit_schema", "xen_header"]
        assert [known[name] for name in [*names, "property_find"]] == expected


def test_facts_of_the_series_guess_nothing() -> None:
    empty = Facts(Tree(MemoryFiles({})), load_default_series().facts)
    for name in load_default_series().facts:
        with pytest.raises(Miss):
            empty[name]
