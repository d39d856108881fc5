"""The real series on fake trees of all eras: every variant, every hook, every order of events."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest

from patchgen.engine.csource import CSource
from patchgen.engine.generate import PatchResult, State, generate
from patchgen.engine.series import Series, load_default_series
from patchgen.engine.spec import Files
from patchgen.engine.tree import MemoryFiles, Tree
from tests.fakeqemu import (
    ERAS,
    Description,
    Era,
    Thing,
    changed,
    describe,
    file_text,
    function,
    render,
    reworded,
    walk,
)

SERIES = load_default_series()
NUMBERS = [entry.number for entry in SERIES.entries]
CREATED = {edit.file for entry in SERIES.entries for edit in entry.patch.edit if edit.create}


@pytest.fixture(params=ERAS.values(), ids=ERAS)
def era(request: pytest.FixtureRequest) -> Era:
    chosen: Era = request.param
    return chosen


def run(files: Mapping[str, bytes], series: Series = SERIES) -> tuple[Tree, list[PatchResult]]:
    """The series on a tree."""
    tree = Tree(MemoryFiles(files))
    return tree, list(generate(series, tree))


def applied(description: Description) -> Tree:
    """The tree with the whole series, every patch of which must apply."""
    tree, results = run(render(description))
    assert [r.state for r in results] == [State.APPLIED] * len(results), drifts(results)
    return tree


@cache
def plainly(era: Era) -> Tree:
    """The tree of an era with the whole series; not to be changed."""
    return applied(describe(era))


def drifts(results: list[PatchResult]) -> str:
    """All drifts, for messages."""
    return "\n".join(str(drift) for result in results for drift in result.drifts)


def errors(path: str, text: bytes) -> bool:
    """Whether a C file does not parse."""
    is_c = path.endswith((".c", ".h"))
    return is_c and any(root.has_error for root in CSource(text).roots)


def text_of(tree: Tree, path: str) -> str:
    """A file of the tree."""
    data = tree.read(path)
    assert data is not None, path
    return data.decode("latin-1")


def body_of(tree: Tree, path: str, name: str) -> str:
    """A function's text, from its head to its closing brace."""
    found = re.search(
        rf"^[^\n;#]*\b{name}\([^;]*?\)\n\{{\n.*?^\}}\n", text_of(tree, path), re.M | re.S
    )
    assert found, f"{name} is not in {path}"
    return found.group()


# --- every variant -----------------------------------------------------------------------------


def test_every_patch_applies_and_the_c_parses(era: Era) -> None:
    files = render(describe(era))
    assert [path for path, text in files.items() if errors(path, text)] == []
    tree, results = run(files)
    assert [r.state for r in results] == [State.APPLIED] * len(NUMBERS), drifts(results)
    assert [r.number for r in results if r.by_text] == []
    assert [path for path, text in tree.edits.items() if errors(path, text)] == []
    assert set(tree.edits) >= CREATED


def test_no_patch_leaves_odd_white_space(era: Era) -> None:
    for path, text in plainly(era).edits.items():
        assert b"\n\n\n" not in text, path
        assert not re.search(rb"[ \t]\n", text), path
        assert text.endswith(b"\n") and not text.endswith(b"\n\n"), path
        assert not re.search(rb"@[<%#]|[>%#]@", text), path
        if path.endswith((".c", ".h")):
            assert not re.search(rb"\{\n\n|\n\n *\}", text), path


def test_each_patch_alone_parses(era: Era) -> None:
    """Each commit must build, so each step must parse."""
    for number in NUMBERS:
        tree, _ = run(render(describe(era)), SERIES.upto(number))
        assert [path for path, text in tree.edits.items() if errors(path, text)] == [], number


