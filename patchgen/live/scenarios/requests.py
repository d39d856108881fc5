"""What is about to happen to a VM when it is saved or loaded is neither lost nor fatal."""

from __future__ import annotations

from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND
from patchgen.live.qmp import Refused
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.turn import in_one_turn, monitors
from patchgen.live.waiting import require, until

CHANGING = "change its run state"
ROUNDS = 4


def _wakes(machine: Machine, before: int) -> None:
    until(lambda: machine.page().wakes > before, "the guest does not wake up")
    machine.wait_counting()


@scenario(
    "suspend-racing-with-cprsave",
    "a suspend by the guest during cprsave comes before it, after cprload, or refuses it",
)
def suspend_races(stage: Stage) -> None:
    machine = stage.start()
    first = machine.wait_counting()
    for number in range(ROUNDS):
        file = stage.file(f"guest{number}.sav")
        wakes = machine.page().wakes
        machine.guest.command(SUSPEND)
        answer = machine.qmp.at_once(("cprsave", {"file": str(file), "mode": "reboot"}))[0]
        if isinstance(answer, Refused):
            require(CHANGING in answer.description, str(answer))
            stage.unharmed(file.name)
        else:
            machine.ends()
            machine = stage.start("-S")
            machine.load(file)
        with stage.telling("the suspend was lost"):
            machine.wait_status("suspended")
        machine.execute("system_wakeup")
        _wakes(machine, wakes)
    now = machine.page()
    require((now.seed, now.starts) == (first.seed, first.starts), "the guest was started anew")


@scenario(
    "suspend-pending-refuses-cprsave",
    "a suspend that the main loop has not acted upon refuses cprsave, and comes",
)
def suspend_is_pending(stage: Stage) -> None:
    machine = stage.start(*monitors(2))
    before = machine.wait_counting()
    *_, said = in_one_turn(stage, machine, "o /w 0x604 0x2400", "cprsave guest.sav reboot")
    require(CHANGING in said, f"cprsave with a suspend pending: {said or 'succeeded'}")
    stage.unharmed("guest.sav")
    with stage.telling("the suspend was lost"):
        machine.wait_status("suspended")
    machine.execute("system_wakeup")
    # The guest did not ask for it, so the firmware finds no waking vector and starts it anew.
    until(
        lambda: machine.page().wakes or machine.page().starts > before.starts,
        "the guest does not wake up",
    )


@scenario(
    "wakeup-pending-refuses-cprsave",
    "a wakeup that the main loop has not acted upon refuses cprsave, and the guest wakes up",
)
def wakeup_is_pending(stage: Stage) -> None:
    machine = stage.start(*monitors(2))
    before = machine.wait_counting()
    machine.guest.command(SUSPEND)
    machine.wait_status("suspended")
    *_, said = in_one_turn(stage, machine, "system_wakeup", "cprsave guest.sav reboot")
    require(CHANGING in said, f"cprsave with a wakeup pending: {said or 'succeeded'}")
    stage.unharmed("guest.sav")
    _wakes(machine, 0)
    machine.goes_on(before)


@scenario(
    "wakeup-racing-with-cprsave",
    "a wakeup that is sent together with cprsave is not lost, whichever is first",
)
def wakeup_races(stage: Stage) -> None:
    machine = stage.start()
    before = machine.wait_counting()
    machine.guest.command(SUSPEND)
    machine.wait_status("suspended")
    file = stage.file()
    woken, saved = machine.qmp.at_once(
        ("system_wakeup", {}), ("cprsave", {"file": str(file), "mode": "reboot"})
    )
    require(woken == {}, f"system_wakeup: {woken}")
    if isinstance(saved, Refused):
        require(CHANGING in saved.description, str(saved))
        stage.unharmed(file.name)
    else:
        machine.ends()
        machine = stage.start("-S")
        machine.load(file)
    machine.wait_status("running")
    _wakes(machine, 0)
    machine.goes_on(before)


@scenario(
    "reset-pending-refuses-cprload",
    "a reset that the main loop has not acted upon refuses cprload, and hits nothing loaded",
)
def reset_is_pending(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    first.wait_counting()
    first.save(file)
    saved = first.page()

    second = stage.start("-S", *monitors(2))
    *_, said = in_one_turn(stage, second, "system_reset", f"cprload {file.name}")
    require(CHANGING in said, f"cprload with a reset pending: {said or 'succeeded'}")
    second.qmp.wait_event("RESET")
    second.wait_status("prelaunch")
    # And the way of a client that does not wait for the answer.
    answers = second.qmp.at_once(("system_reset", {}), ("cprload", {"file": str(file)}))
    require(answers[0] == {}, f"system_reset: {answers[0]}")
    if isinstance(answers[1], Refused):
        require(CHANGING in answers[1].description, str(answers[1]))
        second.wait_status("prelaunch")
        until(lambda: _loads(second, str(file)), "the reset stays pending")
    require(second.status() == "running", "it does not run after cprload")
    second.goes_on(saved)


def _loads(machine: Machine, file: str) -> bool:
    (answer,) = machine.qmp.at_once(("cprload", {"file": file}))
    if isinstance(answer, Refused):
        require(CHANGING in answer.description, str(answer))
        return False
    return True
