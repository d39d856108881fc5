"""Commits made by ``git fast-import``: no index, no work tree, the same ids every time."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchgen.git.repo import Identity, Repo


@dataclass(frozen=True)
class NewCommit:
    """A commit to be made.

    :ivar message: whole message, subject first
    :ivar date: author and committer date, seconds since the epoch, written as ``+0000``
    :ivar files: path -> new content
    :ivar modes: path -> git mode, where it is not ``100644``
    """

    message: str
    date: int
    files: Mapping[str, bytes]
    modes: Mapping[str, str]


def _data(payload: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(payload), payload)


def _path(path: str) -> bytes:
    if path.startswith('"') or "\n" in path:
        escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return b'"' + escaped.encode("utf-8", "surrogateescape") + b'"'
    return path.encode("utf-8", "surrogateescape")


def _stream(ref: str, base: str, author: Identity, commits: Sequence[NewCommit]) -> bytes:
    """The fast-import stream. Marks: commit number n has mark n."""
    out = [b"feature done\n"]
    ident = f"{author.name} <{author.email}>"
    for mark, commit in enumerate(commits, 1):
        out.append(f"commit {ref}\nmark :{mark}\n".encode())
        who = f"{ident} {commit.date} +0000\n".encode("utf-8", "surrogateescape")
        out.append(b"author " + who + b"committer " + who)
        out.append(_data(commit.message.encode("utf-8", "surrogateescape")))
        if mark == 1:
            out.append(f"from {base}\n".encode())
        for path, content in commit.files.items():
            mode = commit.modes.get(path, "100644")
            out.append(f"M {mode} inline ".encode() + _path(path) + b"\n" + _data(content))
    out.append(b"done\n")
    return b"".join(out)


def make_commits(
    repo: Repo, ref: str, base: str, author: Identity, commits: Sequence[NewCommit]
) -> tuple[str, ...]:
    """Make *commits* on top of *base*; *ref* ends at the last of them. Returns their ids.

    *repo* is a scratch repository, so that a kill leaves nothing behind and nothing need be
    synced. The objects stay in fast-import's pack, however few: it then sees them in a next run
    and writes none again.

    :raise GitFailed: the repository cannot be written
    """
    with tempfile.TemporaryDirectory(prefix="patchgen-") as scratch:
        marks = Path(scratch) / "marks"
        repo.git(
            "-c",
            "core.fsync=none",
            "-c",
            "fastimport.unpackLimit=0",
            "fast-import",
            "--quiet",
            "--force",
            "--date-format=raw",
            f"--export-marks={marks}",
            stdin=_stream(ref, base, author, commits),
        )
        ids = {}
        for line in marks.read_text(encoding="ascii").splitlines():
            mark, _, commit = line.partition(" ")
            ids[int(mark[1:])] = commit
    return tuple(ids[n] for n in range(1, len(commits) + 1))
