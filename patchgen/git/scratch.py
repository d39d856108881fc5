"""A scratch repository: refs and objects of its own, on top of the user's."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from patchgen.errors import StorageError
from patchgen.git.repo import Repo

_SCRATCH = "patchgen-git-"
# git's own clean-up knows names with `tmp_` in front.
_PASSING = "tmp_patchgen_"
_NEW = 60.0
"""Seconds in which something may be there already and not be locked yet."""


@contextmanager
def scratch_repo(repo: Repo) -> Iterator[Repo]:
    """A bare repository that sees all of *repo*'s objects and none of its refs.

    What is made in it vanishes with it, unless :func:`publish_objects` takes it over: until then
    the user's repository is not written to at all.
    """
    common = repo.common_dir()
    _sweep(Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"))
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH))
    handle = os.open(scratch, os.O_RDONLY)
    try:
        _lock(handle)
        (scratch / "refs").mkdir()
        (scratch / "objects").mkdir()
        (scratch / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
        (scratch / "config").write_text(
            "[core]\n\trepositoryformatversion = 0\n\tbare = true\n", encoding="ascii"
        )
        if (common / "shallow").is_file():
            shutil.copyfile(common / "shallow", scratch / "shallow")
        env = {**repo.env, "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(common / "objects")}
        yield Repo(scratch, env)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(handle)


def _lock(handle: int) -> None:
    # Where a file system has no locks, nothing is swept up either.
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(left: Iterable[Path]) -> None:
    """Remove what killed runs left behind: it is ours, and nobody holds its lock."""
    for path in left:
        with suppress(OSError):
            info = path.lstat()
            if info.st_uid != os.geteuid() or time.time() - info.st_mtime < _NEW:
                continue
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                os.close(handle)


def publish_objects(scratch: Repo, repo: Repo) -> None:
    """Put the objects of a scratch repository into *repo*'s store.

    As git itself does it: each file under a temporary name first, and a pack before its index,
    without which it is not seen. The names are digests, so what is there already is the same.

    :raise StorageError: the store cannot be written
    """
    source = scratch.git_dir / "objects"
    store = repo.common_dir() / "objects"
    files = [path for path in source.rglob("*") if path.is_file()]
    _sweep((store / "pack").glob(f"{_PASSING}*"))
    try:
        with ExitStack() as copies:
            moves = []
            for path in sorted(files, key=lambda path: (path.suffix == ".idx", path)):
                target = store / path.relative_to(source)
                if not target.exists():
                    moves.append((_copy(path, target, copies), target))
            # All at once at the end: a kill in between leaves at most a pack that is not seen.
            for passing, target in moves:
                passing.replace(target)
    except OSError as exc:
        raise StorageError(
            f"{store} cannot be written: {exc.strerror}",
            "mend its permissions or make room; the repository was left as it was",
        ) from exc


def _copy(path: Path, target: Path, copies: ExitStack) -> Path:
    """A copy of *path* beside *target*, locked and there until *copies* is closed."""
    target.parent.mkdir(exist_ok=True)
    # Without a suffix: git takes every *.idx there for the index of a pack.
    passing = target.with_name(f"{_PASSING}{os.getpid()}_{target.name.replace('.', '_')}")
    copy = copies.enter_context(passing.open("xb"))
    copies.callback(passing.unlink, missing_ok=True)
    _lock(copy.fileno())
    with path.open("rb") as content:
        shutil.copyfileobj(content, copy)
    copy.flush()
    os.fsync(copy.fileno())
    passing.chmod(0o444)
    return passing


def _quoted(path: Path) -> str:
    """A path for GIT_ALTERNATE_OBJECT_DIRECTORIES, which splits at colons unless quoted."""
    text = str(path)
    if ":" not in text and not text.startswith('"'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
