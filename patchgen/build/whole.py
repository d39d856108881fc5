"""Builds one tree as a whole, or finds that it is built already."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import msgspec
from filelock import FileLock

from patchgen.build.diagnostics import failure_detail, warnings_of
from patchgen.build.plan import Plan, make_plan, reproducer
from patchgen.build.prepare import configure, export_source, is_intact
from patchgen.build.record import BuildOptions, BuildRecord, ModuleRecord, Workdir
from patchgen.build.runner import Progress, run_logged
from patchgen.build.subject import BuildSubject
from patchgen.build.toolchain import full_env
from patchgen.config import Config
from patchgen.errors import CompileFailed
from patchgen.ui import Ui

_CONFIGURED = "configured.json"


class _Configured(msgspec.Struct, frozen=True):
    """What is known once configure is through; lets a killed build go on from there."""

    features: dict[str, str]
    seconds: float
    compile_seconds: float = 0.0


def write_json(path: Path, value: object) -> None:
    """Write *value* to *path*, all or nothing."""
    data = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2) + b"\n"
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _finished(plan: Plan, work: Workdir, subject: BuildSubject) -> BuildRecord | None:
    """The record of a finished build of that tree, with this run's tag and commit."""
    try:
        data = (work.home / "metadata.json").read_bytes()
        record = msgspec.json.decode(
            data, type=BuildRecord, dec_hook=lambda kind, value: kind(value)
        )
    except (OSError, msgspec.MsgspecError):
        return None
    if not all(path.is_file() for path in (record.binary, *record.tools)):
        return None
    return replace(
        record,
        state="unchanged",
        tag=subject.tag,
        commit=subject.commit,
        pristine=subject.pristine,
        patches=len(subject.patches),
        # The commit of the earlier run may be gone by now.
        reproduce=reproducer(plan, subject),
    )


def build_subject(
    subject: BuildSubject, options: BuildOptions, config: Config, ui: Ui
) -> BuildRecord:
    """Build the subject's tree in the cache; a finished build is used again at once.

    A build that was killed goes on where it was.

    :raise BuildError: exit code 4; the message names the log, the detail shows its end
    """
    plan = make_plan(subject, options, ui)
    work = plan.workdir(subject.tree)
    work.home.mkdir(parents=True, exist_ok=True)
    with FileLock(work.home / "lock"):
        record = _finished(plan, work, subject)
        if record:
            ui.step(f"built before: {record.binary}")
            return record
        return _build(plan, work, subject, ui)


def _configured(plan: Plan, work: Workdir, subject: BuildSubject, ui: Ui) -> _Configured:
    mark = work.home / _CONFIGURED
    if work.source.is_dir() and work.build.is_dir():
        try:
            done = msgspec.json.decode(mark.read_bytes(), type=_Configured)
        except (OSError, msgspec.MsgspecError):
            pass
        else:
            if is_intact(plan, subject.repo, subject.tree, work.source):
                return done
            ui.warn(f"{work.source} is not whole any more: it is exported and built anew")
    mark.unlink(missing_ok=True)
    work.log.unlink(missing_ok=True)
    ui.step(f"exporting {subject.tag} (tree {subject.tree[:12]}) to {work.source}")
    export_source(plan, subject.repo, subject.tree, work.source)
    features, seconds = configure(plan, work, ui)
    done = _Configured(features, seconds)
    write_json(mark, done)
    return done


def _build(plan: Plan, work: Workdir, subject: BuildSubject, ui: Ui) -> BuildRecord:
    configured = _configured(plan, work, subject, ui)
    started = time.monotonic()
    command = plan.compile(*plan.targets)
    with ui.progress(f"compiling {subject.tag}") as meter:
        ran = run_logged(
            command, cwd=work.build, env=full_env(plan.env), log=work.log, watch=Progress(meter)
        )
    seconds = configured.compile_seconds + time.monotonic() - started
    if ran.code != 0 or not work.binary.is_file():
        write_json(
            work.home / _CONFIGURED, msgspec.structs.replace(configured, compile_seconds=seconds)
        )
        said = f"exit code {ran.code}" if ran.code else f"no {plan.era.binary} was made"
        raise CompileFailed(
            f"{plan.era.build[0]} failed ({said}); log: {work.log}",
            "see the first error; `patchgen build TAG --pristine` tells whether QEMU itself builds",
            failure_detail(ran.lines),
        )
    log = work.log.read_text(encoding="utf-8", errors="replace").splitlines()
    record = _record(plan, work, subject, configured, log, seconds)
    write_json(work.home / "metadata.json", record)
    return record


def _record(
    plan: Plan,
    work: Workdir,
    subject: BuildSubject,
    configured: _Configured,
    log: list[str],
    seconds: float,
) -> BuildRecord:
    return BuildRecord(
        state="built",
        tag=subject.tag,
        qemu=subject.version,
        commit=subject.commit,
        tree=subject.tree,
        pristine=subject.pristine,
        patches=len(subject.patches),
        era=plan.era.name,
        set=plan.options.features,
        features=configured.features,
        flags=plan.flags,
        compiler=plan.tools.cc_version,
        ccache=plan.tools.ccache is not None,
        meson=plan.era.meson,
        python=str(plan.tools.python),
        modules=tuple(
            ModuleRecord(one.path, one.origin, one.revision, one.exact) for one in plan.supplies
        ),
        silenced=plan.silenced,
        firmware="present" if plan.firmware else "absent",
        binary=work.binary,
        tools=tuple(work.build / name for name in plan.targets[1:]),
        source_dir=work.source,
        build_dir=work.build,
        log=work.log,
        warnings=warnings_of(log, str(work.source)),
        seconds=round(configured.seconds + seconds, 1),
        configure_seconds=configured.seconds,
        reproduce=reproducer(plan, subject),
    )
