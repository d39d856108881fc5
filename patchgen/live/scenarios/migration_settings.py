"""What is set for migration has no say in saves and loads."""

from __future__ import annotations

from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import Skipped, require

_OLD = "pc-i440fx-2.3"
"""The last machine type whose streams do not tell that a guest is running or paused."""


@scenario(
    "reboot-old-machine",
    "on a machine type that keeps the run state out of its streams, cprsave tells it all the same",
)
def old_machine(stage: Stage) -> None:
    if f"{_OLD} " not in stage.qemu.help("-machine", "help"):
        raise Skipped(f"this QEMU has no machine {_OLD}")
    file = stage.file()
    one = stage.start(machine=_OLD)
    one.wait_counting()
    for status in ("running", "paused"):
        if status == "paused":
            one.execute("stop")
        one.save(file)
        saved = one.page()
        one = stage.start("-S", machine=_OLD)
        one.load(file)
        require(one.status() == status, f"after cprload it is {one.status()}, not {status}")
    one.execute("cont")
    one.goes_on(saved)


@scenario(
    "reboot-other-capabilities",
    "a state that was saved with migration capabilities loads into a process without them",
)
def other_capabilities(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    first.wait_counting()
    # The only one that is compared at load (5.2); it is about RAM.
    wanted = {"capability": "x-ignore-shared", "state": True}
    first.execute("migrate-set-capabilities", capabilities=[wanted])
    first.save(file)
    saved = first.page()
    second = stage.start("-S")
    second.load(file)
    second.goes_on(saved)
