"""The directory of the mails, which may hold more.

What patchgen wrote is known by a list of digests beside the mails (:data:`LIST`, which ``sha256sum
-c`` reads). Only a file that is still as listed may be replaced or removed. Mails of another
version (``v2-…``) are not touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from patchgen.errors import ForeignFile, OutputError
from patchgen.ui import Ui

LIST = ".patchgen-sha256"
_TEMPORARY = ".patchgen-tmp-"
_FIX = "mend its permissions or make room, or give another directory with -o"


@dataclass(frozen=True)
class Written:
    """What became of the directory.

    :ivar files: names of the mails, the cover letter first, and of the mbox
    :ivar changed: those of them that were not there just so
    :ivar removed: mails of an earlier export of that version that are not in this one
    :ivar kept: such mails that somebody changed since, and mails that patchgen did not write
    """

    directory: Path
    files: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]


def look_first(directory: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Find out before long work whether *files* could be written to *directory*.

    :raise ForeignFile: a file of a mail's name is not patchgen's
    :raise OutputError: it is no directory, or cannot be read
    """
    try:
        there = next(path for path in (directory, *directory.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
        if there == directory:
            _check_foreign(directory, _listed(directory), _digests(files), force)
    except OSError as exc:
        raise OutputError(f"{directory} cannot be written: {exc.strerror}", _FIX) from exc


def write_files(directory: Path, files: Mapping[str, bytes], *, force: bool, ui: Ui) -> Written:
    """Put *files* into *directory*, which is made if it is missing.

    :param force: overwrite files that patchgen did not write
    :raise ForeignFile: a file of a mail's name is not patchgen's; nothing was written
    :raise OutputError: the directory cannot be written
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100  (resolve() would follow links)
    new = not directory.exists()
    if not new and not directory.is_dir():
        raise OutputError(f"{directory} is no directory", "give one with -o, or a new name")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone(directory, ui), _passing(directory) as passing:
            for name, content in files.items():
                (passing / name).write_bytes(content)
            written = _take_over(passing, directory, _digests(files), force)
            return Written(directory, tuple(files), *written)
    except BaseException as exc:
        if new:
            with suppress(OSError):
                directory.rmdir()  # unless something is in it
        if isinstance(exc, OSError):
            raise OutputError(f"{directory} cannot be written: {exc.strerror}", _FIX) from exc
        raise


@contextmanager
def _alone(directory: Path, ui: Ui) -> Iterator[None]:
    """Keep other exports out of the directory; the lock ends with the process."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ui.step(f"waiting for another patchgen that writes to {directory}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


@contextmanager
def _passing(directory: Path) -> Iterator[Path]:
    """A directory inside *directory*, so that a rename puts a file in place, and room is known."""
    for left in directory.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=directory) as name:
        yield Path(name)


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _version(name: str) -> str:
    """What the names of one version's files begin with: ``v2-``, or nothing for the first."""
    found = re.match(r"v\d+-", name)
    return found[0] if found else ""


def _digest(path: Path) -> str:
    """The file's SHA-256; empty if it is no file that can be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _listed(directory: Path) -> dict[str, set[str]]:
    """Name -> digests of what patchgen wrote: two while an export is under way, or was cut off."""
    found: dict[str, set[str]] = defaultdict(set)
    try:
        text = (directory / LIST).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return found
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        if name == Path(name).name:
            found[name].add(digest)
    return found


def _write_list(passing: Path, directory: Path, digests: Mapping[str, set[str]]) -> None:
    lines = [f"{digest}  {name}\n" for name in sorted(digests) for digest in sorted(digests[name])]
    partial = passing / LIST
    partial.write_text("".join(lines), encoding="utf-8", newline="\n")
    partial.replace(directory / LIST)


def _check_foreign(
    directory: Path, before: Mapping[str, set[str]], new: Mapping[str, str], force: bool
) -> dict[str, str]:
    """The mails that are there with their digests, if those in the way may be replaced."""
    there = {
        path.name: _digest(path)
        for path in directory.iterdir()
        if path.suffix == ".patch" or path.name in new
    }
    foreign = [
        name
        for name in new
        if name in there and there[name] not in {new[name], *before.get(name, ())}
    ]
    if foreign and not force:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise ForeignFile(
            f"{directory / foreign[0]}{more} is not as patchgen wrote it",
            "give another directory with -o, or overwrite it with --force",
        )
    return there


def _take_over(
    passing: Path, directory: Path, new: Mapping[str, str], force: bool
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Move the files from *passing* into place, the list of them around that.

    Returns the names of those that are changed, removed and kept.
    """
    before = _listed(directory)
    there = _check_foreign(directory, before, new, force)
    version = _version(next(iter(new)))
    others = {name: before[name] for name in before if _version(name) != version}
    changed = tuple(name for name, digest in new.items() if there.get(name) != digest)
    stale = [name for name in there if name not in new and _version(name) == version]
    removed = tuple(sorted(name for name in stale if there[name] in before[name]))
    kept = tuple(sorted(name for name in stale if name not in removed))
    wanted = {**others, **{name: {digest} for name, digest in new.items()}}
    if changed or removed or wanted != before:
        both = {name: before[name] | {new[name]} for name in new}
        going = {name: before[name] for name in removed}
        _write_list(passing, directory, {**others, **both, **going})
        for name in changed:
            (passing / name).replace(directory / name)
        for name in removed:
            (directory / name).unlink()
        _write_list(passing, directory, wanted)
    return changed, removed, kept
