"""Where mutants are built and run: one directory, configured once; only changes are written."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec
from filelock import FileLock

from patchgen.build.diagnostics import errors_of
from patchgen.build.plan import Plan, make_plan
from patchgen.build.prepare import complete_source, configure, export_source
from patchgen.build.record import BuildOptions, Workdir
from patchgen.build.runner import run_logged
from patchgen.build.subject import subject_of
from patchgen.build.toolchain import full_env
from patchgen.build.whole import build_subject, write_json
from patchgen.config import Config
from patchgen.engine.generate import generate
from patchgen.engine.series import Series, load_default_series
from patchgen.engine.tree import Tree
from patchgen.errors import PatchgenError
from patchgen.git.objects import CommitFiles
from patchgen.live.qemu import Qemu, firmware_dirs, qemu_of
from patchgen.live.record import ScenarioRecord
from patchgen.live.runner import Run, run_one
from patchgen.live.scenario import promised
from patchgen.paths import cache_dir
from patchgen.source.resolve import Base
from patchgen.ui import Ui

from .mutant import Mutant, WrongMutant

_COMPILER = re.compile(r"\S+:\d+:(\d+:)? (fatal )?error: ")
# What a unit test that fails says of it, without the place, which a prefix of the program repeats.
_ASSERTION = re.compile(r"^ERROR:\S+?:(\w+: .*)")
KILLED, SURVIVED, NOT_TRIED = "killed", "survived", "not tried"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant, or of the series without one.

    :ivar state: ``killed``; ``survived``: a scenario passes, is skipped, or fails for a reason that
        has nothing to do with the bug; ``not tried``: it needs KVM, and a scenario is skipped;
        ``does not apply``; ``does not build``; without a mutant ``passed`` or ``failed``
    :ivar said: scenario or unit test -> what it says; or why the mutant could not be tried, under
        its name
    :ivar build: seconds to generate and build it
    """

    name: str
    state: str
    said: dict[str, str]
    build: float
    seconds: float


class NotBuilt(Exception):
    """The tree does not compile; the message has the first error."""


class _Laid(msgspec.Struct, frozen=True):
    """Which files of the source directory may differ from the base tree."""

    paths: tuple[str, ...]


