"""What the mails say of their base: upstream's commit, where that is true, else the source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from patchgen.git.repo import Repo
from patchgen.source.resolve import Base
from patchgen.source.tags import known_commit, known_tags

# What the commit of an imported source package says.
_IMPORTED = re.compile(r"^Imported from ([\w.+~-]+)\.$", re.MULTILINE)


class BaseKind(Enum):
    """How the base stands to upstream's history."""

    UPSTREAM = "upstream"
    SAME_FILES = "same-files"
    OTHER = "other"


@dataclass(frozen=True)
class Baseline:
    """The base as the mails name it.

    :ivar commit: id of upstream's commit for ``base-commit:``; empty where the base is none, or is
        not known to have the same touched files as one
    :ivar source: where the base comes from, in words that hold on any machine
    """

    kind: BaseKind
    commit: str
    source: str


def baseline(base: Base, touched: Sequence[str], upstream: str) -> Baseline:
    """How *base* is named.

    A commit of upstream's is named if it is the base, or if all *touched* files have the same
    blobs (or are not there) in both, so that the mails apply to it as they do to the base.

    :param touched: paths that the patches touch
    :param upstream: URL of upstream's git
    """
    source = _source(base)
    if known_commit(base.commit) or base.origin == "upstream" or _followed(base, upstream):
        return Baseline(BaseKind.UPSTREAM, base.commit, source)
    tags = known_tags()
    release = tags.get(base.tag) or tags.get(f"v{base.version}")
    # A partial clone must not fetch for this: what is not at hand is not compared.
    repo = Repo(base.repo.git_dir, {**base.repo.env, "GIT_NO_LAZY_FETCH": "1"})
    if release and release.commit and repo.commit_id(release.commit):
        mine, theirs = (_blobs(repo, one, touched) for one in (base.commit, release.commit))
        if mine is not None and mine == theirs:
            return Baseline(BaseKind.SAME_FILES, release.commit, source)
    return Baseline(BaseKind.OTHER, "", source)


def _source(base: Base) -> str:
    """Where the base comes from; a path of this machine says nothing to a reader."""
    body = base.repo.git("log", "-1", "--format=%b", base.commit).stdout.decode("utf-8", "replace")
    archive = _IMPORTED.search(body)
    if archive:
        return f"the distribution's {archive[1]}"
    if base.origin == "upstream":
        return "upstream's git"
    if base.origin == "directory":
        return "a directory of sources without history"
    return "the sender's repository"


def _followed(base: Base, upstream: str) -> bool:
    """Whether a branch of upstream's, as the repository last saw it, holds the base."""
    remotes = base.repo.git("config", "--get-regexp", r"^remote\..*\.url$", check=False)
    for line in remotes.stdout.decode("utf-8", "replace").splitlines():
        name, _, url = line.partition(" ")
        if url.removesuffix(".git") == upstream.removesuffix(".git"):
            remote = name.removeprefix("remote.").removesuffix(".url")
            words = ("for-each-ref", "--count=1", f"--contains={base.commit}")
            if base.repo.git(*words, f"refs/remotes/{remote}/", check=False).stdout.strip():
                return True
    return False


def _blobs(repo: Repo, commit: str, paths: Sequence[str]) -> frozenset[bytes] | None:
    """Mode, id and path of those files that are there; ``None`` if that cannot be read."""
    done = repo.git("ls-tree", "-r", "-z", commit, "--", *sorted(set(paths)), check=False)
    return frozenset(done.stdout.split(b"\0")) if done.returncode == 0 else None
