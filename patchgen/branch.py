"""The branch of the series: made from a base and a series, kept apart from what users made."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from patchgen.commits import TRAILER, CommitMaker, Credit, FileStat, MadeCommit, making
from patchgen.engine.generate import Drift, PatchResult, State, generate
from patchgen.engine.series import Series
from patchgen.engine.tree import Tree
from patchgen.errors import (
    BranchCheckedOut,
    DriftError,
    ForeignBranch,
    UsageError,
    WorktreeInUse,
    WouldLoseWork,
)
from patchgen.git.fastimport import FastImport
from patchgen.git.objects import CommitFiles
from patchgen.git.repo import Identity, Repo
from patchgen.git.scratch import publish_objects, scratch_repo
from patchgen.paths import data_dir
from patchgen.pins import PinState, compare, load_pins
from patchgen.source.resolve import Base
from patchgen.ui import Ui


class BranchState(Enum):
    """What became of the branch."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    DRY_RUN = "dry-run"
    NOT_WRITTEN = "not-written"


@dataclass(frozen=True)
class PatchRecord:
    """One patch of the branch.

    :ivar commit, tree: ids, empty where no commit was made
    :ivar files: the diff's files with their line counts
    """

    number: int
    name: str
    subject: str
    state: State
    commit: str = ""
    tree: str = ""
    files: tuple[FileStat, ...] = ()
    drifts: tuple[Drift, ...] = ()
    by_text: tuple[int, ...] = ()


@dataclass(frozen=True)
class BranchRecord:
    """The result of ``apply``.

    :ivar base: id of the commit below the first patch
    :ivar head, tree: the last commit and its tree; the base's where there is no commit
    :ivar previous: what the branch was before, empty if it is new
    :ivar pin: how the trees compare with those pinned for this base tree
    :ivar diff: the whole diff, where it was asked for
    """

    tag: str
    version: str
    repo: str
    origin: str
    place: str
    branch: str
    state: BranchState
    base: str
    head: str
    tree: str
    previous: str
    patches: tuple[PatchRecord, ...]
    worktree: str = ""
    pin: PinState = PinState.UNKNOWN
    diff: str = field(default="", repr=False)

    @property
    def drifts(self) -> tuple[Drift, ...]:
        """All drifts of all patches."""
        return tuple(drift for patch in self.patches for drift in patch.drifts)


@dataclass(frozen=True)
class Wish:
    """What a user wants of the branch.

    :ivar branch: its name without ``refs/heads/``; empty means ``cpr/TAG``, or ``cpr/`` and the
        first digits of the commit's id where TAG cannot be in a name
    :ivar worktree: directory to check it out in, or ``None``
    :ivar private: no branch of the user's, but a ref that only patchgen uses
    :ivar credit: who is named in the commits; its sign-off counts as *signoff* does
    """

    branch: str = ""
    worktree: Path | None = None
    signoff: bool = False
    force: bool = False
    dry_run: bool = False
    diff: bool = False
    private: bool = False
    credit: Credit = field(default_factory=Credit)


def make_branch(base: Base, series: Series, wish: Wish) -> BranchRecord:
    """Generate the series on *base* and set the branch, unless a patch drifted.

    :raise NoIdentity: git knows no author
    :raise ForeignBranch: the branch holds what patchgen did not make, and ``force`` is not set
    :raise BranchCheckedOut: the branch to be replaced is checked out
    :raise WorktreeInUse: the directory asked for exists
    :raise GitFailed: the repository cannot be written
    """
    repo = base.repo
    # Not all that names a commit can be a part of a name: HEAD~1.
    tag = base.tag if _good_name(repo, f"cpr/{base.tag}") else base.commit[:12]
    branch = wish.branch or f"cpr/{tag}"
    if not _good_name(repo, branch):
        raise UsageError(f"{branch!r} is no name for a branch", "choose another with --branch")
    ref = f"refs/patchgen/build/{tag}" if wish.private else f"refs/heads/{branch}"
    place = _worktree_place(repo, ref, wish.worktree) if wish.worktree else None
    author = repo.identity()
    credit = replace(wish.credit, signoff=wish.signoff or wish.credit.signoff)
    with making(base, series, author, ref, credit) as work:
        if work.drifted:
            patches = tuple(_patch_record(result) for result in work.results)
            return _record(base, branch, BranchState.NOT_WRITTEN, patches, "", base.commit)
        made = work.committer.finish()
        head = made[-1].commit if made else base.commit
        diff = _diff(work.scratch, base.commit, head) if wish.diff else ""
        if not wish.dry_run:
            publish_objects(work.scratch, repo)
    patches = _patch_records(work.results, made)
    previous = repo.commit_id(ref) or ""
    if wish.dry_run:
        return _record(base, branch, BranchState.DRY_RUN, patches, previous, head, diff)
    state = _set_branch(repo, ref, previous, head, wish.force or wish.private)
    where = _check_out(repo, ref, place) if place else ""
    return _record(base, branch, state, patches, previous, head, diff, where)