def test_documentation_in_the_markup_of_the_table(era: Era) -> None:
    text = text_of(plainly(era), "hmp-commands.hx")
    for name in ("cprsave", "cprload", "cprinfo"):
        entry = text[text.index(f'"{name}"') :]
        if era.markup == "texinfo":
            assert re.search(
                rf"\nSTEXI\n@item {name}\b[^\n]*\n@findex {name}\n[^`]*\nETEXI\n", entry
            )
        else:
            assert re.search(rf"\nSRST\n``{name}``[^\n]*\n  [^@]*\nERST\n", entry)
    other = {"texinfo": ("SRST", "ERST", "``"), "rst": ("STEXI", "ETEXI", "@item")}[era.markup]
    assert not any(word in text for word in other)
    order = re.findall(r'\.name\s*= "(\w+)"', text)
    assert [n for n in order if not n.startswith("cpr")] == ["savevm", "delvm", "migrate"]


def test_built_in_the_list_of_the_build_system(era: Era) -> None:
    tree = plainly(era)
    if era.build == "meson":
        assert "  'colo.c',\n  'cprsave.c',\n" in text_of(tree, "migration/meson.build")
        assert tree.read("migration/Makefile.objs") is None
    else:
        lists = text_of(tree, "migration/Makefile.objs")
        assert lists.count("common-obj-y += cprsave.o\n") == 1
        assert lists.startswith("common-obj-y += migration.o fd.o \\\n\tsavevm.o\n")
        assert tree.read("migration/meson.build") is None


def test_errors_are_handed_over_as_the_tree_does(era: Era) -> None:
    tree = plainly(era)
    wanted = "&err" if era.hmp_error == "Error **" else "err"
    calls = re.findall(r"hmp_handle_error\(mon, ([^)]*)\);", text_of(tree, "monitor/hmp-cmds.c"))
    assert calls == [wanted] * 4


def test_since_is_the_release_after_the_tree(era: Era) -> None:
    following = {"4.2.0": "5.0", "5.1.0": "5.2", "5.2.0": "6.0"}[era.version]
    text = text_of(plainly(era), "qapi/migration.json")
    assert re.findall(r"# Since: (\S+)", text) == ["1.0", *[following] * 6]
    defined = re.findall(r"^\{ '(\w+)': '(\w+)'", text, re.M)
    assert dict(reversed(item) for item in defined) == {
        "migrate": "command",
        "CprMode": "enum",
        "cprsave": "command",
        "cprload": "command",
        "CprInfo": "struct",
        "cprinfo": "command",
        "CPR_EXEC_FAILED": "event",
    }
    for _, name in defined:
        assert f"##\n# @{name}:\n" in text


def test_calls_fit_the_prototypes_of_the_tree(era: Era) -> None:
    find = 'object_property_find(mr->owner, "discard-data", NULL)'
    volatile = text_of(plainly(era), era.physmem)
    assert (find in volatile) == era.find_has_errp
    assert (find.replace(", NULL", "") in volatile) == (not era.find_has_errp)


def test_headers_and_exports_of_the_tree(era: Era) -> None:
    tree = plainly(era)
    text = text_of(tree, "migration/cprsave.c")
    assert re.findall(r'#include "(\S*xen\S*)"', text) == [era.xen_header]
    assert re.findall(r'"qapi/qapi-commands-(control|misc)\.h"', text) == [era.quit]
    assert ("qmp_query_block_exports(" in text) == era.exports
    assert ("nbd_server_is_running()" in text) == (not era.exports)
    assert ("block/nbd.h" in text) == (not era.exports)
    assert ("ram_block_discard_is_required()" in text) == era.discards
    assert text.count('"exec/memory.h"') == 1
    if not era.exports:
        assert "bool nbd_server_is_running(void);" in text_of(tree, "include/block/nbd.h")
        assert "bool nbd_server_is_running(void)\n{" in text_of(tree, "blockdev-nbd.c")


def test_the_clock_is_stopped_by_the_header_of_the_tree(era: Era) -> None:
    tree = plainly(era)
    text = text_of(tree, "migration/cprsave.c")
    assert re.findall(r'#include "((?:qemu/timer|sysemu/cpu-timers)\.h)"', text) == [era.ticks[1]]
    assert "bool cpu_ticks_are_enabled(void);" in text_of(tree, f"include/{era.ticks[1]}")
    assert "bool cpu_ticks_are_enabled(void)\n{" in text_of(tree, era.ticks[0])


