"""What was verified on which base tree, from ``qemu-ref/support.toml``.

The records are written by ``ci/record`` from what the commands said with ``--json``. Each says
when, with which patchgen and with which state of the series, so one can see which are of today's.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from patchgen.engine.series import Series
from patchgen.errors import SeriesError
from patchgen.pins import Pin
from patchgen.source.tags import known_commit, release_key


class Applied(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The series tried on the tree by ``matrix``.

    :ivar date: of the run's record
    :ivar patchgen: version of the tool
    :ivar series: :attr:`patchgen.engine.series.Series.digest`
    :ivar patches: how many there were; the others count what became of them
    :ivar files: digest over the touched files, empty where a patch did not fit
    """

    date: datetime.date
    patchgen: str
    series: str
    patches: int
    applied: int
    adapted: int
    already_there: int
    drifted: int
    files: str

    @property
    def fit(self) -> int:
        """How many patches the tree has then."""
        return self.applied + self.adapted + self.already_there


class Built(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole series compiled by ``build``.

    :ivar tree: the tree that was compiled: it tells the state of the series
    :ivar set: the feature set
    """

    date: datetime.date
    patchgen: str
    tree: str
    patches: int
    set: str


class Each(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every commit compiled by ``build --each``; *mode* is ``objects`` or ``full``."""

    date: datetime.date
    patchgen: str
    tree: str
    patches: int
    mode: str


class Checked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scenarios that the patches promise, run on the built QEMU by ``check``."""

    date: datetime.date
    patchgen: str
    tree: str
    patches: int
    passed: int
    failed: int
    skipped: int


class Verified(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that was verified on one base tree; *source* is ``git`` or ``distro``."""

    tag: str
    source: str
    applied: Applied | None = None
    built: Built | None = None
    each: Each | None = None
    checked: Checked | None = None


class Pinned(Enum):
    """Whether the trees are pinned; ``older``: those of another state of the series."""

    YES = "yes"
    NO = "no"
    OLDER = "older"


@dataclass(frozen=True)
class Row:
    """One base tree.

    :ivar current: which of the records are of the series as it is now
    """

    tag: str
    source: str
    base_tree: str
    applied: Applied | None
    built: Built | None
    each: Each | None
    checked: Checked | None
    pin: Pinned
    current: tuple[str, ...]


@dataclass(frozen=True)
class SupportRecord:
    """The result of ``support``: rows by release, and the series they are compared with."""

    series: str
    patches: int
    rows: tuple[Row, ...]


def load_support(path: Path) -> dict[str, Verified]:
    """Base tree id -> what was verified; empty where the file does not exist.

    :raise SeriesError: the file is malformed
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(data, dict[str, Verified])
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as exc:
        raise SeriesError(
            f"{path.name}: {exc}", "mend the file, or install patchgen again"
        ) from exc


def base_kind(commit: str, origin: str) -> str:
    """``git`` or ``distro``: whose tree a base is; empty if its origin does not tell.

    :param origin: as :class:`patchgen.source.resolve.Base` says it
    """
    if origin == "distro":
        return "distro"
    return "git" if known_commit(commit) or origin in ("repo", "upstream") else ""


def release_order(tag: str, source: str) -> tuple[tuple[int, ...], str, bool]:
    """What rows are sorted by: release, then git's tree before a distribution's."""
    return release_key(tag) or (0, 0, 0, 0), tag, source != "git"


def support_of(
    verified: Mapping[str, Verified], pins: Mapping[str, Pin], series: Series
) -> SupportRecord:
    """The table: what was verified, and what of it holds for *series*.

    A pinned tree without any other record has a row as well.
    """
    rows = []
    for tree in {**verified, **pins}:
        pin = pins.get(tree)
        one = verified.get(tree)
        if one is None:
            one = Verified(pins[tree].tag, pins[tree].source)
        rows.append(_row(tree, one, pin, series))
    rows.sort(key=lambda row: release_order(row.tag, row.source))
    return SupportRecord(series.digest, len(series.entries), tuple(rows))


def _row(tree: str, one: Verified, pin: Pin | None, series: Series) -> Row:
    names = {entry.name for entry in series.entries}
    current = []
    if one.applied is not None and one.applied.series == series.digest:
        current.append("applied")
    # Compiled is a tree: the last of the pinned ones, if they are of this series.
    known = pin is not None and pin.trees.keys() == names
    last = pin.trees[max(names)] if pin is not None and known and names else ""
    current += [
        kind
        for kind, record in (("built", one.built), ("each", one.each), ("checked", one.checked))
        if record is not None and record.tree == last
    ]
    if pin is None:
        state = Pinned.NO
    else:
        stale = not known or (
            "applied" in current and one.applied and one.applied.files != pin.files
        )
        state = Pinned.OLDER if stale else Pinned.YES
    return Row(
        one.tag,
        one.source,
        tree,
        one.applied,
        one.built,
        one.each,
        one.checked,
        state,
        tuple(current),
    )
