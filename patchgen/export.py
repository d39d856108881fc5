"""Mails of the series: made by ``git format-patch`` and put into a directory that may hold more.

What patchgen wrote is known by a list of digests beside the mails (:data:`LIST`, which ``sha256sum
-c`` reads). Only a file that is still as listed may be replaced or removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from patchgen import __version__
from patchgen.branch import BranchRecord
from patchgen.errors import ForeignFile, NothingToExport, OutputError
from patchgen.git.repo import Identity
from patchgen.git.scratch import scratch_repo
from patchgen.source.resolve import Base
from patchgen.ui import Ui

LIST = ".patchgen-sha256"
_TEMPORARY = ".patchgen-tmp-"
_REF = "refs/heads/series"
_FIX = "mend its permissions or make room, or give another directory with -o"


@dataclass(frozen=True)
class Written:
    """What became of the directory.

    :ivar files: names of the mails, the cover letter first
    :ivar changed: those of them that were not there just so
    :ivar removed: mails of an earlier export that are not in this one
    :ivar kept: such mails that somebody changed since, and mails that patchgen did not write
    """

    directory: Path
    files: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]


def write_mails(
    base: Base, record: BranchRecord, cover: str, directory: Path, *, force: bool, ui: Ui
) -> Written:
    """Put the mails of *record*'s commits into *directory*, which is made if it is missing.

    The same commits and cover letter give the same bytes: nothing of the user's git configuration
    is asked but the identity.

    :param cover: subject, empty line, text
    :param force: overwrite files that patchgen did not write
    :raise NothingToExport: there is no commit
    :raise ForeignFile: a file of a mail's name is not patchgen's; nothing was written
    :raise OutputError: the directory cannot be written
    """
    if record.head == record.base:
        raise NothingToExport(
            f"{record.tag} has all that these patches bring: there is no mail to write",
            "give another tag",
        )
    directory = Path(os.path.abspath(directory))  # noqa: PTH100  (resolve() would follow links)
    new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone(directory, ui), _passing(directory) as passing:
            _format(base, record, cover, passing)
            return _take_over(passing, directory, force)
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


def _format(base: Base, record: BranchRecord, cover: str, place: Path) -> None:
    """Have git write the mails into *place*."""
    author = base.repo.identity()
    with scratch_repo(base.repo) as scratch:
        scratch.git("update-ref", _REF, record.head)
        sealed = type(scratch)(scratch.git_dir, {**scratch.env, **_environment(author, base.date)})
        # A bare repository has no attributes of the tree; the user's own stay out as well.
        settings = {
            "core.attributesFile": os.devnull,
            f"branch.{_REF.removeprefix('refs/heads/')}.description": cover,
        }
        done = sealed.git(
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            *("format-patch", "--quiet", "--cover-letter", "--cover-from-description=subject"),
            # Abbreviated ids would depend on what else the repository holds.
            *("--full-index", f"--base={record.base}", f"--signature=patchgen {__version__}"),
            *("-o", str(place), f"{record.base}..{_REF}"),
            check=False,
        )
    if done.returncode != 0:
        # Of all that git could fail at here, writing is what is outside of our hands.
        said = done.stderr.decode("utf-8", "replace").strip()
        why = said.partition("\n")[0] or f"exit code {done.returncode}"
        raise OutputError(f"{place.parent} cannot be written: git format-patch: {why}", _FIX, said)


def _environment(author: Identity, date: int) -> Mapping[str, str]:
    """What makes git's output depend on nothing but the commits; the cover letter is dated."""
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in {
            "NAME": author.name,
            "EMAIL": author.email,
            "DATE": f"{date} +0000",
        }.items()
    }
    sealed = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "0",
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_DIFF_OPTS": "",
    }
    return {**sealed, **who}


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


def _take_over(passing: Path, directory: Path, force: bool) -> Written:
    """Move the mails from *passing* into place, the list of them around that."""
    before = _listed(directory)
    new = {path.name: _digest(path) for path in sorted(passing.iterdir())}
    there = {path.name: _digest(path) for path in directory.iterdir() if path.suffix == ".patch"}
    foreign = [
        name for name in new if name in there and there[name] not in {new[name], *before[name]}
    ]
    if foreign and not force:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise ForeignFile(
            f"{directory / foreign[0]}{more} is not as patchgen wrote it",
            "give another directory with -o, or overwrite it with --force",
        )
    changed = tuple(name for name, digest in new.items() if there.get(name) != digest)
    stale = [name for name in there if name not in new]
    removed = tuple(sorted(name for name in stale if there[name] in before[name]))
    kept = tuple(sorted(name for name in stale if name not in removed))
    if changed or removed or {name: {digest} for name, digest in new.items()} != before:
        both = {name: before[name] | {new[name]} for name in new}
        _write_list(passing, directory, both | {name: before[name] for name in removed})
        for name in changed:
            (passing / name).replace(directory / name)
        for name in removed:
            (directory / name).unlink()
        _write_list(passing, directory, {name: {digest} for name, digest in new.items()})
    return Written(directory, tuple(new), changed, removed, kept)
