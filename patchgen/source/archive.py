"""Archives and plain directories become git commits, through one ``git fast-import``.

Nothing is unpacked on disk. The commit has a fixed author, a date that the caller gives (or the
newest file's), and modes of which only the execute bit is kept, so that its id depends on the
contents alone: not on who imports, in which time zone, with which umask.
"""

from __future__ import annotations

import lzma
import os
import posixpath
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Protocol

from patchgen.errors import BadArchive, NotQemu
from patchgen.git.failure import git_failure
from patchgen.git.repo import Repo, git_environment

AUTHOR = "QEMU sources <sources@patchgen.invalid>"
MAIN_FILES = ("vl.c", "softmmu/vl.c", "system/vl.c")
"""Where QEMU's main loop has been: before 5.0, before 8.2, since."""

_VCS = frozenset({".git", ".hg", ".svn"})
_BUILD_MARKS = frozenset({"build.ninja", "config-host.mak", "CMakeCache.txt"})
_FIX = "fetch it anew: the file is damaged, or it is not a release of QEMU"

Progress = Callable[[float, float], None]


class _Filter(Protocol):
    """The shape of the standard library's extraction filters."""

    def __call__(self, member: tarfile.TarInfo, dest_path: str, /) -> tarfile.TarInfo | None: ...


@dataclass(frozen=True)
class Imported:
    """What an import made.

    :ivar commit: full id of the commit
    :ivar version: contents of the file VERSION
    :ivar date: seconds since 1970, author and committer date of the commit
    """

    commit: str
    version: str
    date: int


@dataclass(frozen=True)
class Entry:
    """One file of an archive or a directory.

    :ivar path: relative, normalised
    :ivar mode: as git writes it: ``100644``, ``100755``, ``120000`` (a symbolic link)
    :ivar data: contents, or the target of a symbolic link
    :ivar mtime: seconds since 1970 of a regular file, else 0
    :ivar same_as: path of the file that this one is a hard link to; *data* is empty then
    """

    path: str
    mode: str
    data: bytes
    mtime: int
    same_as: str = ""


@dataclass(frozen=True)
class Part:
    """One archive or directory that goes into a tree.

    :ivar name: for messages
    :ivar entries: its files
    :ivar below: directory of the tree that they belong in, ``""`` for the top
    :ivar archive: cut the one directory that holds all files, and distrust links
    """

    name: str
    entries: Iterator[Entry]
    below: str = ""
    archive: bool = True


