"""The series on a tree: each patch's edits in order, giving new files or drifts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from patchgen.engine.canchor import defined_in
from patchgen.engine.edit import Document, all_there, apply_edit, candidates, find
from patchgen.engine.facts import Facts
from patchgen.engine.fragment import render
from patchgen.engine.listanchor import defined_by
from patchgen.engine.series import Entry, Series, text_of, values
from patchgen.engine.site import Candidate, DriftKind, Miss, squeeze
from patchgen.engine.spec import At, Edit, Files
from patchgen.engine.tree import Tree


class State(Enum):
    """What became of a patch on a tree (DESIGN's contract for ``matrix`` and ``apply``)."""

    APPLIED = "applied"
    ADAPTED = "adapted"
    ALREADY_THERE = "already-there"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class Drift:
    """An edit that does not fit this tree.

    :ivar code: stable, ``PG351`` to ``PG359``
    :ivar edit: the edit's number in the patch, from 1
    :ivar candidates: nearest names in this tree, best first
    :ivar needs: numbers of drifted patches that would have brought the anchor
    """

    code: str
    patch: int
    edit: int
    why: str
    file: str
    anchor: str
    reason: str
    candidates: tuple[Candidate, ...] = ()
    needs: tuple[int, ...] = ()


@dataclass(frozen=True)
class PatchResult:
    """One patch on one tree.

    :ivar files: path -> new content; empty where nothing changed
    :ivar by_text: edits (numbers) whose anchor needed its text form
    """

    number: int
    name: str
    subject: str
    state: State
    files: Mapping[str, bytes] = field(repr=False)
    drifts: tuple[Drift, ...] = ()
    already: tuple[int, ...] = ()
    by_text: tuple[int, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A patch that could not be tried: the error is the series' or the repository's, or a bug."""

    number: int
    error: Exception


def generate(series: Series, tree: Tree) -> tuple[PatchResult, ...]:
    """All patches on *tree*; see :func:`generate_each`."""
    return tuple(generate_each(series, tree))


def generate_each(series: Series, tree: Tree) -> Iterator[PatchResult]:
    """The patches on *tree* one by one; it is left with the edits of those that applied.

    A patch that drifts changes nothing; those behind it are tried on the tree without it.

    :raise SeriesError: the series itself is wrong (an unknown fact, a bad fragment)
    """
    for outcome in attempt_each(series, tree):
        if isinstance(outcome, Failure):
            raise outcome.error
        yield outcome


def attempt_each(series: Series, tree: Tree) -> Iterator[PatchResult | Failure]:
    """Like :func:`generate_each`, for those who go on behind a patch that raised an error.

    It counts as missing then, as one that drifted does.
    """
    facts = Facts(tree, series.facts)
    documents: dict[str, Document] = {}
    lost: dict[int, Entry] = {}
    for entry in series.entries:
        outcome: PatchResult | Failure
        try:
            outcome = _PatchRun(entry, tree, facts, documents, lost).result()
        except Exception as exc:
            lost[entry.number] = entry
            outcome = Failure(entry.number, exc)
        yield outcome


class _PatchRun:
    """The edits of one patch; nothing reaches the tree before all of them fit."""

    def __init__(
        self,
        entry: Entry,
        tree: Tree,
        facts: Facts,
        documents: dict[str, Document],
        lost: dict[int, Entry],
    ) -> None:
        self._entry = entry
        self._tree = tree
        self._facts = facts
        self._kept = documents
        self._lost = lost
        self._open: dict[str, Document] = {}
        self._created: dict[str, bytes] = {}
        self._already: list[int] = []
        self._by_text: list[int] = []
        self._drifts: list[Drift] = []
        self._done = 0

    def result(self) -> PatchResult:
        for index, edit in enumerate(self._entry.patch.edit, 1):
            self._run(index, edit)
        if self._drifts:
            self._lost[self._entry.number] = self._entry
            return self._outcome(State.DRIFTED, {})
        files = dict(self._created)
        for path, document in self._open.items():
            before = self._tree.read(path)
            text = _with_ends_of(before, document.text)
            if text != before:
                files[path] = text
        self._tree.edits.update(files)
        self._kept.update({path: self._open[path] for path in files if path in self._open})
        if not self._already:
            state = State.APPLIED
        else:
            state = State.ADAPTED if self._done else State.ALREADY_THERE
        return self._outcome(state, files)

    def _outcome(self, state: State, files: Mapping[str, bytes]) -> PatchResult:
        return PatchResult(
            self._entry.number,
            self._entry.name,
            self._entry.patch.subject,
            state,
            files,
            tuple(self._drifts),
            tuple(self._already),
            tuple(self._by_text),
        )

    def _run(self, index: int, edit: Edit) -> None:
        where = f"{self._entry.name}, edit {index}"
        path = _spelled(edit)
        try:
            if edit.when is not None and not self._facts.holds(edit.when):
                return
            if edit.create is not None:
                there = [self._create(edit, self._path(edit), where)]
            else:
                there = []
                for path in self._paths(edit):
                    there.append(self._apply(index, edit, path, where))
        except Miss as miss:
            self._drifts.append(self._drift(index, edit, path, miss))
            return
        if all(there):
            self._already.append(index)
        elif any(there):
            reason = f"{sum(there)} of {len(there)} files have it already"
            partly = Miss(DriftKind.PARTLY_THERE, reason)
            self._drifts.append(self._drift(index, edit, path, partly))
        else:
            self._done += 1

    def _apply(self, index: int, edit: Edit, path: str, where: str) -> bool:
        """Make an edit in one file; true if it was there already."""
        templates = tuple(text_of(v, self._entry.fragments, where) for v in values(edit))
        placed = apply_edit(self._document(path), edit, templates, self._facts, where)
        self._open[path] = placed.document
        if placed.by_text and index not in self._by_text:
            self._by_text.append(index)
        return placed.there

    def _create(self, edit: Edit, path: str, where: str) -> bool:
        """Create a file; true if it is there, with all that it is created with."""
        template = text_of(edit.create or "", self._entry.fragments, where)
        content = render(template, self._facts, where)
        present = self._tree.read(path)
        if present is None:
            self._created[path] = content
            return False
        names = tuple(defined_in(content)) if path.endswith((".c", ".h")) else ()
        if present == content or all_there(self._document(path), names):
            return True
        raise Miss(DriftKind.PARTLY_THERE, f"{path} exists with other content")

    def _document(self, path: str) -> Document:
        if path not in self._open:
            text = self._created.get(path) or self._tree.read(path)
            if text is None:
                raise Miss(DriftKind.FILE_MISSING, f"{path} is not in this tree")
            text = _unix_ends(text)
            kept = self._kept.get(path)
            self._open[path] = kept if kept and kept.text == text else Document(path, text)
        return self._open[path]

    def _paths(self, edit: Edit) -> tuple[str, ...]:
        if isinstance(edit.file, Files) and edit.file.each:
            return edit.file.each
        return (self._path(edit),)

    def _path(self, edit: Edit) -> str:
        if isinstance(edit.file, str):
            return edit.file
        if isinstance(edit.file, Files):
            return self._holder(edit.file)
        there = [p for p in edit.file if p in self._created or self._tree.exists(p)]
        if len(there) == 1:
            return there[0]
        if not there:
            raise Miss(DriftKind.FILE_MISSING, f"none of {', '.join(edit.file)} is in this tree")
        raise Miss(DriftKind.FILE_AMBIGUOUS, f"{' and '.join(there)} are both in this tree")

    def _holder(self, file: Files) -> str:
        kind, _, name = file.holding.partition(" ")
        at = At(**{kind: name})  # type: ignore[arg-type]
        word = name.encode()

        def holds(path: str) -> bool:
            data = self._tree.read(path)
            return data is not None and word in data and bool(find(self._document(path), at))

        there = [path for path in file.among if holds(path)]
        # A call is made in many places; only a definition tells where its file has gone.
        if not there and kind != "call":
            there = [path for path in self._tree.grep(name) if holds(path)]
        if len(there) == 1:
            return there[0]
        if not there:
            near = [
                candidate
                for path in file.among
                if path in self._created or self._tree.exists(path)
                for candidate in candidates(self._document(path), at)
            ]
            raise Miss(
                DriftKind.FILE_MISSING,
                f"no file of this tree holds {file.holding}",
                tuple(sorted(near, key=lambda candidate: -candidate.score)[:3]),
            )
        raise Miss(DriftKind.FILE_AMBIGUOUS, f"{file.holding} is in {' and '.join(there)}")

    def _drift(self, index: int, edit: Edit, path: str, miss: Miss) -> Drift:
        needs = self._needed(edit, path) if miss.kind is not DriftKind.AMBIGUOUS else ()
        return Drift(
            (DriftKind.NEEDS if needs else miss.kind).value,
            self._entry.number,
            index,
            edit.why,
            path,
            str(edit.at) if edit.at else "",
            miss.reason,
            miss.candidates,
            needs,
        )

    def _needed(self, edit: Edit, path: str) -> tuple[int, ...]:
        """Drifted patches that would create the file, or that would bring what the anchor names."""
        base = self._tree.read(path)
        needs: set[int] = set()
        if base is None:
            needs.update(n for n, lost in self._lost.items() if path in _created_by(lost))
        at = edit.at
        wanted = at.name if at and not (base and at.name.encode() in base) else ""
        if wanted:
            needs.update(
                n for n, lost in self._lost.items() if wanted in _defined_by(lost, edit, path)
            )
        elif at is not None and at.leaf and squeeze(at.leaf) not in squeeze(base or b""):
            wanted = at.leaf
        if wanted and not needs:
            needs.update(n for n, lost in self._lost.items() if _says(lost, wanted, edit, path))
        return tuple(sorted(needs))


def _has_crlf(text: bytes) -> bool:
    """Whether every line ends in CR LF; where only some do, the bytes are taken as they are."""
    return b"\r\n" in text and text.count(b"\r\n") == text.count(b"\n")


def _unix_ends(text: bytes) -> bytes:
    """The text as anchors and fragments know it."""
    return text.replace(b"\r\n", b"\n") if _has_crlf(text) else text


def _with_ends_of(before: bytes | None, text: bytes) -> bytes:
    """*text* with the line ends that its file had before."""
    return text.replace(b"\n", b"\r\n") if before and _has_crlf(before) else text


def _texts(entry: Entry, edit: Edit, path: str) -> list[str]:
    """The texts that a patch puts into the file of *edit*, or into one that it looks for."""
    edits = [
        other
        for other in entry.patch.edit
        if not other.paths or path in other.paths or other.file == edit.file
    ]
    return [text_of(v, entry.fragments, entry.name) for other in edits for v in values(other)]


def _created_by(entry: Entry) -> set[str]:
    return {_spelled(edit) for edit in entry.patch.edit if edit.create is not None}


def _defined_by(entry: Entry, edit: Edit, path: str) -> set[str]:
    """Names of what a patch defines at the top of the file of *edit*."""
    return {name for text in _texts(entry, edit, path) for name in _definitions(text.encode())}


@lru_cache(maxsize=256)
def _definitions(text: bytes) -> tuple[str, ...]:
    listed = (name for kind in ("qapi", "hx", "trace") for name in defined_by(kind, text))
    return (*(name for _, name in defined_in(text)), *listed)


def _says(entry: Entry, name: str, edit: Edit, path: str) -> bool:
    """Whether a patch would put *name*, not as a part of a longer word, there, too."""
    word = re.compile(rf"(?<!\w){re.escape(squeeze(name))}(?!\w)")
    return any(word.search(squeeze(text)) for text in _texts(entry, edit, path))


def _spelled(edit: Edit) -> str:
    """The edit's file as the series file says it, for reports before it is known."""
    if isinstance(edit.file, str):
        return edit.file
    if isinstance(edit.file, Files):
        return " and ".join(edit.file.each) or f"(holding {edit.file.holding})"
    return " or ".join(edit.file)
