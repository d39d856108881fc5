"""Nothing changes a guest between success and exit; nothing is saved while others work on it."""

from __future__ import annotations

import os
import shutil
import signal

from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND
from patchgen.live.qmp import Refused, pipeline
from patchgen.live.refusal import refused
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.turn import in_one_turn, monitors
from patchgen.live.waiting import LIMIT, require, until

GATE = "The VM state has been saved by cprsave, and QEMU is about to exit"
LATE = (
    "cont",
    "migrate -d exec:cat>stream",
    "savevm late",
    "loadvm early",
    "dump-guest-memory dump",
    "cprsave late.sav reboot",
)
"""What comes between success and exit, and must be refused."""


def _all_refused(lines: tuple[str, ...], answers: list[str]) -> None:
    require(answers[0] == "", f"cprsave: {answers[0]}")
    for line, answer in zip(lines, answers[1:], strict=True):
        require(GATE in answer, f"{line.split()[0]} after cprsave: {answer or 'no refusal'}")


def _no_event(machine: Machine, *names: str) -> None:
    seen = {event["event"] for event in machine.qmp.events()}
    for name in names:
        require(name not in seen, f"event {name} after cprsave")


@scenario(
    "gate-after-cprsave",
    "after success cont, migrate, savevm, loadvm, dump and cprsave are refused until QEMU exits",
)
def after_success(stage: Stage) -> None:
    file = stage.file()
    machine = stage.start(*monitors(len(LATE) + 1))
    before = machine.wait_counting()
    answers = in_one_turn(stage, machine, f"cprsave {file.name} reboot", *LATE)
    machine.ends()
    _all_refused(LATE, answers)
    _no_event(machine, "RESUME")
    stage.unharmed("stream", "dump", "late.sav")
    saved = machine.page()
    second = stage.start("-S")
    second.load(file)
    now = second.goes_on(saved)
    require(now.starts == before.starts, "the guest was started anew")


@scenario(
    "gate-keeps-a-paused-guest",
    "after cprsave cont does not move a paused guest by one count, and it goes on after cprload",
)
def paused_guest(stage: Stage) -> None:
    file = stage.file()
    machine = stage.start(*monitors(2))
    machine.wait_counting()
    machine.execute("stop")
    before = machine.page()
    lines = (f"cprsave {file.name} reboot", "cont")
    answers = in_one_turn(stage, machine, *lines)
    machine.ends()
    _all_refused(("cont",), answers)
    _no_event(machine, "RESUME")
    require(machine.page() == before, "the guest ran between success and exit")
    second = stage.start("-S")
    second.load(file)
    require(second.status() == "paused", f"paused became {second.status()}")
    require(second.page() == before, "cprload moved the guest")
    second.execute("cont")
    second.goes_on(before)


@scenario(
    "gate-keeps-a-suspended-guest",
    "after cprsave of a suspended guest system_wakeup is refused; it wakes up after cprload",
)
def suspended_guest(stage: Stage) -> None:
    file = stage.file()
    machine = stage.start(*monitors(2))
    machine.wait_counting()
    machine.guest.command(SUSPEND)
    machine.wait_status("suspended")
    before = machine.page()
    lines = (f"cprsave {file.name} reboot", "system_wakeup")
    answers = in_one_turn(stage, machine, *lines)
    machine.ends()
    _all_refused(lines[1:], answers)
    _no_event(machine, "WAKEUP")
    require(machine.page() == before, "the guest ran between success and exit")
    second = stage.start("-S")
    second.load(file)
    require(second.status() == "suspended", f"suspended became {second.status()}")
    second.execute("system_wakeup")
    until(lambda: second.page().wakes == 1, "the guest does not wake up")
    second.counts_on(before)


@scenario(
    "gate-behind-a-pipelined-cprsave",
    "a QMP client that sends cont right behind cprsave gets an error or nothing, no running guest",
)
def pipelined(stage: Stage) -> None:
    file = stage.file()
    machine = stage.start("-qmp", "unix:pipeline,server,nowait")
    machine.wait_counting()
    first, *late = pipeline(
        stage.file("pipeline"),
        machine.monitor.alive,
        ("cprsave", {"file": str(file), "mode": "reboot"}),
        ("cont", {}),
        ("migrate", {"uri": "exec:cat>stream"}),
        ("cprsave", {"file": "late.sav", "mode": "reboot"}),
    )
    _ends(stage, machine)
    require(first == {}, f"cprsave: {first}")
    for answer in late:
        require(isinstance(answer, Refused) and answer.description == GATE, f"{answer}")
    _no_event(machine, "RESUME")
    stage.unharmed("stream", "late.sav")
    saved = machine.page()
    second = stage.start("-S")
    second.load(file)
    second.goes_on(saved)


