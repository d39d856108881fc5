"""Errors of file systems in a user's words: what is full, read-only or in the way, and where."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from patchgen.errors import PatchgenError, StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)
_OTHERS = (
    *(
        errno.EIO,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.ENAMETOOLONG,
        errno.ESTALE,
    ),
    *(errno.EMFILE, errno.ENFILE, errno.ELOOP),
)


def storage_error(exc: OSError) -> StorageError | None:
    """What to tell of *exc*; ``None`` if it is not about a file system, and so a bug of ours."""
    if exc.errno == errno.ENOENT and "temporary directory" in str(exc.strerror):
        return StorageError(str(exc.strerror), "set TMPDIR to a directory that can be written")
    if exc.errno not in (*_FULL, *_DENIED, *_OTHERS):
        return None
    # Of a rename it is the target that is in the way.
    name = exc.filename2 or exc.filename
    where = str(name) if isinstance(name, str | Path) else full_places()
    message = f"{where}: {exc.strerror}" if where else str(exc.strerror)
    if exc.errno in _FULL:
        fix = "make room there, or set PATCHGEN_CACHE or TMPDIR to another file system"
    elif exc.errno in _DENIED:
        fix = "mend the permissions, or set PATCHGEN_CACHE or TMPDIR to what can be written"
    else:
        fix = "see what is there; if it is in the cache, remove it"
    return StorageError(message, fix)


def full_places() -> str:
    """The places without room, of those that patchgen writes to: a write does not tell its file."""
    from patchgen.paths import cache_dir

    places = []
    for name, place in (("the cache", cache_dir), ("TMPDIR", lambda: Path(tempfile.gettempdir()))):
        try:
            path = place()
            room = os.statvfs(path)
        except (OSError, PatchgenError):
            continue
        if room.f_bavail * room.f_frsize < 1 << 20:
            places.append(f"{name} {path}")
    return " and ".join(places)
