"""The objects of a configured build: what each source is compiled into, and how to ask for one."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from patchgen.build.includes import GENERATED
from patchgen.build.plan import Plan
from patchgen.build.record import Workdir
from patchgen.build.runner import run_logged
from patchgen.build.toolchain import full_env

_OUTPUT = re.compile(r" -o (\S+\.o) (?:\S+ )*?(\S+\.(?:c|S|cc|cpp|m))(?:\s|$)")
_ENTER = re.compile(r"^make\[\d+\]: Entering directory '(.*)'$")
_LEAVE = re.compile(r"^make\[\d+\]: Leaving directory '")
_TARGET = re.compile(r"^(\S[^:]*\.(?:h|c|inc|def)(?:\.inc)?): (\S+)$")


def node_of(path: Path, work: Workdir) -> str:
    """The graph's name of a file; the absolute path if it is neither source nor generated."""
    clean = Path(os.path.normpath(path))
    if clean.is_relative_to(work.source):
        return clean.relative_to(work.source).as_posix()
    if clean.is_relative_to(work.build):
        return GENERATED + clean.relative_to(work.build).as_posix()
    return clean.as_posix()


def from_commands(data: bytes, work: Workdir) -> dict[str, tuple[str, ...]]:
    """Source node -> objects, from meson's compile_commands.json."""
    objects: dict[str, list[str]] = defaultdict(list)
    for entry in msgspec.json.decode(data, type=list[dict[str, str]]):
        directory = Path(entry["directory"])
        output = entry.get("output", "")
        if output.endswith(".o"):
            objects[node_of(directory / entry["file"], work)].append(output)
    return {node: tuple(found) for node, found in objects.items()}


def from_dry_run(lines: Iterable[str], work: Workdir) -> dict[str, tuple[str, ...]]:
    """Source node -> objects, from what ``make -n V=1`` would run."""
    objects: dict[str, list[str]] = defaultdict(list)
    stack = [work.build]
    for line in lines:
        if hit := _ENTER.match(line):
            stack.append(Path(hit[1]))
        elif _LEAVE.match(line):
            del stack[1:]
        elif " -c " in line and (hit := _OUTPUT.search(line)):
            output = Path(os.path.normpath(stack[-1] / hit[1]))
            if output.is_relative_to(work.build):
                name = output.relative_to(work.build).as_posix()
                objects[node_of(stack[-1] / hit[2], work)].append(name)
    return {node: tuple(dict.fromkeys(found)) for node, found in objects.items()}


def header_targets(lines: Iterable[str]) -> list[str]:
    """The generated sources, from ``ninja -t targets all``."""
    found = []
    for line in lines:
        hit = _TARGET.match(line)
        if hit and hit[2].startswith("CUSTOM_COMMAND") and not hit[1].startswith(("tests/", "/")):
            found.append(hit[1])
    return found


class Objects:
    """Objects of one build directory, kept up to date over the commits of a walk."""

    def __init__(self, plan: Plan, work: Workdir) -> None:
        self._plan = plan
        self._work = work
        self._map: dict[str, tuple[str, ...]] = {}
        self._generated: dict[str, bytes] = {}

    def _run(self, command: list[str]) -> tuple[int, list[str]]:
        ran = run_logged(
            command, cwd=self._work.build, env=full_env(self._plan.env), log=self._work.log
        )
        return ran.code, ran.lines

    def generate(self) -> tuple[int, list[str]]:
        """Bring generated sources up to date and read the map of objects again.

        :return: exit code and output of what failed, (0, []) if nothing did
        """
        if not self._plan.era.ninja:
            return self._generate_make()
        code, lines = self._run(self._plan.compile("build.ninja"))
        if code:
            return code, lines
        ninja = str(self._plan.tools.ninja)
        _, listed = self._run([ninja, "-t", "targets", "all"])
        targets = header_targets(listed)
        for start in range(0, len(targets), 500):
            code, lines = self._run(self._plan.compile(*targets[start : start + 500]))
            if code:
                return code, lines
        data = (self._work.build / "compile_commands.json").read_bytes()
        self._map = from_commands(data, self._work)
        return 0, []

    def _generate_make(self) -> tuple[int, list[str]]:
        code, lines = self._run(self._plan.compile("config-host.h"))
        if code:
            return code, lines
        # A dry run lists what is out of date: all of it at first, what changed later on. It ends
        # with complaints about what only a real run would have made.
        dry = [*self._plan.compile(*self._plan.targets, keep_going=True), "-n", "V=1"]
        _, lines = self._run(dry)
        self._map |= from_dry_run(lines, self._work)
        return 0, []

    def changed_generated(self) -> set[str]:
        """The generated sources whose content differs from the last call; all at the first."""
        now: dict[str, bytes] = {}
        for where, dirs, names in os.walk(self._work.build):
            dirs[:] = [d for d in dirs if not d.endswith(".p") and d not in {"meson-private"}]
            for name in names:
                if name.endswith((".h", ".c", ".inc", ".def")):
                    path = Path(where, name)
                    now[node_of(path, self._work)] = hashlib.sha256(path.read_bytes()).digest()
        old, self._generated = self._generated, now
        return {node for node, digest in now.items() if old.get(node) != digest}

    def of(self, nodes: Iterable[str]) -> list[str]:
        """The objects of the nodes, in their order, those of tests last."""
        found = [one for node in nodes for one in self._map.get(node, ())]
        return sorted(dict.fromkeys(found), key=lambda one: one.startswith("tests/"))

    def sources(self) -> list[str]:
        """All sources that the build compiles."""
        return list(self._map)

    def has(self, node: str) -> bool:
        """Whether the build compiles that source."""
        return node in self._map

    def commands(self, objects: Iterable[str]) -> list[list[str]]:
        """The commands that compile the objects, to be run in the build directory."""
        wanted = list(objects)
        commands = []
        for sub in self._plan.era.subdirs:
            mine = [one for one in wanted if one.startswith(f"{sub}/")]
            wanted = [one for one in wanted if not one.startswith(f"{sub}/")]
            if mine:
                names = [one[len(sub) + 1 :] for one in mine]
                places = [f"BUILD_DIR={self._work.build}", f"TARGET_DIR={sub}/"]
                commands.append(self._plan.compile("-C", sub, *places, *names, keep_going=True))
        if wanted:
            commands.insert(0, self._plan.compile(*wanted, keep_going=True))
        return commands
