"""A tree generated anew, against its pin: is what this patchgen makes what it made before?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from patchgen.commits import making
from patchgen.engine.generate import PatchResult, State
from patchgen.engine.series import Series
from patchgen.errors import NoPin
from patchgen.git.repo import Identity
from patchgen.pins import Pin, files_digest, same_release
from patchgen.source.resolve import Base

_NOBODY = Identity("Nobody", "nobody@example.org")
"""Trees do not depend on who makes the commits."""


class VerifyState(Enum):
    """What came out."""

    OK = "ok"
    DIFFERS = "differs"


class PinKind(Enum):
    """Which of the two pins could be compared."""

    TREES = "trees"
    FILES = "files"


@dataclass(frozen=True)
class VerifiedPatch:
    """One patch.

    :ivar state: as on any tree; empty if the pin has the patch and the series has not
    :ivar tree: id of the tree made now; empty if no commit was made, or patches before drifted
    :ivar pinned: id of the pinned tree; empty if there is none, or the files were compared
    """

    number: int
    name: str
    state: str
    tree: str
    pinned: str


@dataclass(frozen=True)
class VerifyRecord:
    """The result of ``verify``.

    :ivar by: ``trees`` where the base tree is pinned itself; ``files`` where only the touched files
        could be compared, with the pin of the same release from another source
    :ivar first: the first patch whose tree is not the pinned one; empty if all are
    :ivar reason: what is different, one line; empty if nothing is
    """

    tag: str
    version: str
    base: str
    base_tree: str
    origin: str
    place: str
    state: VerifyState
    by: PinKind
    first: str
    reason: str
    patches: tuple[VerifiedPatch, ...]


def verify(base: Base, series: Series, pins: dict[str, Pin]) -> VerifyRecord:
    """Generate *series* on *base*, in a scratch repository, and compare with the pin.

    :raise NoPin: nothing is pinned that could be compared
    :raise GitFailed: the repository cannot be read
    """
    pin = pins.get(base.tree)
    kin = same_release(pins, f"v{base.version}")
    if pin is None and not kin:
        raise _no_pin(base, "the tree is not pinned, nor is that release from another source")
    results, trees, digest = _generate(base, series)
    drifted = next((r for r in results if r.state is State.DRIFTED), None)
    if pin is None:
        if digest not in {one.files for one in kin}:
            sources = " and ".join(sorted({one.source for one in kin}))
            raise _no_pin(
                base,
                f"the tree is not pinned, and its touched files differ from those of {sources}",
            )
        pinned: dict[str, str] = {}
    else:
        pinned = pin.trees
    patches = [
        VerifiedPatch(
            r.number, r.name, r.state.value, trees.get(r.name, ""), pinned.get(r.name, "")
        )
        for r in results
    ]
    made = {result.name for result in results}
    for name in sorted(pinned.keys() - made):
        patches.append(VerifiedPatch(_number(name), name, "", "", pinned[name]))
    first, reason = "", ""
    if pin is not None:
        patches.sort(key=lambda patch: patch.number)
        different = next((patch for patch in patches if patch.tree != patch.pinned), None)
        if different is not None:
            first, reason = different.name, _reason(different, drifted)
    return VerifyRecord(
        base.tag,
        base.version,
        base.commit,
        base.tree,
        base.origin,
        base.place,
        VerifyState.DIFFERS if first else VerifyState.OK,
        PinKind.FILES if pin is None else PinKind.TREES,
        first,
        reason,
        tuple(patches),
    )


def _number(name: str) -> int:
    return int(name[:2]) if name[:2].isdigit() else 0


def _no_pin(base: Base, why: str) -> NoPin:
    return NoPin(
        f"{base.tag} ({base.place}) cannot be verified: {why}; base tree {base.tree}",
        "`patchgen support` lists what is pinned; in a checkout, ci/pin TAG=SOURCE pins a tree",
    )


def _reason(patch: VerifiedPatch, drifted: PatchResult | None) -> str:
    if not patch.state:
        return "the pin has this patch, the series has not"
    if drifted is not None and drifted.number <= patch.number and not patch.tree:
        return f"patch {drifted.number} drifts on this tree"
    if not patch.pinned:
        return "the series has this patch, the pin has not"
    if not patch.tree:
        return "all of it is there already, so no commit is made; the pin has one"
    return f"its tree is {patch.tree}, pinned is {patch.pinned}"


def _generate(base: Base, series: Series) -> tuple[tuple[PatchResult, ...], dict[str, str], str]:
    """Results, the trees of the commits by patch, and the digest over the touched files.

    Behind a drift no more commits are made, and the digest is empty.
    """
    with making(base, series, _NOBODY, "refs/heads/verify") as work:
        made = work.committer.finish()
    trees = {name: one.tree for name, one in zip(work.committed, made, strict=True)}
    return work.results, trees, "" if work.drifted else files_digest(work.tree.edits)
