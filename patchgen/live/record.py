"""What became of scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ScenarioRecord:
    """One scenario, run once.

    :ivar patches: numbers of the patches that ask for it
    :ivar accel: ``tcg`` or ``kvm``
    :ivar state: ``passed``, ``failed`` or ``skipped``
    :ivar reason: one line: what was not seen, or why it was skipped; empty if passed
    :ivar place: its directory with logs, console and QMP conversation; ``None`` if it is gone
    :ivar alone: a command that runs it alone; empty if passed
    :ivar left_out: what of it was not played here, and why, one line each
    """

    name: str
    summary: str
    patches: tuple[int, ...]
    accel: str
    state: str
    reason: str
    seconds: float
    place: Path | None
    alone: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckRecord:
    """All scenarios of one QEMU.

    :ivar tree: git tree id of the sources, with the series
    :ivar patches: how many patches of the series are in it
    :ivar kvm: what the probe says: empty if KVM works, else why it is not used
    """

    tag: str
    qemu: str
    commit: str
    tree: str
    patches: int
    binary: Path
    kvm: str
    scenarios: tuple[ScenarioRecord, ...]
    passed: int
    failed: int
    skipped: int
    seconds: float
