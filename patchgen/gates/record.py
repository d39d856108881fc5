"""Gates and what they found, as they are printed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Gate(Enum):
    """The gates by the names that ``--no-gate`` takes, in the order in which they are tried."""

    SUBJECT = "subject"
    WHITESPACE = "whitespace"
    DCO = "dco"
    DIFFSTAT = "diffstat"
    TREE = "tree"
    MAINTAINERS = "maintainers"
    CHECKPATCH = "checkpatch"
    COMPILE = "compile"

    @property
    def code(self) -> str:
        """The code of a failure, as docs/errors.md lists it."""
        return _CODES[self]


_CODES = {
    Gate.SUBJECT: "PG511",
    Gate.WHITESPACE: "PG512",
    Gate.DCO: "PG513",
    Gate.DIFFSTAT: "PG514",
    Gate.TREE: "PG515",
    Gate.MAINTAINERS: "PG516",
    Gate.CHECKPATCH: "PG517",
    Gate.COMPILE: "PG518",
}


class GateState(Enum):
    """How a gate ended; ``not-run`` where another failed before the slow one."""

    PASSED = "passed"
    FAILED = "failed"
    OFF = "off"
    NOT_RUN = "not-run"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a patch.

    :ivar number: of the patch, 0 for the cover letter or the series as a whole
    """

    number: int
    text: str


@dataclass(frozen=True)
class Accepted:
    """A finding that the patch's file accepts, with the reason that stands there."""

    number: int
    text: str
    reason: str


@dataclass(frozen=True)
class GateResult:
    """One gate.

    :ivar code: of the failure; empty if there is none
    :ivar summary: what was looked at, one line
    """

    gate: Gate
    state: GateState
    code: str = ""
    summary: str = ""
    findings: tuple[Finding, ...] = ()
    accepted: tuple[Accepted, ...] = ()


def judged(
    gate: Gate,
    summary: str,
    findings: tuple[Finding, ...] = (),
    accepted: tuple[Accepted, ...] = (),
) -> GateResult:
    """The result of a gate that was tried: it failed if there are findings."""
    state = GateState.FAILED if findings else GateState.PASSED
    return GateResult(gate, state, gate.code if findings else "", summary, findings, accepted)
