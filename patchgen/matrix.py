"""Patch by tag: the series tried on many trees at once, without a commit and without a checkout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from patchgen.engine.generate import Drift, Failure, PatchResult, attempt_each
from patchgen.engine.series import Series
from patchgen.engine.tree import Tree
from patchgen.errors import InternalError, PatchgenError
from patchgen.git.objects import CommitFiles, ObjectReader
from patchgen.git.repo import Repo
from patchgen.pins import Pin, PinState, compare_files, files_digest
from patchgen.source.pick import Missing
from patchgen.source.resolve import Base


class CellState(Enum):
    """What became of a patch on a tag (DESIGN's contract)."""

    APPLIED = "applied"
    ADAPTED = "adapted"
    ALREADY_THERE = "already-there"
    DRIFTED = "drifted"
    ERROR = "error"


@dataclass(frozen=True)
class CellError:
    """Why a patch could not be tried at all."""

    code: str
    message: str
    fix: str


@dataclass(frozen=True)
class Cell:
    """One patch on one tag.

    :ivar patch: the patch's number
    :ivar files: paths that it changes or creates, sorted
    :ivar already: its edits, by number, that were there already
    :ivar by_text: its edits, by number, whose anchor needed its text form
    :ivar error: set if the state is ``error``
    """

    tag: str
    patch: int
    state: CellState
    files: tuple[str, ...] = ()
    already: tuple[int, ...] = ()
    by_text: tuple[int, ...] = ()
    drifts: tuple[Drift, ...] = ()
    error: CellError | None = None

    @property
    def waits(self) -> bool:
        """Whether it drifted for the lack of earlier patches alone."""
        return bool(self.drifts) and all(drift.needs for drift in self.drifts)


@dataclass(frozen=True)
class TagRecord:
    """One tag; all but its name is empty where its sources could not be had.

    :ivar base, tree: ids of the commit and of its tree
    :ivar origin, place: where it was found, as :class:`patchgen.source.resolve.Base` says it
    :ivar files: digest over what the series touches, as the pins have it; empty if a patch does
        not fit
    :ivar pin: how that compares with the pin; ``unknown`` for a part of the series
    """

    tag: str
    version: str = ""
    base: str = ""
    tree: str = ""
    origin: str = ""
    place: str = ""
    files: str = ""
    pin: PinState = PinState.UNKNOWN


@dataclass(frozen=True)
class TriedPatch:
    """One patch: a row of the matrix."""

    number: int
    name: str
    subject: str


@dataclass(frozen=True)
class MatrixRecord:
    """The result of ``matrix``.

    :ivar series: digest of the series as it was tried
    :ivar tags: in the order asked for; a pattern's by release
    :ivar cells: by tag, then by patch
    """

    series: str
    patches: tuple[TriedPatch, ...]
    tags: tuple[TagRecord, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Task:
    """One tree to try the series on; *name* is for the progress."""

    repo: Repo
    commit: str
    name: str


@dataclass(frozen=True)
class Outcome:
    """What one tree gave: cells without their tag, and the digest over the touched files."""

    cells: tuple[Cell, ...]
    files: str = ""


class Prober:
    """Tries the series on one tree after the other, with one git process for each repository."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self._paths = ["VERSION", *series.paths()]
        self._readers: dict[str, ObjectReader] = {}

    def close(self) -> None:
        """End the git processes."""
        for reader in self._readers.values():
            reader.close()

    def probe(self, task: Task) -> Outcome:
        """Try all patches on one tree. What goes wrong with a patch is in its cell."""
        try:
            return self._probe(task)
        except Exception as exc:
            return broken(self.series, exc)

    def _probe(self, task: Task) -> Outcome:
        reader = self._readers.setdefault(str(task.repo.git_dir), ObjectReader(task.repo))
        files = CommitFiles(task.repo, task.commit, reader)
        files.prefetch(self._paths)
        files.require(files.modes(self._paths))
        tree = Tree(files)
        cells = tuple(_cell(outcome) for outcome in attempt_each(self.series, tree))
        fits = all(cell.state not in (CellState.DRIFTED, CellState.ERROR) for cell in cells)
        return Outcome(cells, files_digest(tree.edits) if fits else "")


def _cell(outcome: PatchResult | Failure) -> Cell:
    if isinstance(outcome, Failure):
        return Cell("", outcome.number, CellState.ERROR, error=_error(outcome.error))
    return Cell(
        "",
        outcome.number,
        CellState(outcome.state.value),
        tuple(sorted(outcome.files)),
        outcome.already,
        outcome.by_text,
        outcome.drifts,
    )


def _error(exc: Exception) -> CellError:
    if not isinstance(exc, PatchgenError):
        said = f"{type(exc).__name__}: {exc}".splitlines()[0]
        exc = InternalError(said, "please report it with the tag")
    return CellError(exc.code, exc.message, exc.fix)


def broken(series: Series, exc: Exception) -> Outcome:
    """The outcome of a tree that could not be looked at."""
    error = _error(exc)
    return Outcome(
        tuple(Cell("", entry.number, CellState.ERROR, error=error) for entry in series.entries)
    )


def tasks_of(bases: Sequence[Base | Missing]) -> dict[str, Task]:
    """Base tree id -> what is to be done; names of one tree are tried once."""
    tasks: dict[str, Task] = {}
    for base in bases:
        if isinstance(base, Base):
            tasks.setdefault(base.tree, Task(base.repo, base.commit, base.tag))
    return tasks


def matrix_of(
    series: Series,
    bases: Sequence[Base | Missing],
    outcomes: Mapping[str, Outcome],
    pins: Mapping[str, Pin],
    whole: bool,
) -> MatrixRecord:
    """The record of outcomes by base tree.

    :param whole: the series is not cut short, so the digests can be compared with the pins
    """
    tags: list[TagRecord] = []
    cells: list[Cell] = []
    for base in bases:
        if isinstance(base, Missing):
            outcome = broken(series, base.error)
            tags.append(TagRecord(base.tag))
        else:
            outcome = outcomes[base.tree]
            tags.append(_tag_record(base, outcome, pins if whole else {}))
        cells.extend(replace(cell, tag=base.tag) for cell in outcome.cells)
    patches = tuple(
        TriedPatch(entry.number, entry.name, entry.patch.subject) for entry in series.entries
    )
    return MatrixRecord(series.digest, patches, tuple(tags), tuple(cells))


def _tag_record(base: Base, outcome: Outcome, pins: Mapping[str, Pin]) -> TagRecord:
    pin = compare_files(pins, base.tree, f"v{base.version}", outcome.files)
    return TagRecord(
        base.tag,
        base.version,
        base.commit,
        base.tree,
        base.origin,
        base.place,
        outcome.files,
        pin,
    )