class Bench:
    """A work directory for mutants of one base tree; survives being killed at any point.

    What the directory holds is found out by looking at it. The only thing that is remembered is
    which files may be other than the base's, and that is written before they are.
    """

    def __init__(self, base: Base, config: Config, jobs: int, ui: Ui) -> None:
        subject = subject_of(base.repo, base.tag, base.commit)
        options = BuildOptions(jobs=jobs)
        self._base = base
        self._ui = ui
        self._plan: Plan = make_plan(subject, options, ui)
        home = cache_dir() / "mutants" / f"{base.tree[:16]}-{self._plan.digest}"
        home.mkdir(parents=True, exist_ok=True)
        self.work = Workdir(home, self._plan.era)
        series = load_default_series()
        self._scenarios = {one.scenario.name: one for one in promised(series)}
        self._clean = series
        self._pristine = cache(lambda: qemu_of(build_subject(subject, options, config, ui)))

    # --- the source directory ---------------------------------------------------------------

    @property
    def _mark(self) -> Path:
        return self.work.home / "laid.json"

    def _laid(self) -> _Laid | None:
        try:
            laid = msgspec.json.decode(self._mark.read_bytes(), type=_Laid)
        except (OSError, msgspec.MsgspecError):
            return None
        return laid if self.work.source.is_dir() else None

    def _lay(self, edits: Mapping[str, bytes]) -> None:
        """Make the source directory the base tree with *edits*; what is right already stays."""
        laid = self._laid()
        if laid is None:
            self._ui.step(f"exporting {self._base.tag} to {self.work.source}")
            shutil.rmtree(self.work.build, ignore_errors=True)
            export_source(self._plan, self._base.repo, self._base.tree, self.work.source)
            laid = _Laid(())
        paths = sorted({*laid.paths, *edits})
        write_json(self._mark, _Laid(tuple(paths)))
        with CommitFiles(self._base.repo, self._base.commit) as files:
            for path in paths:
                self._put(path, edits[path] if path in edits else files.read(path))
        complete_source(self._plan, self.work.source)
        write_json(self._mark, _Laid(tuple(sorted(edits))))

    def _put(self, path: str, content: bytes | None) -> None:
        place = self.work.source / path
        if content is None:
            place.unlink(missing_ok=True)
            return
        if place.is_file() and place.read_bytes() == content:
            return
        partial = self.work.home / "partial"
        partial.write_bytes(content)
        partial.chmod(place.stat().st_mode if place.is_file() else 0o644)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(place)

    # --- building ---------------------------------------------------------------------------

    def _generated(self, series: Series) -> dict[str, bytes]:
        """What the series makes of the base tree: path -> content.

        :raise WrongMutant: it drifts
        """
        with CommitFiles(self._base.repo, self._base.commit) as files:
            files.prefetch(["VERSION", *series.paths()])
            tree = Tree(files)
            for result in generate(series, tree):
                for drift in result.drifts:
                    raise WrongMutant(f"patch {drift.patch} drifts: {drift.reason}")
            return dict(tree.edits)

    def _build(self, series: Series) -> Qemu:
        """Build the tree with that series.

        :raise NotBuilt: it does not compile
        :raise BuildError: it cannot be configured
        """
        edits = self._generated(series)
        self._lay(edits)
        configured = self.work.build / ".patchgen-configured"
        if not configured.is_file():
            configure(self._plan, self.work, self._ui)
            configured.touch()
        self._make(self.work.binary, *self._plan.targets)
        firmware = firmware_dirs(present=self._plan.firmware)
        img = self.work.build / "qemu-img"
        return Qemu(self.work.binary, img, self.work.source, firmware, len(series.entries))

    def _make(self, made: Path, *targets: str) -> None:
        command = self._plan.compile(*targets)
        env = full_env(self._plan.env)
        ran = run_logged(command, cwd=self.work.build, env=env, log=self.work.log)
        if ran.code or not made.is_file():
            compiler = [line for line in ran.lines if _COMPILER.match(line)]
            last = ran.lines[-1:] or [f"exit code {ran.code}, and not a word"]
            raise NotBuilt([*compiler, *errors_of(ran.lines), *last][0])

    # --- running ----------------------------------------------------------------------------

    def _play(self, qemu: Qemu, name: str, scenario: str) -> ScenarioRecord:
        """What a scenario says of a built mutant; its paths are told as the scenario names them."""
        place = self.work.home / "check" / name
        run = Run(qemu, place, False, ("ci/mutants", name), self._pristine)
        record = run_one(run, self._scenarios[scenario], "tcg")
        # A scenario that fails is what is wanted: nobody looks at its RAM and disks.
        for path in place.rglob("*"):
            if path.is_file() and path.suffix not in (".log", ".txt", ".raw"):
                path.unlink()
        return replace(record, reason=record.reason.replace(f"{place / scenario}/", ""))

    def _test(self, name: str) -> str:
        """What QEMU's unit test *name* says of the tree that was built; nothing if it passes.

        :raise NotBuilt: it does not compile
        """
        program = self.work.build / "tests" / name
        self._make(program, f"tests/{name}")
        env = full_env(self._plan.env)
        ran = run_logged([str(program)], cwd=self.work.build, env=env, log=self.work.log)
        if not ran.code:
            return ""
        failed = [found[1] for line in ran.lines if (found := _ASSERTION.match(line))]
        return [*failed, f"exit code {ran.code}"][0]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with FileLock(self.work.home / "lock"):
            self.work.log.unlink(missing_ok=True)
            yield

    def control(self, mutants: Iterable[Mutant]) -> Verdict:
        """The series as it is: every scenario and every unit test of *mutants* must pass.

        Scenarios that are only for mutants that need KVM may be skipped.

        :raise NotBuilt: it does not compile, in a clean directory either
        """
        started = time.monotonic()
        told = [one.told for one in mutants]
        scenarios = dict.fromkeys(name for one in told for name in one.scenarios)
        always = {name for one in told for name in one.scenarios if not one.kvm}
        tests = dict.fromkeys(name for one in told for name in one.tests)
        with self._alone():
            try:
                qemu = self._build(self._clean)
            except NotBuilt:
                # Maybe by what a build that was cut off has left there.
                shutil.rmtree(self.work.build, ignore_errors=True)
                self._mark.unlink(missing_ok=True)
                qemu = self._build(self._clean)
            built = time.monotonic() - started
            said = {}
            for name in scenarios:
                record = self._play(qemu, "none", name)
                if record.state == "failed" or (record.state == "skipped" and name in always):
                    said[name] = f"{record.state}: {record.reason}"
            said |= {name: f"failed: {why}" for name in tests if (why := self._test(name))}
        state = "failed" if said else "passed"
        return Verdict("no mutant", state, said, built, time.monotonic() - started)

    def judge(self, mutant: Mutant) -> Verdict:
        """Build the mutant, play its scenarios, run its tests; each must fail for its reason."""
        started = time.monotonic()
        said: dict[str, str] = {}
        built = 0.0

        def verdict(state: str, why: str = "") -> Verdict:
            told = said if not why else {mutant.name: why}
            return Verdict(mutant.name, state, told, built, time.monotonic() - started)

        with self._alone(), tempfile.TemporaryDirectory(prefix="patchgen-mutant-") as place:
            try:
                series = mutant.applied(Path(place))
                qemu = self._build(series)
                failures = {name: self._test(name) for name in mutant.told.tests}
            except NotBuilt as exc:
                return verdict("does not build", str(exc))
            except (WrongMutant, PatchgenError) as exc:
                return verdict("does not apply", str(exc))
            built = time.monotonic() - started
            for name in mutant.told.scenarios:
                record = self._play(qemu, mutant.name, name)
                failures[name] = record.reason if record.state == "failed" else ""
                said[name] = failures[name] or record.state
                if record.state == "skipped" and mutant.told.kvm:
                    return verdict(NOT_TRIED, record.reason)
            said |= {name: failures[name] or "passed" for name in mutant.told.tests}
            survived = not all(
                why and re.search(mutant.told.reason, why) for why in failures.values()
            )
        return verdict(SURVIVED if survived else KILLED)
