"""A series on a tree: states, drifts with their codes, and what one patch means for the next."""

from __future__ import annotations

import msgspec

from patchgen.engine.facts import Case, Fact
from patchgen.engine.generate import Drift, PatchResult, State, generate
from patchgen.engine.series import Series
from patchgen.engine.spec import At, Edit, Files, Insert
from patchgen.engine.tree import MemoryFiles, Tree
from tests.minirepo import patch, series

FILES = {
    "VERSION": b"5.2.0\n",
    "a.c": b"int a(void)\n{\n    return 0;\n}\n",
    "sub/b.c": b"""int b(void)
{
    ret = block(why);
    if (ret) {
        return 1;
    }
}
""",
    "sub/c.c": b"int c(void)\n{\n    if (block(it)) {\n        return 1;\n    }\n}\n",
    "q.json": b"{ 'command': 'one' }\n",
}

FUNCTION = Edit(
    why="a function",
    file="a.c",
    at=At(function="a"),
    insert=Insert(after="int extra(void)\n{\n}\n"),
)
USER = Edit(
    why="its user",
    file="a.c",
    at=At(function="extra"),
    insert=Insert(last="use();"),
)


def tree(**more: bytes) -> Tree:
    """The small tree; ``__`` in a name is a dot."""
    return Tree(MemoryFiles({**FILES, **{k.replace("__", "."): v for k, v in more.items()}}))


def one(edit: Edit, on: Tree | None = None) -> PatchResult:
    """The result of a series of one edit."""
    return generate(series(patch(1, edit)), on or tree())[0]


def drift(edit: Edit, on: Tree | None = None) -> Drift:
    """The only drift of a series of one edit."""
    result = one(edit, on)
    assert result.state is State.DRIFTED
    assert not result.files
    (drifted,) = result.drifts
    return drifted


def altered(edit: Edit, **changes: object) -> Edit:
    """The edit with other fields."""
    return msgspec.structs.replace(edit, **changes)


def test_applied_then_already_there_then_adapted() -> None:
    where = tree()
    first = one(FUNCTION, where)
    assert first.state is State.APPLIED
    assert first.files == {"a.c": FILES["a.c"] + b"\nint extra(void)\n{\n}\n"}
    again = one(FUNCTION, where)
    assert (again.state, again.files, again.already) == (State.ALREADY_THERE, {}, (1,))
    both = generate(series(patch(1, FUNCTION, USER)), where)[0]
    assert (both.state, both.already) == (State.ADAPTED, (1,))


def test_edits_of_one_patch_build_on_each_other() -> None:
    result = generate(series(patch(1, FUNCTION, USER)), tree())[0]
    assert result.files["a.c"].endswith(b"int extra(void)\n{\n    use();\n}\n")


def test_condition_leaves_an_edit_out() -> None:
    facts = {"kind": Fact("test", (Case("new", file="a.c"),))}
    for condition, state in (("kind == 'new'", State.APPLIED), ("kind == 'old'", State.APPLIED)):
        asked = patch(1, altered(FUNCTION, when=condition))
        result = generate(series(asked, facts=facts), tree())[0]
        assert result.state is state
        assert bool(result.files) is (condition == "kind == 'new'")


def test_pg351_file_missing() -> None:
    assert drift(altered(FUNCTION, file="none.c")).code == "PG351"
    alternatives = drift(altered(FUNCTION, file=("x.c", "y.c")))
    assert (alternatives.code, alternatives.file) == ("PG351", "x.c or y.c")
    assert "none of x.c, y.c" in alternatives.reason
    held = drift(altered(FUNCTION, file=Files(holding="function zzz")))
    assert (held.code, held.file) == ("PG351", "(holding function zzz)")


def test_pg352_not_found() -> None:
    told = drift(altered(FUNCTION, at=At(function="aa")))
    assert (told.code, told.patch, told.edit, told.why) == ("PG352", 1, 1, "a function")
    assert told.anchor == "function aa"
    assert [c.name for c in told.candidates] == ["a"]


def test_an_anchor_is_told_in_the_words_of_the_series_file() -> None:
    """Golden: each kind of value that narrows one, names and texts without quotes."""
    rule = Edit(
        why="r",
        file="a.c",
        at=At(
            call="zz",
            arguments={"0": "invtsc_mig_blocker", "2": '"x"'},
            inside=("one", "two"),
            outside=("three",),
            checked=True,
        ),
        count=">= 1",
        replace="y()",
    )
    words = (
        """call zz, arguments { 0 = "invtsc_mig_blocker", 2 = '"x"' }, inside ["one", "two"], """
        'outside ["three"], checked true'
    )
    told = drift(rule)
    assert (told.anchor, told.reason) == (words, f"{words} is not there")
    assert str(At(function="f", if_="a == b", part="else")) == "function f, if a == b, part else"


def test_pg353_ambiguous() -> None:
    on = tree(a__c=FILES["a.c"] + b"\n" + FILES["a.c"])
    assert drift(FUNCTION, on).code == "PG353"


def test_pg354_count() -> None:
    rule = Edit(why="r", file="a.c", at=At(call="zz"), count=">= 1", replace="y()")
    assert drift(rule).code == "PG354"


def test_pg355_partly_there() -> None:
    two = altered(FUNCTION, insert=Insert(after="int a(void)\n{\n}\n\nint z(void)\n{\n}\n"))
    assert drift(two).code == "PG355"
    created = Edit(why="c", file="a.c", create="int a(void)\n{\n}\n\nint z(void)\n{\n}\n")
    assert drift(created).code == "PG355"
    assert drift(Edit(why="c", file="q.json", create="{}\n")).code == "PG355"


