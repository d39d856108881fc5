"""Everything that decides a build, before anything runs: era, flags, tools, modules, key."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass

from patchgen.build.eras import Era, select_era
from patchgen.build.features import Feature, active, configure_flags
from patchgen.build.modules import Supply, supply_module
from patchgen.build.record import BuildOptions, Workdir
from patchgen.build.subject import BuildSubject
from patchgen.build.toolchain import UNSET, Toolchain, build_env, find_toolchain, wheels_of
from patchgen.build.treefiles import TreeFiles
from patchgen.paths import cache_dir
from patchgen.ui import Ui

# The image that every x86 machine boots; a tree without it is a distribution's.
_FIRMWARE = "pc-bios/bios-256k.bin"


@dataclass(frozen=True)
class Plan:
    """How one tree is built.

    :ivar flags: for configure, without those that name programs of this machine
    :ivar silenced: files of the exported copy that get ``subdir_done()`` in front
    :ivar placeholders: files that are made empty in the exported copy
    :ivar env: variables on top of the user's
    """

    era: Era
    features: dict[str, Feature]
    flags: tuple[str, ...]
    tools: Toolchain
    supplies: tuple[Supply, ...]
    silenced: tuple[str, ...]
    placeholders: tuple[str, ...]
    firmware: bool
    env: dict[str, str]
    options: BuildOptions

    @property
    def digest(self) -> str:
        """Short digest of all but the tree that the result depends on."""
        meson = self.era.meson
        parts = [self.era.name, *self.flags, self.tools.cc, self.tools.cc_version, meson]
        parts += [f"{one.path}={one.directory.name}" for one in self.supplies]
        parts += [*self.silenced, *self.placeholders, self.options.features]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def configure(self, source: str = "../src") -> list[str]:
        """The configure command, run in the build directory."""
        command = [f"{source}/configure", *self.flags]
        if self.tools.meson:
            command.append(f"--meson={self.tools.meson}")
        return command

    def compile(self, *targets: str, keep_going: bool = False) -> list[str]:
        """The make or ninja command for *targets*."""
        command = [*self.era.build, f"-j{self.options.jobs}"]
        if self.era.ninja and self.tools.ninja:
            command[0] = str(self.tools.ninja)
        if keep_going:
            command += ["-k", "0"] if self.era.ninja else ["-k"]
        return [*command, *targets]

    @property
    def targets(self) -> tuple[str, ...]:
        """What a build makes: the emulator, and the tools where the set has them."""
        tools = self.era.tools if "tools" in self.features else ()
        return (self.era.binary_target, *tools)

    def workdir(self, tree: str) -> Workdir:
        """Where the tree is built with this plan."""
        return Workdir(cache_dir() / "build" / f"{tree[:16]}-{self.digest}", self.era)


def make_plan(subject: BuildSubject, options: BuildOptions, ui: Ui) -> Plan:
    """Decide how the subject's tree is built.

    :raise BuildError: a program or a submodule is missing, or the tree is of no known era
    """
    files = TreeFiles(subject.repo, subject.tree)
    era = select_era(files)
    bare = bool(era.wheels) and not files.exists(era.wheels)
    tools = find_toolchain(era, ui, wheels_of(files.read(era.deps)) if bare else ())
    linked = TreeFiles(subject.repo, subject.commit)
    given = dict(options.submodules)
    supplies = tuple(
        one for module in era.module if (one := supply_module(linked, module, given, ui))
    )
    firmware = files.exists(_FIRMWARE)
    return Plan(
        era=era,
        features=active(options.features, files),
        flags=configure_flags(era, options.features, files, blobs=firmware),
        tools=tools,
        supplies=supplies,
        silenced=tuple(
            one.file
            for one in era.silence
            if files.exists(one.file) and not all(files.exists(path) for path in one.unless)
        ),
        placeholders=tuple(path for one in era.placeholder for path in one.missing(files)),
        firmware=firmware,
        env=build_env(tools),
        options=options,
    )


def reproducer(plan: Plan, subject: BuildSubject) -> str:
    """A shell line that makes the same build in a new directory; every path in it is absolute."""
    env = dict(plan.env)
    env.pop("NINJA_STATUS", None)
    if plan.tools.ninja:
        env["PATH"] = f"{plan.tools.ninja.parent}:"
    # ccache finds what was compiled here before only if paths are relative in the same way.
    special = {"PATH": f'{shlex.quote(env.get("PATH", ""))}"$PATH"', "CCACHE_BASEDIR": '"$D"'}
    settings = [f"{name}={special.get(name) or shlex.quote(env[name])}" for name in env]
    prefix = " ".join(["env", *(f"-u {name}" for name in UNSET), *settings])
    steps = [
        'D="$(mktemp -d)"',
        'mkdir "$D/src" "$D/build"',
        f"git --git-dir={shlex.quote(str(subject.repo.git_dir))} archive {subject.commit} "
        '| tar -x -C "$D/src"',
    ]
    for one in plan.supplies:
        steps.append(f'mkdir -p "$D/src/{one.path}"')
        steps.append(f'cp -R {shlex.quote(str(one.directory))}/. "$D/src/{one.path}"')
    steps += [f"sed -i '1i subdir_done()' \"$D/src/{path}\"" for path in plan.silenced]
    if plan.placeholders:
        steps.append(f'(cd "$D/src" && touch {shlex.join(plan.placeholders)})')
    steps.append('cd "$D/build"')
    steps.append(f"{prefix} {shlex.join(plan.configure())}")
    steps.append(f"{prefix} {shlex.join(plan.compile(*plan.targets))}")
    return " && ".join(steps)
