"""Each hook of the series taken away or renamed in turn: told as drift, nothing else harmed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import pytest

from patchgen.engine.edit import Document, find
from patchgen.engine.facts import Facts
from patchgen.engine.generate import Drift, PatchResult, State, generate
from patchgen.engine.series import Entry, Series, load_default_series
from patchgen.engine.site import Miss
from patchgen.engine.spec import At, Edit, Insert, Patch
from patchgen.engine.tree import MemoryFiles, Tree
from tests.fakeqemu import ERAS, Description, Era, changed, describe, render, reworded

SERIES = load_default_series()


@dataclass(frozen=True, eq=False)
class Hook:
    """A place of the tree as it was before the series, and the patches that go by it."""

    era: Era
    path: str
    at: At
    patches: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.era.name}:{self.path}:{self.at}"


@cache
def _hooks(era: Era) -> tuple[Hook, ...]:
    files = render(describe(era))
    facts = Facts(Tree(MemoryFiles(files)), SERIES.facts)
    users: dict[tuple[str, str], tuple[At, list[int]]] = {}
    for entry in SERIES.entries:
        for edit in entry.patch.edit:
            if edit.at is None or edit.at.kind == "file":
                continue
            if edit.when is not None and not facts.holds(edit.when):
                continue
            for path in (path for path in edit.paths if path in files):
                try:
                    there = find(Document(path, files[path]), edit.at)
                except Miss:
                    there = []
                if there:
                    known = users.setdefault((path, str(edit.at)), (edit.at, []))
                    known[1].append(entry.number)
    return tuple(
        Hook(era, path, at, tuple(dict.fromkeys(numbers)))
        for (path, _), (at, numbers) in users.items()
    )


def _all_hooks() -> list[Hook]:
    """The hooks of the first era, and of the others those that it does not have."""
    hooks: dict[tuple[str, str], Hook] = {}
    for era in ERAS.values():
        for hook in _hooks(era):
            hooks.setdefault((hook.path, str(hook.at)), hook)
    return list(hooks.values())


HOOKS = _all_hooks()


def _respelled(text: str) -> str:
    """*text* with its last name spelled otherwise; a file name keeps its suffix."""
    return re.sub(r"(\w+)(\.\w\b)?(\W*)$", r"\1_moved\2\3", text)


def _renamed(hook: Hook) -> tuple[Description, str]:
    """The tree with the hook renamed, and the new name."""
    leaf = hook.at.leaf or hook.at.name
    new = _respelled(leaf)
    tree = describe(hook.era)
    owner = hook.at.name if hook.at.kind != "call" else ""
    if hook.at.kind in ("meson", "make", "preproc"):
        owner = ""
    old, spelled = (leaf.split()[-1], new.split()[-1]) if hook.at.kind == "preproc" else (leaf, new)
    return reworded(tree, hook.path, old, spelled, inside=owner), new


def _run(tree: Description) -> tuple[Tree, list[PatchResult]]:
    there = Tree(MemoryFiles(render(tree)))
    return there, list(generate(SERIES, there))


@cache
def _undisturbed(era: Era) -> list[PatchResult]:
    return _run(describe(era))[1]


@cache
def _hit(hook: Hook) -> set[int]:
    """The patches that go by the hook or by something inside of it."""
    like = (h for h in _hooks(hook.era) if (h.path, h.at.name) == (hook.path, hook.at.name))
    return {number for other in like for number in other.patches}


def _check(hook: Hook, tree: Description) -> list[Drift]:
    """The drifts on the tree without the hook, which must fit each other and it."""
    there, results = _run(tree)
    drifted = [result.number for result in results if result.drifts]
    assert set(hook.patches) <= set(drifted)
    for result, clean in zip(results, _undisturbed(hook.era), strict=True):
        assert (result.state is State.DRIFTED) == bool(result.drifts)
        assert result.state in (State.APPLIED, State.DRIFTED)
        if result.drifts:
            assert not result.files
        elif result.number < drifted[0]:
            assert {p: t for p, t in result.files.items() if p != hook.path} == {
                p: t for p, t in clean.files.items() if p != hook.path
            }
        for drift in result.drifts:
            assert re.fullmatch(r"PG35\d", drift.code)
            assert drift.file and drift.reason and drift.why and drift.anchor
            assert (drift.code == "PG358") == bool(drift.needs)
            assert set(drift.needs) <= {n for n in drifted if n < result.number}
        own = [drift for drift in result.drifts if not drift.needs]
        assert not own or result.number in _hit(hook), own
        if result.number in hook.patches:
            assert any(hook.path in drift.file or "holding" in drift.file for drift in own)
    written = {path for result in results for path in result.files}
    assert set(there.edits) == written
    return [drift for result in results for drift in result.drifts]


@pytest.mark.parametrize("hook", HOOKS, ids=str)
def test_a_renamed_hook_is_found_again_among_the_candidates(hook: Hook) -> None:
    tree, new = _renamed(hook)
    assert render(tree) != render(describe(hook.era))
    drifts = _check(hook, tree)
    for number in hook.patches:
        near = [c for drift in drifts if drift.patch == number for c in drift.candidates]
        assert (new, hook.path) in [(c.name, c.file) for c in near]
        assert all(0.4 <= c.score <= 1 and c.line > 0 for c in near)


#: One of each kind in a file, since to be renamed is to be gone for all but the candidates
GONE = {
    (hook.path, hook.at.kind): hook
    for hook in HOOKS
    if not hook.at.leaf and hook.at.kind not in ("call", "preproc")
}


@pytest.mark.parametrize("hook", GONE.values(), ids=str)
def test_a_hook_that_is_gone(hook: Hook) -> None:
    tree = changed(
        describe(hook.era), hook.path, lambda thing: None if thing.name == hook.at.name else thing
    )
    for drift in _check(hook, tree):
        near = [c for c in drift.candidates if c.file == hook.path and drift.patch in hook.patches]
        assert hook.at.name not in [candidate.name for candidate in near]


TWICE = [h for h in HOOKS if h.at.kind == "function" and not h.at.leaf][:6]


@pytest.mark.parametrize("hook", TWICE, ids=str)
def test_a_hook_that_is_there_twice(hook: Hook) -> None:
    """Of two that fit, none is taken."""
    tree = describe(hook.era)
    tree[hook.path] += [thing for thing in tree[hook.path] if thing.name == hook.at.name]
    _, results = _run(tree)
    own = [d for number in hook.patches for d in results[number - 1].drifts if not d.needs]
    assert own and {drift.code for drift in own} <= {"PG353", "PG357"}


def test_needs_are_the_patches_that_bring_the_anchor() -> None:
    """8 and 21 stand beside what 4 brings; that 6 mentions it in its documentation is no reason."""
    era = ERAS["make-rst"]

    def needs(path: str, name: str) -> dict[int, set[int]]:
        _, results = _run(reworded(describe(era), path, name, "elsewhere"))
        return {r.number: {n for d in r.drifts for n in d.needs} for r in results if r.drifts}

    assert needs("hmp-commands.hx", '"delvm"') == {4: set(), 6: set(), 8: {4}, 21: {4}}
    chain = needs("migration/savevm.c", "QTAILQ_FOREACH")
    assert {n: chain[n] for n in (1, 2, 3, 5)} == {1: set(), 2: {1}, 3: {2}, 5: {3}}
    assert 4 not in chain
    # What a lost patch would have put inside of a thing that is there.
    inner = Edit(
        why="test",
        file="include/migration/vmstate.h",
        at=At(struct="VMStateDescription", member="mode_mask"),
        insert=Insert(after="int more;"),
    )
    last = SERIES.entries[-1]
    more = Entry(last.number + 1, "99-more", Patch("test", "Steve Sistare", "", (inner,)), {})
    series = Series(SERIES.about, (*SERIES.entries, more), SERIES.facts)
    lost = reworded(describe(era), "migration/savevm.h", "MIGRATION_SAVEVM_H", "OTHER_H")
    result = generate(series, Tree(MemoryFiles(render(lost))))[-1]
    assert [(drift.code, drift.needs) for drift in result.drifts] == [("PG358", (2,))]