def test_pg356_postcondition() -> None:
    assert drift(altered(FUNCTION, insert=Insert(last="if ("))).code == "PG356"


def test_pg357_file_ambiguous() -> None:
    assert drift(altered(FUNCTION, file=("a.c", "sub/b.c"))).code == "PG357"
    on = tree(z__c=FILES["a.c"])
    assert drift(altered(FUNCTION, file=Files(holding="function a")), on).code == "PG357"


def test_pg358_needs() -> None:
    lost = altered(FUNCTION, at=At(function="nowhere"))
    results = generate(series(patch(1, lost), patch(2, USER), patch(3, FUNCTION)), tree())
    assert [r.state for r in results] == [State.DRIFTED, State.DRIFTED, State.APPLIED]
    assert (results[1].drifts[0].code, results[1].drifts[0].needs) == ("PG358", (1,))


def test_pg358_needs_the_patch_that_creates_the_file() -> None:
    created = Edit(why="new", file="new.c", create="int n;\n")
    lost = altered(FUNCTION, at=At(function="nowhere"))
    user = Edit(why="u", file="new.c", at=At(file="end"), insert=Insert(after="int m;\n"))
    results = generate(series(patch(1, created, lost), patch(2, user)), tree())
    assert results[1].drifts[0].needs == (1,)


def test_pg359_unknown_fact() -> None:
    facts = {"kind": Fact("test", (Case("new", file="no.c"),))}
    asked = patch(1, altered(FUNCTION, when="kind == 'new'"))
    result = generate(series(asked, facts=facts), tree())[0]
    assert [d.code for d in result.drifts] == ["PG359"]


def test_drifted_patch_changes_nothing_for_the_next() -> None:
    lost = altered(USER, at=At(function="nowhere"))
    results = generate(series(patch(1, FUNCTION, lost), patch(2, FUNCTION)), tree())
    assert [r.state for r in results] == [State.DRIFTED, State.APPLIED]


def test_every_drift_of_a_patch_is_told() -> None:
    lost = altered(FUNCTION, at=At(function="nowhere"))
    result = generate(series(patch(1, lost, altered(lost, file="none.c"))), tree())[0]
    assert [(d.edit, d.code) for d in result.drifts] == [(1, "PG352"), (2, "PG351")]


def test_file_by_what_it_holds() -> None:
    among = Files(holding="function b", among=("a.c", "sub/b.c"))
    moved = Files(holding="function b", among=("gone.c",))
    for file in (among, moved):
        result = one(altered(FUNCTION, file=file, at=At(function="b")))
        assert list(result.files) == ["sub/b.c"]


def test_calls_are_looked_for_in_the_named_files_alone() -> None:
    rule = Edit(
        why="r",
        file=Files(holding="call block", among=("a.c", "sub/b.c")),
        at=At(call="block", checked=True),
        insert=Insert(after="told(@< args[0] >@);"),
    )
    assert list(one(rule).files) == ["sub/b.c"]
    nowhere = altered(rule, file=Files(holding="call block", among=("a.c",)))
    assert drift(nowhere).code == "PG351"


def test_rule_for_several_files() -> None:
    rule = Edit(
        why="r",
        file=Files(each=("sub/b.c", "sub/c.c")),
        at=At(call="block", checked=True),
        insert=Insert(after="told(@< args[0] >@);"),
    )
    where = tree()
    files = one(rule, where).files
    assert b"    }\n    told(why);\n}\n" in files["sub/b.c"]
    assert b"    }\n    told(it);\n}\n" in files["sub/c.c"]
    assert one(rule, where).state is State.ALREADY_THERE
    half = Tree(MemoryFiles({**FILES, "sub/b.c": files["sub/b.c"]}))
    assert drift(rule, half).code == "PG355"
    assert drift(altered(rule, file=Files(each=("sub/b.c", "no.c")))).code == "PG351"


def test_created_file_that_later_patches_have_grown_is_there() -> None:
    create = Edit(why="c", file="n.c", create="int n(void)\n{\n}\n")
    grow = Edit(why="g", file="n.c", at=At(function="n"), insert=Insert(top="use();"))
    whole = series(patch(1, create), patch(2, grow))
    where = tree()
    assert [r.state for r in generate(whole, where)] == [State.APPLIED, State.APPLIED]
    assert [r.state for r in generate(whole, where)] == [State.ALREADY_THERE] * 2


def test_created_file_can_be_edited_by_the_same_patch() -> None:
    create = Edit(why="c", file="n.c", create="int n(void)\n{\n}\n")
    grow = Edit(why="g", file="n.c", at=At(file="end"), insert=Insert(after="int m;\n"))
    result = generate(series(patch(1, create, grow)), tree())[0]
    assert result.files == {"n.c": b"int n(void)\n{\n}\n\nint m;\n"}


def test_the_version_is_a_value_for_fragments() -> None:
    since = Edit(
        why="s",
        file="q.json",
        at=At(qapi="one"),
        insert=Insert(after="# Since: @< next_release >@\n{ 'command': 'two' }\n"),
    )
    assert b"# Since: 6.0\n" in one(since).files["q.json"]


def test_same_inputs_same_result() -> None:
    whole: Series = series(patch(1, FUNCTION, USER))
    assert generate(whole, tree()) == generate(whole, tree())