def test_the_pause_option_is_a_case_of_its_own(era: Era) -> None:
    """Whichever function it is that parses the options."""
    tree = plainly(era)
    text = text_of(tree, era.vl)
    cases = re.findall(r"case (\w+):", text[text.index("lookup_opt(argc, argv)->index") :])
    order = ["s", "gdb", "pause", "S"]
    assert [case for case in cases if "OPTION" in case] == [f"QEMU_OPTION_{x}" for x in order]
    assert "error_init(argv[0]);\n    startup_pause_by_variable(argv[0]);\n" in text
    options = text_of(tree, "qemu-options.hx")
    assert re.findall(r'^DEF\("(\w+)"', options, re.M) == ["preconfig", "pause", "S"]
    assert ("@item -pause @var{secs}" in options) == (era.markup == "texinfo")


def test_facts_that_no_case_describes_are_drifts(era: Era) -> None:
    """A tree that is neither of the known kinds is not taken for one of them."""
    tree = describe(era)
    odd = reworded(tree, "include/monitor/hmp.h", "hmp_handle_error", "hmp_report")
    _, results = run(render(odd))
    assert {d.code for r in results for d in r.drifts if r.number in (4, 6, 8)} >= {"PG359"}
    assert all(r.drifts for r in results if r.number in (4, 6, 8))
    assert results[2].state is State.APPLIED


# --- files that moved --------------------------------------------------------------------------

#: (paths, what the right one of them holds, if several may be in a tree)
MOVES = sorted(
    {
        (edit.paths, edit.file.holding.split()[-1] if isinstance(edit.file, Files) else "")
        for entry in SERIES.entries
        for edit in entry.patch.edit
        if isinstance(edit.file, tuple) or (isinstance(edit.file, Files) and edit.file.among)
    }
)


