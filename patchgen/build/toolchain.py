"""The programs that build: compiler, ccache, python, the era's meson, ninja."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from patchgen.build.eras import Era, PythonNeed
from patchgen.errors import MesonMissing, ToolMissing
from patchgen.paths import cache_dir
from patchgen.ui import Ui

# What a user's shell may set and what would change the build without showing in its flags.
UNSET = ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "V")
_CCACHE_SIZE = "5G"
_VENV_SIZE = 40 << 20
"""Bytes of a venv with meson and pip."""


@dataclass(frozen=True)
class Toolchain:
    """What one build is done with.

    :ivar cc: compiler command without ccache
    :ivar cc_version: first line of its ``--version``
    :ivar python: interpreter for configure
    :ivar meson: path of the pinned meson, ``None`` if the tree needs none from us
    :ivar ninja: path of ninja, ``None`` in the make era
    """

    cc: str
    cc_version: str
    ccache: str | None
    python: Path
    meson: Path | None
    ninja: Path | None


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True)
    except OSError:
        return ""
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else ""


def find(command: str) -> str | None:
    """*command* beside the running interpreter (a venv's ninja), else on PATH."""
    beside = Path(sys.executable).parent / command
    if beside.is_file() and os.access(beside, os.X_OK):
        return str(beside)
    return shutil.which(command)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _python_fits(path: str, need: PythonNeed) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])" + "".join(
        f"; import {name}" for name in need.modules
    )
    version = _first_line(path, "-W", "ignore", "-c", code)
    if not version or _number(version) < _number(need.min):
        return False
    return not need.below or _number(version) < _number(need.below)


def find_python(need: PythonNeed) -> Path:
    """An interpreter that fits: ``PATCHGEN_PYTHON``, the system's, then the running one.

    :raise ToolMissing: none does
    """
    own = os.environ.get("PATCHGEN_PYTHON")
    tried = [own] if own else ["/usr/bin/python3", sys.executable]
    for path in tried:
        if Path(path).is_file() and _python_fits(path, need):
            return Path(path)
    bounds = f">= {need.min}" + (f" and < {need.below}" if need.below else "")
    modules = f" with {', '.join(need.modules)}" if need.modules else ""
    raise ToolMissing(
        f"this QEMU is configured by a Python {bounds}{modules}; none of {', '.join(tried)} is one",
        f"apt install {' '.join(need.packages)}, or set PATCHGEN_PYTHON to such an interpreter",
    )


def wheels_of(deps: str) -> tuple[str, ...]:
    """What pip is to install for a tree that lacks its wheels, from its pythondeps.toml."""
    try:
        group = tomllib.loads(deps).get("meson", {})
    except tomllib.TOMLDecodeError:
        group = {}
    found = [f"{name}=={one['installed']}" for name, one in group.items() if "installed" in one]
    return tuple(found) or ("meson",)


def ensure_venv(wanted: tuple[str, ...], python: Path, ui: Ui) -> Path:
    """A venv in the cache with *wanted*, such as ``meson==0.59.3``; installed when it is missing.

    :raise MesonMissing: the venv cannot be made, or pip cannot get them
    """
    names = " ".join(wanted)
    home = cache_dir() / "meson" / names.replace("meson==", "").replace(" ", "-")
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_name(f"{home.name}.lock")):
        if _first_line(str(home / "bin" / "meson"), "--version"):
            return home
        ui.step(f"installing {names} in {home}")
        shutil.rmtree(home, ignore_errors=True)
        steps = (
            ([str(python), "-m", "venv", str(home)], "apt install python3-venv"),
            (
                [str(home / "bin" / "pip"), "install", "--quiet", *wanted],
                f"make pip reach a package index, or make a venv with {names} at {home}",
            ),
        )
        for command, fix in steps:
            done = subprocess.run(command, capture_output=True, check=False, text=True)
            if done.returncode != 0:
                full = shutil.disk_usage(home.parent).free < _VENV_SIZE
                shutil.rmtree(home, ignore_errors=True)
                raise MesonMissing(
                    f"{names}, which this QEMU needs, cannot be installed",
                    f"make room in {home.parent}, {_VENV_SIZE >> 20} MB" if full else fix,
                    (done.stdout + done.stderr).strip(),
                )
    return home


def _find_ccache(compiler: str, ui: Ui) -> str | None:
    """ccache, if it can run the compiler; its lack costs time and nothing else."""
    ccache = shutil.which("ccache")
    if ccache is None:
        ui.warn("ccache is not installed: every build compiles everything (apt install ccache)")
    elif not _first_line(ccache, *compiler.split(), "--version"):
        ui.warn(
            f"{ccache} does not work, and is left out: every build compiles everything"
            f" (see what `{ccache} {compiler} --version` says)"
        )
        return None
    return ccache


def find_toolchain(era: Era, ui: Ui, wheels: tuple[str, ...] = ()) -> Toolchain:
    """All programs of a build of that era.

    :param wheels: what to install for a tree that lacks the wheels which its era brings
    :raise ToolMissing: one is not installed; says which and its Debian package
    :raise MesonMissing: the meson cannot be had
    """
    compiler = os.environ.get("CC") or "cc"
    for command, package in era.commands.items():
        wanted = compiler.split()[-1] if command == "cc" else command
        if command != "python3" and find(wanted) is None:
            raise ToolMissing(f"{wanted} is not installed", f"apt install {package}")
    python = find_python(era.python)
    ccache = None if "ccache" in compiler else _find_ccache(compiler, ui)
    meson = None
    if era.meson not in {"", "tree"}:
        meson = ensure_venv((f"meson=={era.meson}",), python, ui) / "bin" / "meson"
    elif wheels:
        python = ensure_venv(wheels, python, ui) / "bin" / "python3"
    ninja = find("ninja") if era.ninja else None
    return Toolchain(
        cc=compiler,
        cc_version=_first_line(*compiler.split(), "--version"),
        ccache=ccache,
        python=python,
        meson=meson,
        ninja=Path(ninja) if ninja else None,
    )


def build_env(tools: Toolchain) -> dict[str, str]:
    """The variables that a build sets on top of the user's environment.

    ccache's base directory is that of all builds, so that the same file of two trees is compiled
    once: paths in commands become relative, and the directory itself is kept out of the hash.
    """
    cache = cache_dir()
    env = {"LC_ALL": "C.UTF-8", "PYTHON": str(tools.python), "CC": tools.cc}
    if tools.ccache:
        env |= {
            "CC": f"ccache {tools.cc}",
            "CCACHE_DIR": os.environ.get("CCACHE_DIR") or str(cache / "ccache"),
            "CCACHE_BASEDIR": str(cache),
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_MAXSIZE": _CCACHE_SIZE,
            # The exported files are new, and their content is what counts.
            "CCACHE_SLOPPINESS": "include_file_mtime,include_file_ctime",
        }
    if tools.ninja:
        env["NINJA_STATUS"] = "[%f/%t] "
        env["PATH"] = f"{tools.ninja.parent}:{os.environ.get('PATH', '')}"
    return env


def full_env(extra: dict[str, str]) -> dict[str, str]:
    """The whole environment of a build: the user's, without what :data:`UNSET` names."""
    return {**{k: v for k, v in os.environ.items() if k not in UNSET}, **extra}
