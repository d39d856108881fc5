"""Commits made by one ``git fast-import``: no index, no work tree, the same ids every time."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from patchgen.git.failure import git_failure
from patchgen.git.repo import Identity, Repo, git_environment


@dataclass(frozen=True)
class NewCommit:
    """A commit to be made.

    :ivar message: whole message, subject first
    :ivar date: author and committer date, seconds since the epoch, written as ``+0000``
    :ivar files: path -> new content
    :ivar modes: path -> git mode, where it is not ``100644``
    :ivar author: where that is not who makes the commits
    """

    message: str
    date: int
    files: Mapping[str, bytes]
    modes: Mapping[str, str]
    author: Identity | None = None


def _data(payload: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(payload), payload)


def _path(path: str) -> bytes:
    if path.startswith('"') or "\n" in path:
        escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return b'"' + escaped.encode("utf-8", "surrogateescape") + b'"'
    return path.encode("utf-8", "surrogateescape")


class FastImport:
    """One ``git fast-import`` for all commits, fed as they come up.

    *repo* is a scratch repository, so that a kill leaves nothing behind and nothing need be synced.
    The objects stay in packs, however few: a next run sees them there and writes none again.

    :param ref: a ref that nobody else uses; it ends at the last commit
    :param base: id of the commit below the first
    """

    def __init__(self, repo: Repo, ref: str, base: str, author: Identity) -> None:
        self._where = str(repo.git_dir)
        self._ref = ref
        self._from = base
        self._who = f"{author.name} <{author.email}>"
        self._marks = 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close())
        answers, theirs = os.pipe()
        self._answers = os.fdopen(answers, "rb")
        try:
            self._process = subprocess.Popen(
                [
                    *("git", "--git-dir", str(repo.git_dir), "-c", "core.fsync=none"),
                    *("-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--force"),
                    *("--done", "--date-format=raw", f"--cat-blob-fd={theirs}"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=(theirs,),
                pipesize=1 << 20,  # files of 100 KB are written at one go
                env=git_environment(repo.env),
            )
        finally:
            os.close(theirs)

    def add(self, commits: Sequence[NewCommit]) -> list[str]:
        """Make *commits*, at least one, on top of the last; their ids. git can read them then.

        :raise GitFailed: the repository cannot be written
        """
        stdin = self._process.stdin
        assert stdin is not None
        try:
            for commit in commits:
                stdin.write(self._commit(commit))
            first = self._marks - len(commits) + 1
            marks = "".join(f"get-mark :{mark}\n" for mark in range(first, self._marks + 1))
            stdin.write(b"checkpoint\n" + marks.encode())
            stdin.flush()
        except BrokenPipeError:
            self._fail()
        ids = [self._answers.readline().decode("ascii").strip() for _ in commits]
        if not all(ids):
            self._fail()
        return ids

    def _commit(self, commit: NewCommit) -> bytes:
        """The stream of one commit; commit number n has mark n."""
        self._marks += 1
        author = str(commit.author or self._who)
        who, maker = (
            f"{name} {commit.date} +0000\n".encode("utf-8", "surrogateescape")
            for name in (author, self._who)
        )
        out = [f"commit {self._ref}\nmark :{self._marks}\n".encode()]
        out += [b"author " + who + b"committer " + maker]
        out += [_data(commit.message.encode("utf-8", "surrogateescape"))]
        out += [f"from {self._from}\n".encode()]
        self._from = f":{self._marks}"
        for path, content in commit.files.items():
            mode = commit.modes.get(path, "100644")
            out.append(f"M {mode} inline ".encode() + _path(path) + b"\n" + _data(content))
        return b"".join(out)

    def _fail(self) -> NoReturn:
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace")
        raise git_failure("fast-import", said, self._process.returncode, self._where)

    def kill(self) -> None:
        """End the process at once, from another thread: what waits for its answer gets none."""
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self._process.communicate(b"done\n" if self._process.poll() is None else None)
        self._answers.close()
        self._errors.close()