def require_branch(
    base: Base, series: Series, whole: bool, ui: Ui, credit: Credit | None = None
) -> BranchRecord:
    """The commits of the series for a step that needs them; the branch is made if it is missing.

    A branch of that name that has the same tree, whoever made it, or that may not be replaced, is
    left alone, and so is the branch when only a part of the series is wanted (*whole* is false): a
    private ref holds the commits then.

    :raise DriftError: a patch drifted
    """
    record = make_branch(base, series, Wish(private=True, credit=credit or Credit()))
    if record.drifts:
        numbers = sorted({drift.patch for drift in record.drifts})
        raise DriftError(
            f"patches {', '.join(map(str, numbers))} do not fit {base.tag}",
            f"see `patchgen apply {base.tag} --dry-run`; --upto N takes the patches before",
        )
    ref = f"refs/heads/{record.branch}"
    if whole and base.repo.tree_id(ref) != record.tree:
        previous = base.repo.commit_id(ref) or ""
        try:
            state = _set_branch(base.repo, ref, previous, record.head, False)
        except (ForeignBranch, BranchCheckedOut) as exc:
            ui.warn(f"{exc.message}; it is left alone, the series is used without it")
        else:
            return replace(record, state=state, previous=previous)
    return record


def preview(base: Base, series: Series) -> tuple[PatchRecord, str]:
    """What the last patch of *series* becomes on *base*: its record, and git's text of the commit.

    Nothing is written. The author is a stand-in, so no identity is needed.
    """
    author = Identity("Author", "author@example.org")
    with CommitFiles(base.repo, base.commit) as files:
        results = generate(series, Tree(files))
        last = results[-1]
        if last.state in (State.DRIFTED, State.ALREADY_THERE):
            return _patch_record(last), ""
        # Patches that drifted are left out; the last is shown on the tree without them.
        fit = [(e, r) for e, r in zip(series.entries, results, strict=True) if not r.drifts]
        maker = CommitMaker(base.date, series, author, Credit(), files, {})
        commits = [maker.commit(e, r) for e, r in fit if r.state is not State.ALREADY_THERE]
    with (
        scratch_repo(base.repo) as scratch,
        closing(FastImport(scratch, "refs/heads/preview", base.commit, author)) as importer,
    ):
        made = importer.add(commits)
        shown = scratch.git("show", "--no-color", "--stat", "-p", made[-1]).stdout
    return _patch_record(last), shown.decode("utf-8", "replace")


def _good_name(repo: Repo, branch: str) -> bool:
    """Whether git takes the name; only unusual ones are worth asking git about."""
    if branch == "HEAD":
        return False  # git branch refuses it, update-ref does not
    if re.fullmatch(r"\w[\w-]*(?:[./]\w[\w-]*)*", branch, re.ASCII) and ".lock" not in branch:
        return True
    return repo.git("check-ref-format", "--branch", branch, check=False).returncode == 0


def _diff(repo: Repo, base: str, head: str) -> str:
    shown = repo.git("log", "--reverse", "--no-color", "-p", "--stat", f"{base}..{head}")
    return shown.stdout.decode("utf-8", "replace")


def _patch_record(result: PatchResult) -> PatchRecord:
    return PatchRecord(
        result.number,
        result.name,
        result.subject,
        result.state,
        drifts=result.drifts,
        by_text=result.by_text,
    )