class _FastImport:
    """A running ``git fast-import``; refs change only if the stream is complete."""

    def __init__(self, repo: Repo) -> None:
        self._where = str(repo.git_dir)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        # One commit from scratch gains nothing from deltas against the previous file, and they
        # cost two thirds of the time.
        self._process = subprocess.Popen(
            [
                *("git", "--git-dir", str(repo.git_dir), "-c", "core.compression=1"),
                *("fast-import", "--quiet", "--done", "--force"),
                *("--depth=0", "--date-format=raw"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=git_environment(repo.env),
        )
        assert self._process.stdin is not None
        self._pipe: IO[bytes] = self._process.stdin
        self._mark = 0

    def __enter__(self) -> _FastImport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            # Without `done` nothing becomes visible; kill rather than let it tidy a half pack.
            self._process.kill()
        with suppress(BrokenPipeError):
            self._pipe.close()
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace")
        self._errors.close()
        if (kind is None and status != 0) or (kind and issubclass(kind, BrokenPipeError)):
            raise git_failure("fast-import", said, status, self._where)

    def blob(self, data: bytes) -> int:
        """Add a file's contents; returns its mark."""
        self._mark += 1
        self._pipe.write(b"blob\nmark :%d\ndata %d\n" % (self._mark, len(data)))
        self._pipe.write(data)
        self._pipe.write(b"\n")
        return self._mark

    def commit(self, ref: str, message: str, date: int, files: dict[str, tuple[str, int]]) -> None:
        """Make a commit without parent of *files* (path -> mode, mark), and point *ref* at it."""
        text = message.encode("utf-8")
        who = f"{AUTHOR} {date} +0000"
        lines = [f"reset {ref}", f"commit {ref}", f"author {who}", f"committer {who}"]
        self._pipe.write("\n".join(lines).encode("utf-8"))
        self._pipe.write(b"\ndata %d\n%s\n" % (len(text), text))
        for path, (mode, mark) in files.items():
            name = path.encode("utf-8", "surrogateescape")
            if name.startswith(b'"'):
                name = b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
            self._pipe.write(b"M %s :%d %s\n" % (mode.encode(), mark, name))
        self._pipe.write(b"done\n")


def _bad(name: str, why: str) -> BadArchive:
    return BadArchive(f"{name}: {why}", _FIX)


def _checked(name: str, member: tarfile.TarInfo) -> str:
    """The member's path, normalised, or refuse it: tarfile's data filter, and what git forbids.

    The filter came with Python 3.11.4; before that the checks below stand alone. They cover the
    same cases, as nothing is written to the file system here.
    """
    data_filter: _Filter | None = getattr(tarfile, "data_filter", None)
    if data_filter is not None:
        try:
            data_filter(member, "/nonexistent/patchgen")
        except tarfile.TarError as exc:
            raise _bad(name, f"{exc}") from exc
    path = posixpath.normpath(member.name)
    if path.startswith("/") or path == ".." or path.startswith("../"):
        raise _bad(name, f"{member.name!r} lies outside of the archive's directory")
    if any(ord(char) < 32 or char == "\x7f" for char in path):
        raise _bad(name, f"{member.name!r} has control characters in its name")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise _bad(name, f"{member.name!r} is a device, not a file")
    return path


def _verify_end(name: str, tar: tarfile.TarFile) -> None:
    """Refuse an archive that stops early: tarfile itself takes a missing end for an end."""
    stream = tar.fileobj
    assert stream is not None
    if stream.tell() == tar.offset:
        raise _bad(name, "the archive is truncated")
    # The compressor's check sum comes last: it is compared only by reading to the end.
    while stream.read(1 << 20):
        pass


def tar_entries(path: Path, progress: Progress | None = None) -> Iterator[Entry]:
    """The files of a tar archive, in its order; *progress* gets bytes read and the file's size.

    :raise BadArchive: damaged, truncated, or with a member that a tree must not hold
    """
    name = path.name
    try:
        total = float(path.stat().st_size)
        with path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:
            for member in tar:
                inner = _checked(name, member)
                if progress:
                    progress(raw.tell(), total)
                if member.issym():
                    yield Entry(inner, "120000", os.fsencode(member.linkname), 0)
                elif member.islnk():
                    yield Entry(inner, "", b"", 0, posixpath.normpath(member.linkname))
                elif member.isreg():
                    content = tar.extractfile(member)
                    data = content.read() if content else b""
                    if len(data) != member.size:
                        raise _bad(name, "the archive is truncated")
                    mode = "100755" if member.mode & 0o100 else "100644"
                    yield Entry(inner, mode, data, max(0, int(member.mtime)))
            _verify_end(name, tar)
    except BrokenPipeError:
        raise  # git's end of the pipe, not the archive
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as exc:
        # tarfile lists what each decompressor said, a line each; an error is one line.
        why = str(exc).partition("\n")[0].rstrip(":") or type(exc).__name__
        raise _bad(name, f"the archive is damaged ({why})") from exc


def directory_entries(top: Path) -> Iterator[Entry]:
    """The files of a directory; version control's own and configured build directories are not.

    :raise BadArchive: a file cannot be read, or its name cannot be git's
    """

    def refuse(exc: OSError) -> None:
        raise BadArchive(f"{exc.filename}: {exc.strerror}", "mend the permissions")

    for root, folders, files in os.walk(top, onerror=refuse):
        here = Path(root)
        if here != top and not _BUILD_MARKS.isdisjoint(files):
            folders.clear()
            continue
        links = [x for x in folders if (here / x).is_symlink()]
        folders[:] = sorted(x for x in folders if x not in _VCS and x not in links)
        for file in sorted([*files, *links]):
            path = here / file
            inner = path.relative_to(top).as_posix()
            if file in _VCS:
                continue
            if "\n" in inner:
                raise BadArchive(f"{inner!r} has control characters in its name", "rename it")
            try:
                info = path.lstat()
                if path.is_symlink():
                    data, mode = os.fsencode(path.readlink()), "120000"
                elif path.is_file():
                    data = path.read_bytes()
                    mode = "100755" if info.st_mode & 0o100 else "100644"
                else:
                    continue  # a socket or a fifo is no source
            except OSError as exc:
                raise BadArchive(f"{path}: {exc.strerror}", "mend the permissions") from exc
            # A link's own time is the time of unpacking, the same archive would have others.
            yield Entry(inner, mode, data, 0 if mode == "120000" else int(info.st_mtime))


_Tree = dict[str, tuple[str, int]]
"""Path -> mode and mark of the contents."""


def _without_top(files: _Tree) -> int:
    """Length of the directory's name, with its slash, that all *files* are below; 0 if none."""
    tops = {path.partition("/")[0] if "/" in path else "" for path in files}
    return len(tops.pop()) + 1 if len(tops) == 1 and "" not in tops else 0


def _check_links(name: str, files: _Tree, links: dict[str, str]) -> None:
    """Refuse symbolic links that lead out of the tree, and files behind one.

    :param links: path -> target
    """
    for path, target in links.items():
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if target.startswith("/") or inside == ".." or inside.startswith("../"):
            raise _bad(name, f"the link {path!r} leads out of the tree ({target!r})")
    for path in files if links else ():
        for parent in PurePosixPath(path).parents:
            if str(parent) in links:
                raise _bad(name, f"{path!r} lies behind the symbolic link {str(parent)!r}")


def _read_part(part: Part, stream: _FastImport) -> tuple[_Tree, bytes, int]:
    """Send a part's contents to git: its tree, what VERSION says, the newest time."""
    files: _Tree = {}
    links: dict[str, str] = {}
    versions: dict[str, bytes] = {}
    newest = 0
    for entry in part.entries:
        if entry.same_as:
            if entry.same_as not in files:
                raise _bad(part.name, f"{entry.path!r} is a link to nothing in the archive")
            files[entry.path] = files[entry.same_as]
            continue
        files[entry.path] = (entry.mode, stream.blob(entry.data))
        newest = max(newest, entry.mtime)
        if entry.mode == "120000":
            links[entry.path] = os.fsdecode(entry.data)
        elif entry.path.rpartition("/")[2] == "VERSION":
            versions[entry.path] = entry.data
    if part.archive:
        cut = _without_top(files)
        files = {path[cut:]: entry for path, entry in files.items()}
        links = {path[cut:]: target for path, target in links.items()}
        versions = {path[cut:]: data for path, data in versions.items()}
        _check_links(part.name, files, links)
    files = {path: x for path, x in files.items() if _VCS.isdisjoint(path.split("/"))}
    return files, versions.get("VERSION", b""), newest


def import_parts(
    repo: Repo,
    ref: str,
    parts: Sequence[Part],
    *,
    what: str,
    date: int | None,
    expect: str | None,
) -> Imported:
    """Make one commit of *parts*, the first being QEMU's own, and point *ref* at it; or nothing.

    :param what: what the files are, for the commit's message; part of what the id depends on
    :param date: seconds since 1970; ``None`` takes the newest modification time of a file
    :param expect: what VERSION must say, if known
    :raise BadArchive: an archive is damaged, or VERSION says another version
    :raise NotQemu: these are not the sources of QEMU
    :raise GitFailed: git failed, as on a full disk
    """
    tree: _Tree = {}
    version = ""
    newest = 0
    with _FastImport(repo) as stream:
        for part in parts:
            files, said, time = _read_part(part, stream)
            version = version or said.decode("utf-8", "replace").strip()
            newest = max(newest, time)
            below = f"{part.below}/" if part.below else ""
            tree.update({f"{below}{path}": entry for path, entry in files.items()})
        has_main = any(name in tree for name in MAIN_FILES)
        if not version or not has_main or not any(x.startswith("qapi/") for x in tree):
            raise NotQemu(
                f"{what} is not QEMU: it has no VERSION, vl.c or qapi/",
                "give the sources of QEMU 4.2 or later",
            )
        if expect is not None and version != expect:
            raise BadArchive(f"{what} says that it is QEMU {version}, not {expect}", _FIX)
        when = newest if date is None else date
        stream.commit(ref, f"QEMU {version}\n\nImported from {what}.\n", when, tree)
    return Imported(repo.line("rev-parse", ref), version, when)
