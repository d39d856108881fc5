"""Results of a build, as they are printed, stored and compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchgen.build.eras import Era


@dataclass(frozen=True)
class BuildOptions:
    """How a subject is built.

    :ivar features: name of the feature set, ``full`` or ``minimal``
    :ivar jobs: parallel jobs, at least 1
    :ivar submodules: module path or name -> directory, repository or URL
    :ivar limit: ``--each``: objects per commit beyond those of the touched files
    :ivar each: ``objects`` or ``full``
    """

    features: str = "full"
    jobs: int = 1
    submodules: tuple[tuple[str, str], ...] = ()
    each: str = "objects"
    limit: int = 40


@dataclass(frozen=True)
class ModuleRecord:
    """Where a submodule's content came from; *revision* is empty if unknown."""

    path: str
    origin: str
    revision: str
    exact: bool


@dataclass(frozen=True)
class BuildRecord:
    """A finished build; the content of metadata.json.

    :ivar state: ``built`` now, or ``unchanged`` since an earlier run
    :ivar features: feature -> what configure's summary says of it
    :ivar firmware: ``present`` or ``absent``: whether the tree holds the firmware images; with
        ``absent`` the binary needs ``-L DIR``
    :ivar silenced: files of the exported copy that were made to do nothing
    :ivar warnings: compiler warnings as ``file: message``
    :ivar seconds: configure and compile, wall clock
    :ivar reproduce: a shell line that makes the same build elsewhere
    """

    state: str
    tag: str
    qemu: str
    commit: str
    tree: str
    pristine: bool
    patches: int
    era: str
    set: str
    features: dict[str, str]
    flags: tuple[str, ...]
    compiler: str
    ccache: bool
    meson: str
    python: str
    modules: tuple[ModuleRecord, ...]
    silenced: tuple[str, ...]
    firmware: str
    binary: Path
    tools: tuple[Path, ...]
    source_dir: Path
    build_dir: Path
    log: Path
    warnings: tuple[str, ...]
    seconds: float
    configure_seconds: float
    reproduce: str


@dataclass(frozen=True)
class EachCommit:
    """One commit of ``--each``.

    :ivar state: ``built``, ``cached`` (an earlier run built it) or ``nothing`` (no object needed)
    :ivar objects: objects that were asked for; 0 for a full build
    :ivar left_out: objects that include something touched and were beyond the limit
    :ivar unbuilt: touched C files that this build compiles into nothing (other hosts and targets)
    :ivar retried: whether it took a clean build directory
    """

    number: int
    subject: str
    commit: str
    tree: str
    state: str
    objects: int
    left_out: int
    unbuilt: tuple[str, ...]
    warnings: tuple[str, ...]
    retried: bool
    seconds: float


@dataclass(frozen=True)
class EachRecord:
    """A finished ``--each``: every commit compiled, else an error was raised."""

    tag: str
    qemu: str
    base: str
    mode: str
    era: str
    set: str
    limit: int
    flags: tuple[str, ...]
    compiler: str
    commits: tuple[EachCommit, ...]
    build_dir: Path
    log: Path
    seconds: float


@dataclass(frozen=True)
class Workdir:
    """Where one tree is built: source and build directory side by side, and the log."""

    home: Path
    era: Era

    @property
    def source(self) -> Path:
        """The exported tree."""
        return self.home / "src"

    @property
    def build(self) -> Path:
        """The build directory."""
        return self.home / "build"

    @property
    def log(self) -> Path:
        """All that configure, make and ninja said."""
        return self.home / "build.log"

    @property
    def binary(self) -> Path:
        """The emulator."""
        return self.build / self.era.binary