def _patch_records(
    results: Sequence[PatchResult], made: Sequence[MadeCommit]
) -> tuple[PatchRecord, ...]:
    commits = iter(made)
    records = []
    for result in results:
        record = _patch_record(result)
        if result.state is not State.ALREADY_THERE:
            commit = next(commits)
            record = replace(record, commit=commit.commit, tree=commit.tree, files=commit.files)
        records.append(record)
    return tuple(records)


def _record(
    base: Base,
    branch: str,
    state: BranchState,
    patches: tuple[PatchRecord, ...],
    previous: str,
    head: str,
    diff: str = "",
    worktree: str = "",
) -> BranchRecord:
    made = [(patch.name, patch.tree) for patch in patches if patch.tree]
    pins = load_pins(data_dir("qemu-ref") / "pins.toml")
    return BranchRecord(
        base.tag,
        base.version,
        str(base.repo.git_dir),
        base.origin,
        base.place,
        branch,
        state,
        base.commit,
        head,
        made[-1][1] if made else base.tree,
        previous,
        patches,
        worktree,
        compare(pins, base.tree, made),
        diff,
    )


def is_ours(repo: Repo, commit: str) -> bool:
    """Whether patchgen made the commits on top of which *commit* is the last.

    Each commit of a branch of ours carries the trailer, and its author's date is its committer's
    date: git sets the latter anew when somebody amends or rebases, and a commit put on top has no
    trailer.
    """
    log = repo.git(
        "log", "--max-count=99", "--first-parent",
        f"--format=%ct %at %(trailers:key={TRAILER},valueonly,separator=%x20)", commit,
    ).stdout.decode("utf-8", "replace")  # fmt: skip
    last = 1000
    for index, line in enumerate(log.splitlines()):
        fields = line.split()
        if len(fields) < 3:
            return index > 0
        number = int(fields[2][:2]) if fields[2][:2].isdigit() else 0
        if fields[0] != fields[1] or not 0 < number < last:
            return index > 0 and last == 1
        last = number
    return True


def _set_branch(repo: Repo, ref: str, previous: str, head: str, force: bool) -> BranchState:
    """Point *ref* at *head*, if what it was may be given up and nobody moved it meanwhile."""
    name = ref.removeprefix("refs/heads/")
    if previous == head:
        return BranchState.UNCHANGED
    if previous:
        place = _checked_out(repo, ref)
        if place:
            raise BranchCheckedOut(
                f"the branch {name} is checked out in {place} and would change under it",
                f"git -C {place} checkout --detach, or choose another name with --branch",
            )
        if not force and not is_ours(repo, previous):
            raise ForeignBranch(
                f"the branch {name} exists ({previous[:12]}) and holds what patchgen did not make",
                "choose another name with --branch, or replace it with --force",
            )
    update = ("update-ref", "-m", "patchgen apply", ref, head, previous or "0" * 40)
    if repo.git(*update, check=False).returncode != 0:
        now = repo.commit_id(ref) or ""
        if now not in (previous, head):
            raise WouldLoseWork(
                f"the branch {name} was changed by somebody else meanwhile",
                "look at it, then run patchgen apply again",
            )
        if now == previous:
            # Nobody was faster: once more, for git's own words about what is wrong.
            repo.git(*update)
    return BranchState.REPLACED if previous else BranchState.CREATED


def _checked_out(repo: Repo, ref: str) -> str:
    """The work tree in which *ref* is checked out; empty if there is none."""
    listing = repo.git("worktree", "list", "--porcelain").stdout.decode("utf-8", "surrogateescape")
    place = ""
    for line in listing.splitlines():
        if line.startswith("worktree "):
            place = line.removeprefix("worktree ")
        elif line == f"branch {ref}":
            return place
    return ""


def _worktree_place(repo: Repo, ref: str, path: Path) -> Path:
    """The absolute path for the work tree: new, or one where the branch is checked out already.

    :raise WorktreeInUse: something else is there
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow links)
    taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken and _checked_out(repo, ref) != str(path):
        raise WorktreeInUse(f"{path} exists", "give --worktree a directory that does not exist yet")
    return path


def _check_out(repo: Repo, ref: str, path: Path) -> str:
    if _checked_out(repo, ref) != str(path):
        branch = ref.removeprefix("refs/heads/")
        repo.git("worktree", "add", "--quiet", str(path), branch)
    return str(path)
