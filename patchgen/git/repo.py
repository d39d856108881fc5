"""A git repository, spoken to through git's plumbing by subprocess.

GitPython costs 90 ms to import and 250 times fast-import's time to commit; this module is on the
path of every command, so it uses neither. Cloning with progress is :mod:`patchgen.source`'s.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from patchgen.errors import GitMissing, NoIdentity, NotARepo
from patchgen.git.failure import git_failure
from patchgen.signals import held

# A user's hooks, signing and paging must not run for objects that patchgen makes; advice and
# translations would make messages unpredictable.
_ENV = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0"}

# A hook or `git rebase --exec` may have started us: its repository is not the one we were told.
_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)


def git_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment for a git process: the user's, sealed, with *more* on top."""
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return {**kept, **_ENV, **more}


@contextmanager
def _as_file(data: bytes | None) -> Iterator[IO[bytes] | int]:
    """*data* as standard input: a file, since subprocess feeds pipes 4 KiB at a time."""
    if data is None:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


def _verb(args: Sequence[str]) -> tuple[str, str]:
    """The git command among the words, and the repository that they name; empty if none."""
    words = iter(args)
    where = ""
    for word in words:
        if word == "--git-dir":
            where = next(words, "")
        elif word == "-c":
            next(words, "")
        elif word == "init":
            return word, args[-1]
        elif not word.startswith("-"):
            return word, where
    return "", where


def run_git(
    args: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run git with *args*; output is bytes.

    :raise GitMissing: git is not installed
    :raise GitFailed: it exited non-zero and *check* is set
    """
    full_env = git_environment(env or {})
    try:
        with _as_file(stdin) as source:
            done = _run(["git", *args], cwd, full_env, source)
    except FileNotFoundError as exc:
        raise GitMissing("git is not installed", "install the package git") from exc
    if check and done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace")
        verb, where = _verb(args)
        raise git_failure(verb, said, done.returncode, where or str(cwd or Path.cwd()))
    return done


def _run(
    command: list[str], cwd: Path | None, env: Mapping[str, str], stdin: IO[bytes] | int
) -> subprocess.CompletedProcess[bytes]:
    """``subprocess.run``, which an interrupt while the process is being started leaves running."""
    process: subprocess.Popen[bytes] | None = None
    pipe = subprocess.PIPE
    try:
        with held():
            process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=stdin, stdout=pipe, stderr=pipe
            )
        out, err = process.communicate()
    except BaseException:
        if process is not None:
            process.kill()
        raise
    finally:
        if process is not None:
            with process:  # closes the pipes and waits
                pass
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@dataclass(frozen=True)
class Identity:
    """Who makes the commits: name and e-mail address as git knows them."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


@dataclass(frozen=True)
class Repo:
    """A repository by its git directory.

    :ivar git_dir: absolute path of the git directory (``.git`` or a bare repository)
    :ivar env: extra environment for every git call, such as a quarantine object directory
    """

    git_dir: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def discover(cls, path: Path) -> Repo:
        """The repository whose top (or git directory) *path* is.

        :raise NotARepo: *path* is neither
        """
        if not path.is_dir():
            raise NotARepo(f"{path} is no directory", "give --repo a git repository of QEMU")
        found = run_git(["rev-parse", "--absolute-git-dir", "--show-prefix"], cwd=path, check=False)
        lines = found.stdout.decode("utf-8", "surrogateescape").splitlines()
        if found.returncode != 0 or not lines:
            said = found.stderr.decode("utf-8", "replace").strip()
            if "dubious ownership" in said:
                raise NotARepo(
                    f"git refuses {path}: it belongs to another user",
                    f"git config --global --add safe.directory {path}",
                )
            raise NotARepo(f"{path} is no git repository", "give --repo a git repository of QEMU")
        if len(lines) > 1 and lines[1]:
            raise NotARepo(
                f"{path} is a directory inside a git repository, not its top",
                "give --repo the top directory of the repository",
            )
        return cls(Path(lines[0]))

    @classmethod
    def create_bare(cls, path: Path) -> Repo:
        """Make (or open) a bare repository at *path*."""
        if not (path / "HEAD").is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            run_git(["init", "--quiet", "--bare", str(path)])
        return cls(path)

    def git(
        self, *args: str, stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one git command on this repository; see :func:`run_git`."""
        return run_git(
            ["--git-dir", str(self.git_dir), *args], env=self.env, stdin=stdin, check=check
        )

    def line(self, *args: str) -> str:
        """Like :meth:`git`, for commands whose answer is one line of text."""
        return self.git(*args).stdout.decode("utf-8", "surrogateescape").strip()

    def commit_id(self, revision: str) -> str | None:
        """The full id of the commit that *revision* names here, ``None`` if there is none."""
        if not revision or revision.startswith("-"):
            return None
        done = self.git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", check=False)
        return done.stdout.decode().strip() or None

    def common_dir(self) -> Path:
        """The git directory that all work trees share; where the objects are."""
        return Path(self.line("rev-parse", "--path-format=absolute", "--git-common-dir"))

    def tree_id(self, revision: str) -> str | None:
        """The full id of the tree that *revision* has, ``None`` if there is no such revision."""
        done = self.git("rev-parse", "--verify", "--quiet", f"{revision}^{{tree}}", check=False)
        return done.stdout.decode().strip() or None

    def identity(self) -> Identity:
        """The author that git would use for a commit made here.

        :raise NoIdentity: git has none configured
        """
        done = self.git("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT", check=False)
        ident = done.stdout.decode("utf-8", "replace").strip()
        said = done.stderr.decode("utf-8", "replace").strip()
        if "invalid date" in said:
            raise NoIdentity(f"git cannot date a commit: {said}", "mend or unset GIT_AUTHOR_DATE")
        if done.returncode != 0 or "<" not in ident:
            raise NoIdentity(
                "git has no name and e-mail address for the commits",
                "git config --global user.name 'Your Name'; "
                "git config --global user.email you@example.org",
            )
        name, _, rest = ident.partition(" <")
        return Identity(name, rest.partition(">")[0])