@pytest.mark.parametrize(
    "paths, held, to",
    [(paths, held, to) for paths, held in MOVES for to in paths],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_are_found_wherever_the_series_knows_them(
    paths: tuple[str, ...], held: str, to: str
) -> None:
    tree = describe(ERAS["meson"])
    was = [path for path in paths if path in tree and held in file_text(tree[path])]
    assert len(was) == 1, f"{was} of {paths} are in the fake tree"
    others = {path for other, _ in MOVES if was[0] not in other for path in other}
    if to in tree or to in others:
        return
    here = applied(tree)
    there = applied({**{p: t for p, t in tree.items() if p != was[0]}, to: tree[was[0]]})
    assert there.edits[to] == here.edits[was[0]]
    assert was[0] not in there.edits


def test_a_definition_is_found_in_a_file_nobody_knows() -> None:
    tree = describe(ERAS["meson"])
    moved = {**{p: t for p, t in tree.items() if p != "softmmu/vl.c"}}
    moved["system/elsewhere.c"] = tree["softmmu/vl.c"]
    here, there = applied(tree), applied(moved)
    assert there.edits["system/elsewhere.c"] == here.edits["softmmu/vl.c"]


# --- already there -----------------------------------------------------------------------------


def test_applied_again_all_is_already_there(era: Era) -> None:
    tree = plainly(era)
    again = Tree(MemoryFiles({**render(describe(era)), **tree.edits}))
    results = generate(SERIES, again)
    assert [r.state for r in results] == [State.ALREADY_THERE] * len(NUMBERS)
    assert again.edits == {}


@pytest.mark.parametrize("done", NUMBERS[:-1])
def test_half_applied_is_completed_to_the_same_tree(era: Era, done: int) -> None:
    files = render(describe(era))
    whole, _ = run(files)
    half, _ = run(files, SERIES.upto(done))
    rest, results = run({**files, **half.edits})
    wanted = [State.ALREADY_THERE] * done + [State.APPLIED] * (len(NUMBERS) - done)
    assert [r.state for r in results] == wanted, drifts(results)
    assert {**half.edits, **rest.edits} == whole.edits


# --- noise -------------------------------------------------------------------------------------

_NOISE = re.compile(
    rb"/\* No\xefse \d+ \*/\n\n|static void noise_\d+\(void\)\n\{\n.*?^\}\n\n"
    rb"|#include \"noise/\d+\.h\"\n",
    re.M | re.S,
)


def noisy(description: Description) -> Description:
    """The tree with functions, includes and comments of others between the things of C files."""
    count = 0
    noisy_tree: Description = {}
    for path, things in description.items():
        noisy_tree[path] = mixed = []
        for thing in things:
            if path.endswith(".c"):
                count += 1
                if thing.text.startswith("#include"):
                    name = f"noise/{count}.h"
                    mixed.append(Thing(name, f'#include "{name}"\n', tight=True))
                else:
                    mixed.append(Thing("", f"/* No\xefse {count} */\n"))
                    mixed.append(
                        function(
                            f"static void noise_{count}(void)",
                            "QTAILQ_FOREACH(a, &others, entry) { look(a); }",
                            "runstate_set(RUN_STATE_PAUSED);",
                            ("if (cpu_is_on())", "cpu_disable_ticks();"),
                        )
                    )
            mixed.append(thing)
    return noisy_tree


def test_noise_around_the_hooks_changes_nothing_but_context(era: Era) -> None:
    quiet, loud = plainly(era), applied(noisy(describe(era)))
    assert set(loud.edits) == set(quiet.edits)
    for path, text in loud.edits.items():
        assert _NOISE.sub(b"", text) == quiet.edits[path], path


_STATEMENT = re.compile(r"^(?:    /\*[^\n]*\*/\n)?    (?:[\w>.-]+ = )?\w+\([^\n]*;\n", re.M)


def test_other_statements_around_the_hooks_change_nothing_but_context(era: Era) -> None:
    tree, loud = describe(era), {}
    for path, things in tree.items():
        loud[path] = [
            replace(t, text=_STATEMENT.sub(r"    noise(1);\n\g<0>", t.text))
            if path.endswith(".c")
            else t
            for t in things
        ]
    quiet, done = applied(tree), applied(loud)
    assert sum(text.count(b"noise(1)") for text in done.edits.values()) > 20
    for path, text in done.edits.items():
        assert text.replace(b"    noise(1);\n", b"") == quiet.edits[path], path


def line_changes(description: Description) -> dict[str, tuple[Counter[bytes], Counter[bytes]]]:
    """What the series adds to and removes from each file, in no order."""
    files, tree = render(description), applied(description)
    out = {}
    for path, text in tree.edits.items():
        before, after = Counter(files.get(path, b"").split(b"\n")), Counter(text.split(b"\n"))
        del before[b""], after[b""]
        out[path] = (after - before, before - after)
    return out


def test_another_order_of_definitions_gets_the_same_edits(era: Era) -> None:
    tree = describe(era)
    turned: Description = {}
    for path, things in tree.items():
        top = [t for t in things if t.text.startswith("#include")]
        rest = [t for t in things if not t.text.startswith("#include")]
        turned[path] = [*top, *reversed(rest)] if path.endswith(".c") else things
    assert line_changes(turned) == line_changes(tree)


def test_another_layout_of_arguments_gets_the_same_edits(era: Era) -> None:
    tree = describe(era)
    wide = reworded(
        tree,
        "migration/savevm.c",
        "QTAILQ_FOREACH(se, &savevm_state.handlers, entry",
        "QTAILQ_FOREACH(se,\n                   &savevm_state.handlers, entry",
    )
    wide = reworded(
        wide,
        era.vl,
        "if (!(wakeup_reason_mask & (1 << reason)",
        "if (!(wakeup_reason_mask &\n          (1 << reason)",
    )
    wide = reworded(
        wide, "block/qcow.c", "migrate_add_blocker(s->", "migrate_add_blocker(\n        s->"
    )
    assert render(wide) != render(tree)
    plain, laid_out = line_changes(tree), line_changes(wide)
    assert {p: added for p, (added, _) in laid_out.items()} == {
        p: added for p, (added, _) in plain.items()
    }


def test_words_in_comments_and_strings_are_no_hooks(era: Era) -> None:
    tree = describe(era)
    for path, things in tree.items():
        names = [t.name for t in things if t.name and not t.text.startswith("#")]
        if not path.endswith(".c") or not names:
            continue
        said = "".join(f" * {name}() {name} = {{ {name}\n" for name in names)
        talk = Thing("", f"/*\n * Of old:\n{said} */\n")
        quoted = ", ".join(names)
        text = function(f"void say_{len(names)}(void)", f'say("{quoted}(x); QTAILQ_FOREACH(a)");')
        tree = {**tree, path: [*things, talk, text]}
    assert line_changes(tree) == line_changes(describe(era))


# --- rules -------------------------------------------------------------------------------------


def test_walks_are_told_apart_by_their_functions(era: Era) -> None:
    tree = plainly(era)
    path = "migration/savevm.c"
    for name, macro in {
        "find_se": "SAVEVM_FORALL(se, entry)",
        "qemu_savevm_state_setup": "SAVEVM_FOREACH(se, entry)",
        "qemu_savevm_state_pending": "SAVEVM_FOREACH(se, entry)",
        "unregister_savevm": "SAVEVM_FORALL_SAFE(se, entry, next)",
        "savevm_state_handler_insert": "QTAILQ_FOREACH(se, &savevm_state.handlers, entry)",
    }.items():
        assert macro in body_of(tree, path, name), name


def test_new_walks_are_taken_for_such_as_look_after_the_list(era: Era) -> None:
    tree = describe(era)
    path = "migration/savevm.c"
    new = [
        walk("void savevm_count(void)", "n++;"),
        walk("void savevm_drop_all(void)", "drop(se);", safe=True),
        function("void other_walk(void)", ("QTAILQ_FOREACH(se, &others.handlers, entry)", "n++;")),
    ]
    done = applied({**tree, path: [*tree[path], *new]})
    assert "SAVEVM_FORALL(se, entry)" in body_of(done, path, "savevm_count")
    assert "SAVEVM_FORALL_SAFE(se, entry, next)" in body_of(done, path, "savevm_drop_all")
    assert "QTAILQ_FOREACH(se, &others.handlers, entry)" in body_of(done, path, "other_walk")


@pytest.mark.parametrize("name", ["qemu_savevm_state_iterate", "find_se"])
def test_a_rule_does_without_one_of_its_sites(era: Era, name: str) -> None:
    tree = describe(era)
    applied(changed(tree, "migration/savevm.c", lambda t: None if t.name == name else t))


def test_a_blocker_that_nobody_checks_is_left_alone(era: Era) -> None:
    tree = describe(era)
    path = "block/qcow.c"
    more = function(
        "void qcow_more(Opaque *s)", "migrate_add_blocker(s->other, NULL);", "later(s);"
    )
    done = applied({**tree, path: [*tree[path], more]})
    assert text_of(done, path).count("migrate_blocker_exempt_cpr(s->migration_blocker,") == 1
    assert "exempt" not in body_of(done, path, "qcow_more")


def test_a_second_checked_blocker_must_be_told_apart(era: Era) -> None:
    """One driver, two blockers: which of them is exempt is for people to say."""
    tree = describe(era)
    path = "block/qcow.c"
    (old,) = (thing for thing in tree[path] if thing.name == "qcow_open")
    twin = Thing("qcow_reopen", old.text.replace("qcow_open", "qcow_reopen"))
    _, results = run(render({**tree, path: [*tree[path], twin]}))
    (drift,) = results[2].drifts
    assert (drift.code, drift.file) == ("PG353", path)


def test_only_the_clock_s_blocker_of_kvm_is_exempt(era: Era) -> None:
    text = text_of(plainly(era), "target/i386/kvm.c")
    assert re.findall(r"migrate_blocker_exempt_cpr\((\w+),", text) == ["invtsc_mig_blocker"]
