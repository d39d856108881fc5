"""The cache: one bare repository that holds every tag fetched and every release imported.

Refs (all others in it are branches that patchgen made):

- ``refs/patchgen/upstream/{tags,heads,ids}/NAME``: fetched from upstream, shallow
- ``refs/patchgen/url-DIGEST/{tags,heads,ids}/NAME``: fetched from a ``--repo URL``
- ``refs/patchgen/distro/TAG``: imported from a distribution's source package
- ``refs/patchgen/directory/DIGEST``: imported from a directory without git

Readers take no lock: git replaces refs atomically. Writers take one file lock.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchgen.errors import CacheError
from patchgen.git.repo import Repo, run_git
from patchgen.paths import cache_dir
from patchgen.ui import Ui

_TEMPORARY = "patchgen-tmp-"


def cache_path() -> Path:
    """Where the repository is, or will be.

    :raise CacheError: the cache directory cannot be made
    """
    return cache_dir() / "qemu.git"


def cached_repo() -> Repo | None:
    """The cache's repository if it exists; not a single git call.

    :raise CacheError: something is there that is no repository
    """
    path = cache_path()
    if not path.exists():
        return None
    if not (path / "HEAD").is_file() or not (path / "objects").is_dir():
        raise CacheError(
            f"{path} is no git repository", f"remove it (rm -r {path}), it is only a cache"
        )
    return Repo(path)


def open_cache() -> Repo:
    """The cache's repository, made if it is missing; to be called under the lock."""
    repo = cached_repo()
    if repo is not None:
        return repo
    path = cache_path()
    # Into place in one step, so that a killed run leaves no half repository. The user's template
    # (hooks) and default hash must not reach the cache: ids are the same everywhere.
    with temporary_directory() as scratch:
        made = scratch / "qemu.git"
        run_git(["init", "--quiet", "--bare", "--template=", "--object-format=sha1", str(made)])
        made.rename(path)
    return Repo(path)


@contextmanager
def locked(ui: Ui) -> Iterator[Repo]:
    """Hold the cache for writing; says so when another patchgen holds it, and waits.

    :raise CacheError: the lock or the repository cannot be made
    """
    from filelock import FileLock, Timeout

    lock = FileLock(str(cache_path().with_suffix(".lock")))
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            ui.step(f"waiting for another patchgen that is filling the cache ({lock.lock_file})")
            lock.acquire()
    except OSError as exc:
        raise CacheError(
            f"the cache cannot be locked: {lock.lock_file}: {exc.strerror}",
            f"remove {lock.lock_file}, or set PATCHGEN_CACHE to a directory that can be written",
        ) from exc
    try:
        _recover()
        yield open_cache()
    except BaseException:
        _recover()
        raise
    finally:
        lock.release()


def _recover() -> None:
    """Remove what a killed run left; under the lock nobody else can be using it."""
    path = cache_path()
    for left in path.parent.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)
    if not path.is_dir():
        return
    # Only what fetches and imports make: the engine writes branches without this lock, and brings
    # its packs under a name of its own.
    stale = [path / "shallow.lock", *path.glob("fast_import_crash_*")]
    for space in ("upstream", "url-*", "distro", "directory"):
        stale += path.glob(f"refs/patchgen/{space}/**/*.lock")
    for kind in ("pack", "idx", "rev"):
        stale += path.glob(f"objects/pack/tmp_{kind}_*")
    for file in stale:
        file.unlink(missing_ok=True)


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory in the cache for downloads; a later run removes it should this one be killed."""
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=cache_dir()) as name:
        yield Path(name)
