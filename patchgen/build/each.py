"""``--each``: every commit of the series compiled on its own, in one directory walked upwards."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from filelock import FileLock

from patchgen.build.diagnostics import error_files, failure_detail, warnings_of
from patchgen.build.includes import IncludeGraph
from patchgen.build.objects import Objects
from patchgen.build.plan import Plan, make_plan
from patchgen.build.record import BuildOptions, EachCommit, EachRecord, Workdir
from patchgen.build.runner import Progress, run_logged
from patchgen.build.subject import BuildSubject, SubjectPatch
from patchgen.build.toolchain import full_env
from patchgen.build.walk import Walk
from patchgen.build.whole import write_json
from patchgen.config import Config
from patchgen.errors import BuildError, CompileFailed, PatchBroken
from patchgen.paths import cache_dir
from patchgen.ui import Ui


@dataclass(frozen=True)
class Choice:
    """The objects of one commit.

    :ivar objects: what is compiled, those of the touched files first
    :ivar left_out: how many that include something touched are beyond the limit
    :ivar unbuilt: touched C files that this build compiles into nothing
    """

    objects: tuple[str, ...]
    left_out: int
    unbuilt: tuple[str, ...]


def choose(
    files: Iterable[str],
    generated: Iterable[str],
    graph: IncludeGraph,
    objects: Objects,
    limit: int,
) -> Choice:
    """Which objects a commit is checked by.

    :param files: paths that it touches
    :param generated: generated sources whose content it changes, as nodes
    :param limit: how many objects beyond those of the touched and generated files themselves
    """
    touched = [*sorted(files), *sorted(generated)]
    direct = objects.of(touched)
    known = set(direct)
    users = [one for one in objects.of(graph.closure(touched)) if one not in known]
    unbuilt = tuple(x for x in sorted(files) if x.endswith(".c") and not objects.has(x))
    return Choice((*direct, *users[:limit]), max(0, len(users) - limit), unbuilt)


@dataclass(frozen=True)
class _Outcome:
    """One attempt at a commit: exit code, output, what was asked for."""

    code: int
    lines: list[str]
    choice: Choice


class _Session:
    """A walk with all that is known of its build directory."""

    def __init__(self, walk: Walk, options: BuildOptions) -> None:
        self.walk = walk
        self._options = options
        self._plan = walk.plan
        self._at = ""
        self.objects = Objects(self._plan, walk.work)
        self._graph = IncludeGraph(walk.work.source, walk.work.build)

    def start(self, tree: str) -> None:
        """Be at *tree*, configured, with its generated files known.

        :raise BuildError: that tree, which no patch of the walk touched yet, cannot be prepared
        """
        if self._at == tree:
            return
        self.walk.move_to(tree)
        self.walk.configured()
        if self._options.each == "objects":
            code, lines = self.objects.generate()
            if code:
                raise CompileFailed(
                    f"the generated files of the tree {tree[:12]} cannot be made; "
                    f"log: {self.walk.work.log}",
                    "see whether `patchgen build TAG --pristine` works",
                    failure_detail(lines),
                )
            self.objects.changed_generated()
        self._at = tree

    def compile(self, commands: Iterable[list[str]], meter: Progress) -> tuple[int, list[str]]:
        """Run build commands; the code of the last that failed, all output."""
        code, lines = 0, []
        env = full_env(self._plan.env)
        work = self.walk.work
        for command in commands:
            ran = run_logged(command, cwd=work.build, env=env, log=work.log, watch=meter)
            code = ran.code or code
            lines += ran.lines
        return code, lines

    def attempt(self, patch: SubjectPatch, meter: Progress) -> _Outcome:
        """Move on to the patch and compile what it asks for."""
        self.walk.move_to(patch.tree)
        self._at = ""
        nothing = Choice((), 0, ())
        if self._options.each == "full":
            code, lines = self.compile([self._plan.compile(*self._plan.targets)], meter)
            outcome = _Outcome(code, lines, nothing)
        else:
            code, lines = self.objects.generate()
            if code:
                return _Outcome(code, lines, nothing)
            changed = self.objects.changed_generated()
            self._graph.refresh()
            limit = self._options.limit
            choice = choose(patch.files, changed, self._graph, self.objects, limit)
            code, lines = self.compile(self.objects.commands(choice.objects), meter)
            outcome = _Outcome(code, lines, choice)
        if outcome.code == 0:
            self._at = patch.tree
        return outcome


class _Results:
    """Results of earlier runs, by tree."""

    def __init__(self, plan: Plan, options: BuildOptions) -> None:
        self._home = cache_dir() / "each" / "results"
        self._home.mkdir(parents=True, exist_ok=True)
        self._mode = options.each
        self._how = f"{plan.digest}-{options.limit}"

    def _path(self, patch: SubjectPatch, before: str, mode: str) -> Path:
        what = f"{before}-{self._how}" if mode == "objects" else self._how
        digest = hashlib.sha256(f"{mode}-{what}".encode()).hexdigest()[:16]
        return self._home / f"{patch.tree}-{digest}.json"

    def load(self, patch: SubjectPatch, before: str) -> EachCommit | None:
        """What an earlier run found for the tree of *patch* on top of the tree *before*."""
        for mode in dict.fromkeys((self._mode, "full")):
            try:
                data = self._path(patch, before, mode).read_bytes()
                found = msgspec.json.decode(data, type=EachCommit)
            except (OSError, msgspec.MsgspecError):
                continue
            return replace(
                found,
                state="cached",
                number=patch.number,
                subject=patch.subject,
                commit=patch.commit,
            )
        return None

    def store(self, patch: SubjectPatch, before: str, found: EachCommit) -> None:
        """Keep what was found."""
        write_json(self._path(patch, before, self._mode), found)


class _Each:
    def __init__(self, subject: BuildSubject, options: BuildOptions, ui: Ui) -> None:
        self.subject = subject
        self.options = options
        self.ui = ui
        self.plan = make_plan(subject, options, ui)
        base = subject.repo.line("rev-parse", f"{subject.base_commit}^{{tree}}")
        self.base = base
        self.home = cache_dir() / "each" / f"{base[:16]}-{self.plan.digest}"
        self.results = _Results(self.plan, options)
        self.session = self._new_session("walk")

    def _new_session(self, name: str) -> _Session:
        work = Workdir(self.home / name, self.plan.era)
        return _Session(Walk(self.plan, self.subject.repo, work, self.ui), self.options)

    def run(self) -> EachRecord:
        started = time.monotonic()
        self.home.mkdir(parents=True, exist_ok=True)
        found: list[EachCommit] = []
        before = self.base
        patches = self.subject.patches
        with FileLock(self.home / "lock"), self.ui.progress("each commit", len(patches)) as meter:
            for done, patch in enumerate(patches):
                meter.update(done, len(patches), f"({patch.number}: {patch.subject})")
                known = self.results.load(patch, before)
                if known is None:
                    known = self._one(patch, before)
                    self.results.store(patch, before, known)
                    self._say(known)
                found.append(known)
                before = patch.tree
        work = self.session.walk.work
        return EachRecord(
            tag=self.subject.tag,
            qemu=self.subject.version,
            base=self.subject.base_commit,
            mode=self.options.each,
            era=self.plan.era.name,
            set=self.options.features,
            limit=self.options.limit,
            flags=self.plan.flags,
            compiler=self.plan.tools.cc_version,
            commits=tuple(found),
            build_dir=work.build,
            log=work.log,
            seconds=round(time.monotonic() - started, 1),
        )

    def _say(self, one: EachCommit) -> None:
        what = f"{one.objects} objects" if self.options.each == "objects" else "all"
        more = f", {one.left_out} more left out" if one.left_out else ""
        self.ui.step(f"{one.number:2} ok  {what}{more}, {one.seconds:.1f} s  {one.subject}")

    def _one(self, patch: SubjectPatch, before: str) -> EachCommit:
        started = time.monotonic()
        silent = Progress(_NoMeter())
        outcome = self._first(patch, before, silent)
        retried = outcome is None
        if outcome is None:
            self.ui.warn(f"patch {patch.number} failed to compile; once more in a clean directory")
            outcome = self._retry(patch, before, silent)
        source = str(self.session.walk.work.source)
        choice = outcome.choice
        built = choice.objects or self.options.each == "full"
        return EachCommit(
            number=patch.number,
            subject=patch.subject,
            commit=patch.commit,
            tree=patch.tree,
            state="built" if built else "nothing",
            objects=len(choice.objects),
            left_out=choice.left_out,
            unbuilt=choice.unbuilt,
            warnings=warnings_of(outcome.lines, source),
            retried=retried,
            seconds=round(time.monotonic() - started, 1),
        )

    def _first(self, patch: SubjectPatch, before: str, silent: Progress) -> _Outcome | None:
        """An attempt in the directory as it is; ``None`` if it failed, maybe by what is in it.

        :raise BuildError: a directory that was empty cannot be configured for the tree *before*
        """
        fresh = not self.session.walk.work.build.is_dir()
        try:
            self.session.start(before)
        except BuildError:
            if fresh:
                raise
            return None
        outcome = self.session.attempt(patch, silent)
        return outcome if outcome.code == 0 else None

    def _retry(self, patch: SubjectPatch, before: str, silent: Progress) -> _Outcome:
        """The second attempt, from nothing; the directory becomes that of the walk if it works.

        :raise PatchBroken: it fails again, and its parent does not
        :raise CompileFailed: the parent fails just so
        """
        self.session.walk.clean()
        try:
            self.session = self._new_session("walk")
            self.session.start(before)
            outcome = self.session.attempt(patch, silent)
        except BuildError as exc:
            raise CompileFailed(
                f"the tree under patch {patch.number} cannot be built either: {exc.message}",
                exc.fix,
                exc.detail,
            ) from exc
        if outcome.code == 0:
            return outcome
        work = self.session.walk.work
        files = error_files(outcome.lines, str(work.source))
        if self._parent_fails(before, outcome, files, silent):
            raise CompileFailed(
                f"{files[0] if files else 'a file'} does not compile without patch {patch.number} "
                f"either; log: {work.log}",
                "see whether `patchgen build TAG --pristine` works",
                failure_detail(outcome.lines),
            )
        named = f" in {', '.join(files[:3])}" if files else ""
        raise PatchBroken(
            f"patch {patch.number} ({patch.subject}) does not compile{named}; log: {work.log}",
            f"mend the patch; commit {patch.commit[:12]}, tried twice, once in a clean directory",
            failure_detail(outcome.lines),
        )

    def _parent_fails(
        self, before: str, outcome: _Outcome, files: tuple[str, ...], silent: Progress
    ) -> bool:
        """Whether the tree under the patch fails in one of the same files."""
        if not files:
            return False
        try:
            self.session.start(before)
        except BuildError:
            return True
        objects = set(self.session.objects.of(self.session.objects.sources()))
        same = [one for one in outcome.choice.objects if one in objects]
        if self.options.each == "full":
            commands = [self.plan.compile(*self.plan.targets)]
        else:
            commands = self.session.objects.commands(same)
        code, lines = self.session.compile(commands, silent)
        mine = error_files(lines, str(self.session.walk.work.source))
        return code != 0 and bool(set(mine) & set(files))


class _NoMeter:
    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        return


def build_each(subject: BuildSubject, options: BuildOptions, config: Config, ui: Ui) -> EachRecord:
    """Compile every commit of the subject, from the base upwards.

    By default the objects of the files that a commit touches, of the generated files that it
    changes, and up to ``options.limit`` of what includes those; with ``options.each == 'full'``
    everything. Results are kept by tree, so a run that was cut off goes on where it was.

    :raise PatchBroken: a commit fails, and fails again in a clean directory
    :raise BuildError: the base fails, or something is missing
    """
    return _Each(subject, options, ui).run()
