"""How a QEMU is configured and compiled, by era: typed view of ``qemu-ref/eras/*.toml``."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import msgspec

from patchgen.build.treefiles import TreeFiles
from patchgen.errors import SeriesError, UnknownEra
from patchgen.paths import data_dir


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One condition on a tree; exactly one of exists, absent, contains and lacks is set.

    :ivar file: the file that *contains* and *lacks* look into
    """

    exists: str = ""
    absent: str = ""
    file: str = ""
    contains: str = ""
    lacks: str = ""

    def holds(self, files: TreeFiles) -> bool:
        """Whether the condition holds for the tree."""
        if self.exists:
            return files.exists(self.exists)
        if self.absent:
            return not files.exists(self.absent)
        text = files.read(self.file)
        return self.contains in text if self.contains else self.lacks not in text


class PythonNeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interpreter that configure can use: ``min <= version < below``, with *modules*."""

    min: str = "3.6"
    below: str = ""
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ("python3",)


class Module(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A git submodule or meson subproject without which nothing builds.

    :ivar path: where its content has to be, relative to the tree
    :ivar probe: a file of it that shows that the content is there
    :ivar wrap: meson's wrap file, which names its revision and URL (later eras)
    :ivar url: where it is today; old trees name servers that are gone
    """

    path: str
    probe: str
    url: str = ""
    wrap: str = ""

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]


class Silence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A meson.build that is skipped in the exported copy while one of *unless* is missing."""

    file: str
    unless: tuple[str, ...]


class Placeholder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files that a meson.build insists on and no build of ours reads; made empty if missing.

    :ivar listed_in: the file that names them
    :ivar pattern: regular expression of a name in it, group 1 is put in for ``{name}``
    :ivar file: path of the file to be made
    """

    listed_in: str
    pattern: str
    file: str

    def missing(self, files: TreeFiles) -> tuple[str, ...]:
        """The files that the tree names and lacks."""
        names = re.findall(self.pattern, files.read(self.listed_in))
        paths = [self.file.replace("{name}", name) for name in dict.fromkeys(names)]
        return tuple(path for path in paths if not files.exists(path))


class Era(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of building QEMU.

    :ivar when: all of these hold for its trees
    :ivar summary: regular expression of a line of configure's summary, with ``{name}`` for the
        feature's escaped name and a group ``value``
    :ivar meson: version to install, ``tree`` if the tree brings it, empty if there is none
    :ivar wheels: where a tree brings its meson; for a repacked one without it we install what
        :ivar:`deps` names
    :ivar deps: the tree's file with the versions of those wheels
    :ivar commands: command -> Debian package
    :ivar build: the build command without its targets
    :ivar binary: path of the emulator in the build directory
    :ivar subdirs: make era: directories with a make of their own
    :ivar flags: used if the tree's configure knows them
    :ivar no_blobs: spellings of the flag for trees without firmware, the first known is used
    """

    name: str
    about: str
    when: tuple[Probe, ...]
    summary: str
    meson: str
    python: PythonNeed
    commands: dict[str, str]
    build: tuple[str, ...]
    binary_target: str
    binary: str
    tools: tuple[str, ...]
    flags: tuple[str, ...] = ()
    no_blobs: tuple[str, ...] = ()
    wheels: str = ""
    deps: str = ""
    subdirs: tuple[str, ...] = ()
    module: tuple[Module, ...] = ()
    silence: tuple[Silence, ...] = ()
    placeholder: tuple[Placeholder, ...] = ()

    @property
    def ninja(self) -> bool:
        """Whether ninja is what compiles."""
        return self.build[0] == "ninja"


def load_toml(path: Path) -> object:
    """The content of a TOML file of patchgen's own data.

    :raise SeriesError: it is missing or malformed
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise SeriesError(f"{path}: {exc}", "reinstall patchgen") from exc


@cache
def load_eras() -> tuple[Era, ...]:
    """All eras of ``qemu-ref/eras``.

    :raise SeriesError: a file is malformed
    """
    eras = []
    for path in sorted((data_dir("qemu-ref") / "eras").glob("*.toml")):
        try:
            eras.append(msgspec.convert(load_toml(path), Era))
        except msgspec.ValidationError as exc:
            raise SeriesError(f"{path}: {exc}", "reinstall patchgen") from exc
    return tuple(eras)


def module_names() -> tuple[str, ...]:
    """What a submodule may be called, by its path in any era or by its name alone."""
    modules = [module for era in load_eras() for module in era.module]
    both = [*(module.path for module in modules), *(module.name for module in modules)]
    return tuple(dict.fromkeys(both))


def select_era(files: TreeFiles) -> Era:
    """The era whose probes hold for the tree.

    :raise UnknownEra: none, or more than one
    """
    found = [era for era in load_eras() if all(probe.holds(files) for probe in era.when)]
    if len(found) == 1:
        return found[0]
    if not files.exists("configure"):
        said = "it has no configure: is it QEMU's source?"
    elif found:
        said = "more than one fits: " + ", ".join(era.name for era in found)
    else:
        said = "known are " + ", ".join(era.name for era in load_eras())
    raise UnknownEra(
        f"no era of qemu-ref/eras describes this tree; {said}",
        "add an era file for it, or build one of the versions that `patchgen sources` lists",
    )
