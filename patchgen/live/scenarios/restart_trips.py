"""Restart mode: a guest goes on in another QEMU in the same process."""

from __future__ import annotations

from patchgen.live.restart import restart, started
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage


@scenario(
    "restart-round-trip-qmp",
    "by QMP: cprsave restart, the same process is another QEMU, cprload, the guest goes on",
    kvm=True,
)
def by_qmp(stage: Stage) -> None:
    machine = started(stage)
    since = restart(machine)
    machine.goes_on(since)
    stage.unharmed()
