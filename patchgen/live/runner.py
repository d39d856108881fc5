"""Runs scenarios one by one and keeps what those that fail leave behind."""

from __future__ import annotations

import shlex
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from patchgen.live.accel import probe_kvm
from patchgen.live.linux import LinuxGuest
from patchgen.live.qemu import Qemu
from patchgen.live.qmp import Refused
from patchgen.live.record import ScenarioRecord
from patchgen.live.scenario import Promised
from patchgen.live.stage import Stage, no_linux
from patchgen.live.waiting import Failed, Skipped


@dataclass(frozen=True)
class Run:
    """How scenarios are run.

    :ivar place: directory; each scenario has one of its own below, made anew
    :ivar keep: keep the directories of scenarios that pass
    :ivar alone: words of a command to which ``--only NAME`` is added to run one alone
    :ivar pristine: builds the QEMU without the series when it is first asked for
    :ivar linux: finds or fetches the Linux guest when it is first asked for
    """

    qemu: Qemu
    place: Path
    keep: bool
    alone: tuple[str, ...]
    pristine: Callable[[], Qemu]
    linux: Callable[[], LinuxGuest] = no_linux


def run_one(run: Run, one: Promised, accel: str) -> ScenarioRecord:
    """Play one scenario; never raises for what it does."""
    name = one.scenario.name if accel == "tcg" else f"{one.scenario.name}@{accel}"
    place = run.place / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    started = time.monotonic()
    state, reason, left_out = _play(run, one, accel, place)
    if state == "skipped" or (state == "passed" and not run.keep):
        shutil.rmtree(place)
    return ScenarioRecord(
        one.scenario.name,
        one.scenario.summary,
        one.numbers,
        accel,
        state,
        reason,
        round(time.monotonic() - started, 1),
        place if place.exists() else None,
        "" if state == "passed" else _alone(one, run.alone),
        left_out,
    )


def _play(run: Run, one: Promised, accel: str, place: Path) -> tuple[str, str, tuple[str, ...]]:
    """(state, reason, what was left out)"""
    stage = Stage(run.qemu.under(accel), place, run.pristine, run.linux)
    try:
        with stage:
            one.scenario.play(stage)
    except Skipped as exc:
        return "skipped", str(exc), ()
    except Exception as exc:
        # Whatever goes wrong in a scenario is its result; the next one has a stage of its own.
        text = traceback.format_exc()
        (place / "failure.txt").write_text(text, encoding="utf-8", newline="\n")
        told = str(exc) if isinstance(exc, Failed | Refused) else f"{type(exc).__name__}: {exc}"
        reason = told.strip().splitlines()[0] if told.strip() else type(exc).__name__
        return "failed", reason, tuple(stage.notes)
    return "passed", "", tuple(stage.notes)


def skip(one: Promised, accel: str, reason: str, alone: tuple[str, ...]) -> ScenarioRecord:
    """The record of a scenario that is not run."""
    name, summary, command = one.scenario.name, one.scenario.summary, _alone(one, alone)
    return ScenarioRecord(name, summary, one.numbers, accel, "skipped", reason, 0.0, None, command)


def _alone(one: Promised, words: tuple[str, ...]) -> str:
    """The command that runs it alone."""
    return shlex.join([*words, "--only", one.scenario.name])


def run_all(run: Run, chosen: Iterable[Promised], accels: str) -> Iterator[ScenarioRecord]:
    """Play the scenarios in their order.

    :param accels: ``tcg``, ``kvm``, or ``auto``: all under TCG, those that are worth it again
        under KVM where the probe shows that it works
    """
    chosen = tuple(chosen)
    why = ""
    if accels == "kvm" or (accels == "auto" and any(one.scenario.kvm for one in chosen)):
        place = run.place / "probe-kvm"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        why = probe_kvm(run.qemu, place)
        if not why:
            shutil.rmtree(place)
    for one in chosen:
        if accels != "kvm":
            yield run_one(run, one, "tcg")
        if accels == "kvm" or (accels == "auto" and one.scenario.kvm):
            if why:
                yield skip(one, "kvm", f"KVM does not work here: {why}", run.alone)
            else:
                yield run_one(run, one, "kvm")
