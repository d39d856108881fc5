"""Files of a commit, through one ``git cat-file --batch`` process."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Self

from patchgen.errors import GitFailed, ObjectsMissing
from patchgen.git.failure import git_failure
from patchgen.git.repo import Repo, git_environment

_COMPLAINT = re.compile(r"^(?:error|fatal): ", re.MULTILINE)


class ObjectReader:
    """One ``git cat-file --batch`` process, started by the first question and kept.

    128 files cost 21 ms, against 242 ms with one process each.
    """

    def __init__(self, repo: Repo) -> None:
        self.repo = repo
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the process; the next question starts another."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):
                        pipe.close()
            process.kill()  # it only reads, and may be waiting for a disk or a server
            process.wait()

    def blobs(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of blobs by name (``COMMIT:PATH``), ``None`` where there is none.

        :raise GitFailed: git ended, or answered something else
        """
        if len(names) == 1:
            self._ask(names)
            return [self._answer(names[0])]
        # A thread feeds the questions, as git may answer before it has read them all.
        ask = Thread(target=self._ask, args=(names,), daemon=True)
        self._running()
        ask.start()
        found = [self._answer(name) for name in names]
        ask.join()
        return found

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                ["git", "--git-dir", str(self.repo.git_dir), "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=git_environment(self.repo.env),
            )
        return self._process

    def _ask(self, names: Iterable[str]) -> None:
        stdin = self._running().stdin
        assert stdin is not None
        # Should git have ended, its missing answer tells, and the pipe may be closed by then.
        with suppress(BrokenPipeError, ValueError):
            stdin.write("".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
            stdin.flush()

    def _answer(self, name: str) -> bytes | None:
        stdout = self._running().stdout
        assert stdout is not None
        head = stdout.readline().split()
        if len(head) == 3 and head[1] == b"blob":
            data = stdout.read(int(head[2]))
            stdout.read(1)
            return data
        if len(head) == 3:
            stdout.read(int(head[2]) + 1)
            return None
        if head[-1:] == [b"missing"]:
            return None
        self.close()
        raise _unreadable(name)


def _unreadable(name: str) -> GitFailed:
    commit, _, path = name.partition(":")
    return ObjectsMissing(
        f"git cannot read {path} of {commit[:12]}",
        "the repository is damaged or partial: run git fsck, or fetch the missing objects",
    )


class CommitFiles:
    """The files of one commit, read when asked for and kept; a :class:`patchgen.engine.tree.Files`.

    :param reader: one that is used for other commits as well; without it, one of its own
    """

    def __init__(self, repo: Repo, commit: str, reader: ObjectReader | None = None) -> None:
        self._repo = repo
        self._commit = commit
        self._known: dict[str, bytes | None] = {}
        self._reader = reader or ObjectReader(repo)
        self._own = reader is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the reader's process, unless others use it."""
        if self._own:
            self._reader.close()

    def read(self, path: str) -> bytes | None:
        """The file's content, ``None`` if the commit has no such file.

        :raise GitFailed: git cannot read
        """
        if path not in self._known:
            self._known[path] = self._reader.blobs([f"{self._commit}:{path}"])[0]
        return self._known[path]

    def prefetch(self, paths: Iterable[str]) -> None:
        """Read all of *paths* at once: one wait for git instead of one for each."""
        wanted = [path for path in paths if path not in self._known]
        if wanted:
            found = self._reader.blobs([f"{self._commit}:{path}" for path in wanted])
            self._known.update(zip(wanted, found, strict=True))

    def require(self, modes: Mapping[str, str]) -> None:
        """Make sure that the files which the commit lists can be read.

        git says the same of a file that is not in the commit and of one whose content is not in
        the repository (a partial clone, a damaged one): it would be taken for drift.

        :param modes: what :meth:`modes` said
        :raise GitFailed: a file is listed, and its content is missing
        """
        for path, mode in modes.items():
            if mode.startswith("100") and self.read(path) is None:
                raise _unreadable(f"{self._commit}:{path}")

    def grep(self, word: str) -> tuple[str, ...]:
        """Paths of the C files that hold *word* as a whole word, sorted.

        :raise GitFailed: git could not look into all of them
        """
        args = ("grep", "-l", "-z", "-w", "-F", "-e", word, self._commit, "--", "*.c", "*.h")
        done = self._repo.git(*args, check=False)
        said = done.stderr.decode("utf-8", "replace")
        # 1 is what git returns if it found nothing, and if it could not read a file as well.
        if done.returncode > 1 or done.returncode < 0 or _COMPLAINT.search(said):
            raise git_failure("grep", said, done.returncode, str(self._repo.git_dir))
        prefix = f"{self._commit}:"
        found = done.stdout.decode("utf-8", "surrogateescape").split("\0")
        return tuple(sorted(line.removeprefix(prefix) for line in found if line))

    def modes(self, paths: list[str]) -> dict[str, str]:
        """Path -> git mode (``100644``, ``100755``) of those *paths* that the commit has."""
        if not paths:
            return {}
        done = self._repo.git("ls-tree", "-z", self._commit, "--", *paths)
        found = {}
        for row in done.stdout.decode("utf-8", "surrogateescape").split("\0"):
            if row:
                meta, _, path = row.partition("\t")
                found[path] = meta.split()[0]
        return found
