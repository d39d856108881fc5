"""Who includes whom: an include graph read from the text of the sources, without a build.

ninja's and make's own dependency files exist only for what was compiled already; a walk over the
commits compiles little, so the graph comes from the ``#include`` lines. Where a name could mean
several files the graph takes them all: it may compile one object too many, never one too few.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', re.MULTILINE)
_KINDS = (".c", ".h", ".inc", ".S", ".cc", ".cpp", ".def", ".m")
_SKIP_SOURCE = {"roms", "docs", "pc-bios", "po", "meson", ".git"}
#: Prefix of the nodes that are generated files, relative to the build directory.
GENERATED = "@/"


def _files(top: Path, skip: set[str], prefix: str) -> Iterable[tuple[str, Path]]:
    for where, dirs, names in os.walk(top):
        inside = posixpath.relpath(where, top)
        inside = "" if inside == "." else f"{inside}/"
        if not inside:
            dirs[:] = [one for one in dirs if one not in skip]
        dirs[:] = [one for one in dirs if not one.endswith(".p") and one != "meson-private"]
        for name in names:
            if name.endswith(_KINDS):
                yield f"{prefix}{inside}{name}", Path(where, name)


class IncludeGraph:
    """The includes of a source and a build directory.

    Nodes are paths relative to the source directory, or to the build directory behind
    :data:`GENERATED`. Files are read again only when their time or size changed.
    """

    def __init__(self, source: Path, build: Path) -> None:
        self._source = source
        self._build = build
        self._read: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {}
        self._by_name: dict[str, list[str]] = {}
        self._users: dict[str, set[str]] = {}

    def refresh(self) -> None:
        """Look at the directories again."""
        seen: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {}
        for top, skip, prefix in (
            (self._source, _SKIP_SOURCE, ""),
            (self._build, {"tests"}, GENERATED),
        ):
            for node, path in _files(top, skip, prefix):
                try:
                    stat = path.stat()
                    stamp = (stat.st_mtime_ns, stat.st_size)
                    old = self._read.get(node)
                    if old and old[0] == stamp:
                        seen[node] = old
                    else:
                        found = _INCLUDE.findall(path.read_bytes())
                        names = tuple(x.decode("utf-8", "surrogateescape") for x in found)
                        seen[node] = (stamp, names)
                except OSError:
                    continue
        self._read = seen
        by_name: dict[str, list[str]] = defaultdict(list)
        for node in seen:
            by_name[posixpath.basename(node)].append(node)
        self._by_name = dict(by_name)
        users: dict[str, set[str]] = defaultdict(set)
        for node, (_, names) in seen.items():
            for name in names:
                for used in self._resolve(node, name):
                    users[used].add(node)
        self._users = dict(users)

    def _resolve(self, node: str, name: str) -> list[str]:
        wanted = posixpath.normpath(name)
        while wanted.startswith("../"):
            wanted = wanted[3:]
        plain = node.removeprefix(GENERATED)
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(plain), name))
        candidates = [
            one
            for one in self._by_name.get(posixpath.basename(wanted), ())
            if one.removeprefix(GENERATED) == wanted or one.endswith(f"/{wanted}")
        ]
        if len(candidates) > 1:
            for place in (beside, f"include/{wanted}"):
                exact = [one for one in candidates if one.removeprefix(GENERATED) == place]
                if exact:
                    return exact
        return candidates

    def closure(self, start: Iterable[str]) -> list[str]:
        """All that include something of *start*, nearest first, then by name; without *start*."""
        known = set(start)
        level = sorted(known)
        found: list[str] = []
        while level:
            after = {user for node in level for user in self._users.get(node, ())} - known
            known |= after
            level = sorted(after)
            found += level
        return found
