"""What became of the patches since another version, or between two tags: git's range-diff."""

from __future__ import annotations

import re
from dataclasses import dataclass

from patchgen.branch import BranchRecord, Wish, is_ours, make_branch
from patchgen.commits import TRAILER, Credit
from patchgen.config import Config
from patchgen.engine.series import Series
from patchgen.errors import DriftError, UnknownVersion
from patchgen.git.repo import Repo
from patchgen.mails import sealed_environment
from patchgen.source.resolve import Base, resolve
from patchgen.ui import Ui

_VERSION = re.compile(r"v?([1-9]\d{0,2})")


@dataclass(frozen=True)
class Old:
    """What is compared with.

    :ivar repo: holds the commits ``base..head``
    :ivar title: what it is, for the reader of the cover letter
    """

    repo: Repo
    base: str
    head: str
    title: str


def version_ref(tag: str, version: int) -> str:
    """The ref that keeps the commits of an export."""
    return f"refs/patchgen/export/{tag}/v{version}"


def keep_version(base: Base, record: BranchRecord, version: int) -> None:
    """Remember what was exported as *version*, to be compared with later."""
    ref = version_ref(base.tag, version)
    if base.repo.git("check-ref-format", ref, check=False).returncode == 0:
        base.repo.git("update-ref", "-m", "patchgen export", ref, record.head)


def find_old(
    old: str,
    base: Base,
    series: Series,
    credit: Credit,
    where: tuple[str | None, str | None],
    config: Config,
    ui: Ui,
) -> Old:
    """The commits that *old* means.

    :param old: a version exported before (``1``, ``v1``), a branch or commit of the series, or a
        QEMU tag, on which the series is generated then
    :param where: ``--repo`` and ``--source``
    :raise UnknownVersion: no such version of this tag was exported from this repository
    :raise UnknownTag: there is nothing of that name
    :raise DriftError: the series does not fit the tag
    """
    repo = base.repo
    version = _VERSION.fullmatch(old)
    if version:
        head = repo.commit_id(version_ref(base.tag, int(version[1])))
        if head is None:
            raise UnknownVersion(
                f"no version {version[1]} of {base.tag} was exported from this repository",
                f"export it with -v {version[1]} first, or give --range-diff a branch or a tag",
            )
        return Old(repo, _below(repo, head), head, f"v{version[1]}")
    head = repo.commit_id(old)
    if head and is_ours(repo, head):
        return Old(repo, _below(repo, head), head, old)
    other = resolve(old, repo=where[0], source=where[1], config=config, ui=ui)
    made = make_branch(other, series, Wish(private=True, credit=credit))
    if made.drifts:
        numbers = sorted({drift.patch for drift in made.drifts})
        raise DriftError(
            f"patches {', '.join(map(str, numbers))} do not fit {old}, so there is no range-diff",
            f"see `patchgen apply {old} --dry-run`, or leave out --range-diff",
        )
    return Old(other.repo, made.base, made.head, f"the same series on {old}")


def _below(repo: Repo, head: str) -> str:
    """The commit below the first of the series that ends at *head*."""
    log = repo.git(
        "log", "--max-count=99", "--first-parent",
        f"--format=%H %P %(trailers:key={TRAILER},valueonly,separator=%x20)", head,
    ).stdout.decode("utf-8", "replace")  # fmt: skip
    below = head
    for line in log.splitlines():
        words = line.split()
        if len(words) < 3 or re.fullmatch("[0-9a-f]{40,}", words[2]):
            break
        below = words[1]
    return below


def range_diff(old: Old, base: Base, record: BranchRecord, scratch: Repo) -> str:
    """git's text, under a line that says what is compared; the same on every machine."""
    stores = [scratch.env.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "")]
    if old.repo.common_dir() != base.repo.common_dir():
        stores.append(f'"{old.repo.common_dir() / "objects"}"')
    env = {
        **scratch.env,
        **sealed_environment(base.repo.identity(), base.date),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(store for store in stores if store),
    }
    done = Repo(scratch.git_dir, env).git(
        "-c", "core.abbrev=12", "range-diff", "--no-color", "--creation-factor=95",
        f"{old.base}..{old.head}", f"{record.base}..{record.head}",
    )  # fmt: skip
    text = done.stdout.decode("utf-8", "replace").rstrip("\n")
    return f"Range-diff against {old.title}:\n{text}\n"
