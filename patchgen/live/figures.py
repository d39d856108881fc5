"""Pauses as figures: one round by its timestamps, many rounds by their percentiles."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

PHASES = ("save", "exec", "init", "command wait", "load")
"""What a pause is made of, in this order."""


@dataclass(frozen=True)
class Round:
    """One pause, seen from outside; all times in ms since the command was sent.

    What a round does not have, because nothing was executed in it, is as late as ``runs``.

    :ivar stopped: the guest's counter was seen to move for the last time
    :ivar replaced: the process was seen to have another binary
    :ivar linked: it was seen to have a second thread, which QEMU starts behind its libraries
    :ivar ready: its monitor began to read what was typed
    :ivar asked: its monitor had read the command that loads
    :ivar runs: the counter was seen to move again
    :ivar longest: the longest time without progress in the whole round: on a busy host that may be
        another one
    """

    stopped: float
    replaced: float
    linked: float
    ready: float
    asked: float
    runs: float
    longest: float

    @property
    def pause(self) -> float:
        """How long the guest stood still, ms."""
        return self.runs - self.stopped

    def phases(self) -> tuple[float, ...]:
        """ms per phase of :data:`PHASES`; their sum is the pause."""
        marks = [self.stopped, self.replaced, self.linked, self.ready, self.asked, self.runs]
        # Loading may begin, and even end, before the sampler gets to see the mark before it.
        for number in range(1, len(marks)):
            marks[number] = min(max(marks[number], marks[number - 1]), self.runs)
        return tuple(after - before for before, after in pairwise(marks))


def still(longest: tuple[float, float]) -> Round:
    """A round in which nothing was executed: the longest time in which the counter stood still."""
    stopped, runs = longest
    return Round(stopped, runs, runs, runs, runs, runs, runs - stopped)


@dataclass(frozen=True)
class Spread:
    """Some values in ms: percentiles are values that were measured (nearest rank)."""

    n: int
    min: float
    p50: float
    p95: float
    max: float


@dataclass(frozen=True)
class PhaseSpread:
    """A phase of the pause."""

    name: str
    spread: Spread


@dataclass(frozen=True)
class Measured:
    """Rounds of one kind.

    :ivar name: what was done
    :ivar longest: the longest time without progress anywhere in a round
    :ivar before: from the command until the guest stands still
    :ivar phases: parts of the pause; none where nothing was executed
    """

    name: str
    pause: Spread
    longest: Spread
    before: Spread
    phases: tuple[PhaseSpread, ...]


def spread(values: Iterable[float]) -> Spread:
    """The percentiles of *values*, at least one; rounded to microseconds."""
    ordered = sorted(values)

    def rank(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)

    return Spread(len(ordered), rank(0), rank(0.5), rank(0.95), rank(1))


def measured(name: str, rounds: Sequence[Round]) -> Measured:
    """What *rounds*, at least one, come to."""
    parts = list(zip(*(one.phases() for one in rounds), strict=True))
    executed = any(one.replaced != one.runs for one in rounds)
    phases = [
        PhaseSpread(phase, spread(values))
        for phase, values in zip(PHASES, parts, strict=True)
        if executed
    ]
    return Measured(
        name,
        spread(one.pause for one in rounds),
        spread(one.longest for one in rounds),
        spread(one.stopped for one in rounds),
        tuple(phases),
    )


_MARKS = ("stopped", "replaced", "linked", "ready", "asked", "runs")


def as_csv(kinds: Iterable[tuple[str, Sequence[Round]]]) -> str:
    """All rounds, one per line, with a head: what was done, number, marks, pause, in ms."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["what", "round", *(f"{mark}_ms" for mark in _MARKS), "pause_ms", "longest_ms"])
    for name, rounds in kinds:
        for number, one in enumerate(rounds, 1):
            marks = [f"{getattr(one, mark):.3f}" for mark in _MARKS]
            writer.writerow([name, number, *marks, f"{one.pause:.3f}", f"{one.longest:.3f}"])
    return out.getvalue()
