"""The demonstration: the cover letter's second example, played by a guest of ours."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.observer import GuestPage, Observer
from patchgen.live.pause import PauseMeter
from patchgen.live.stage import Stage
from patchgen.live.transcript import rendered
from patchgen.live.waiting import require

SAVED = "guest.sav"
_SHOWN = ("-object", "-S")


@dataclass(frozen=True)
class Phase:
    """A part of the pause, in milliseconds."""

    name: str
    ms: float


@dataclass(frozen=True)
class Played:
    """A demonstration that went well.

    :ivar transcript: what was to be read on the terminal, cut from the raw logs
    :ivar raw: the raw logs, one per terminal
    :ivar commands: the whole command lines of QEMU
    :ivar seeds: the seed that each QEMU had for its guest, should it start anew
    :ivar pause_ms: the longest time in which the guest's counter stood still
    """

    transcript: tuple[str, ...]
    raw: tuple[Path, ...]
    commands: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    before: GuestPage
    after: GuestPage
    pause_ms: float
    phases: tuple[Phase, ...]


def _shown(argv: list[str]) -> str:
    """A command line as one would write it in a letter: what matters here, and dots."""
    words = [Path(argv[0]).name]
    for number, word in enumerate(argv):
        if word in _SHOWN:
            if words[-1] != "...":
                words.append("...")
            words += [word] if word == "-S" else [word, argv[number + 1]]
    return "# " + shlex.join(words).replace("'...'", "...")


def _status(machine: Machine, wanted: str) -> None:
    said = machine.human("info status").strip()
    require(said == f"VM status: {wanted}", f"info status says {said!r}, not {wanted!r}")


def play(stage: Stage) -> Played:
    """Save a running guest, end its QEMU, go on with it in another one.

    Commands are typed into the human monitor.

    :raise Failed: something is not as it must be
    """
    first = stage.start()
    first.wait_counting()
    first.wait_lines()
    _status(first, "running")
    with Observer(stage.ram) as guest, PauseMeter(guest) as meter:
        asked = time.monotonic()
        first.monitor.type(f"cprsave {SAVED} reboot")
        first.ends()
        ended = time.monotonic()
        before = first.page()
        second = stage.start("-S")
        started = time.monotonic()
        _status(second, "paused (prelaunch)")
        loading = time.monotonic()
        said = second.human(f"cprload {SAVED}")
        loaded = time.monotonic()
        require(not said, f"cprload says {said!r}")
        _status(second, "running")
        after = second.goes_on(before)
    raw = tuple(stage.file(f"monitor{number}.raw") for number in (1, 2))
    lines: list[str] = []
    for machine, log in zip((first, second), raw, strict=True):
        lines += [_shown(machine.argv), *rendered(log.read_bytes())]
    phases = (
        Phase("cprsave and exit", 1e3 * (ended - asked)),
        Phase("start of the new process", 1e3 * (started - ended)),
        Phase("info status", 1e3 * (loading - started)),
        Phase("cprload", 1e3 * (loaded - loading)),
    )
    return Played(
        tuple(lines),
        raw,
        tuple(tuple(machine.argv) for machine in (first, second)),
        tuple(stage.seeds),
        before,
        after,
        1e3 * meter.longest,
        phases,
    )