def _ends(stage: Stage, machine: Machine) -> None:
    """Exit code 0, or what 5.2 makes of any exit with commands unread."""
    code = machine.monitor.wait_end()
    if code == -signal.SIGABRT and "aio_ctx_finalize" in machine.monitor.last_words():
        stage.leave_out("exit code", "5.2 aborts in aio_ctx_finalize, as it does behind quit")
    else:
        require(code == 0, f"exit code {code} instead of 0")


@scenario(
    "refuses-during-migration",
    "both ends of a running migration refuse cprsave and cprload; it completes, the guest goes on",
)
def migration(stage: Stage) -> None:
    source = stage.start()
    before = source.wait_counting()
    target = stage.start("-incoming", "unix:incoming", ram="ram2")
    refused(stage, target, "the VM is in state 'inmigrate'")
    source.execute("migrate-set-parameters", max_bandwidth=4096)
    source.execute("migrate", uri="unix:incoming")

    def under_way() -> bool:
        info = source.execute("query-migrate")
        return bool(info.get("status") == "active" and info["ram"]["transferred"] > 0)

    until(under_way, "the migration does not begin")
    refused(stage, source, "a migration is in progress")
    refused(stage, target, "the VM is in state 'inmigrate'")
    for machine in (source, target):
        said = machine.refusal("cprload", file="old.sav")
        require("must be started with option -S" in said, f"cprload during migration: {said}")
    require(under_way(), "the refusals ended the migration")
    source.counts_on(before)
    source.execute("migrate-set-parameters", max_bandwidth=1 << 30)
    source.wait_status("postmigrate")
    gone = source.page()
    target.wait_status("running")
    target.goes_on(gone)
    refused(stage, source, "the VM is in state 'postmigrate'")


@scenario(
    "refuses-during-colo",
    "both sides of COLO refuse; when the secondary is given up, the primary goes on",
)
def colo(stage: Stage) -> None:
    primary = stage.start()
    before = primary.wait_counting()
    shutil.copyfile(stage.file(stage.boot_disk()), stage.file("boot2.img"))
    words = stage.argv("-incoming", "unix:incoming", ram="ram2")
    # Both run, each with a disk of its own.
    words = [word.replace("file=boot.img", "file=boot2.img") for word in words]
    secondary = stage.spawn(words, ram="ram2")
    for machine in (primary, secondary):
        switch = {"capability": "x-colo", "state": True}
        machine.execute("migrate-set-capabilities", capabilities=[switch])
    # No checkpoint comes while we look.
    primary.execute("migrate-set-parameters", x_checkpoint_delay=int(LIMIT * 1000))
    primary.execute("migrate", uri="unix:incoming")
    until(
        lambda: primary.execute("query-migrate").get("status") == "colo",
        "COLO does not begin",
    )
    secondary.wait_status("running")
    primary.wait_status("running")
    refused(stage, primary, "COLO is in use", "a migration is in progress")
    refused(stage, secondary, "COLO is in use")
    primary.execute("x-colo-lost-heartbeat")
    until(
        lambda: primary.execute("query-migrate").get("status") == "completed",
        "COLO does not end",
    )
    primary.wait_status("running")
    primary.goes_on(before)


@scenario(
    "refuses-during-a-dump",
    "while guest memory is dumped, cprsave is refused; the dump completes, the guest goes on",
)
def dump(stage: Stage) -> None:
    machine = stage.start()
    before = machine.wait_counting()
    pipe = stage.file("pipe")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        machine.execute("dump-guest-memory", paging=False, protocol="file:pipe", detach=True)
        refused(
            stage, machine, "the VM is in state 'save-vm'", "a dump of guest memory is in progress"
        )
        os.set_blocking(reader, True)
        size = _drain(reader)
    finally:
        os.close(reader)
    machine.qmp.wait_event("DUMP_COMPLETED")
    require(size > 64 << 20, f"the dump has {size} bytes only")
    machine.wait_status("running")
    machine.goes_on(before)


def _drain(reader: int) -> int:
    size = 0
    while data := os.read(reader, 1 << 20):
        size += len(data)
    return size
