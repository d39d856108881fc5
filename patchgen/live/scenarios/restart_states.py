"""Restart mode: from every run state, by both monitors, and nothing piles up."""

from __future__ import annotations

from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND, GuestPage
from patchgen.live.process import descriptors, left_open, memory
from patchgen.live.restart import STATE, loaded, restart, restarted, started
from patchgen.live.scenario import scenario
from patchgen.live.stage import SHARED, Stage
from patchgen.live.statefile import StateFile
from patchgen.live.waiting import require, until

VARIABLES = ("QEMU_CPR_STATE", "QEMU_START_FREEZE")
ROUNDS = 5


@scenario(
    "restart-round-trip-hmp",
    "typed into the human monitor: help, cprinfo, cprsave restart, info status, cprload",
)
def by_hmp(stage: Stage) -> None:
    machine = started(stage)
    machine.wait_counting()
    modes = machine.human("cprinfo").split()
    require(modes == ["reboot", "restart"], f"cprinfo says {modes}")
    told = machine.execute("cprinfo")
    require(told == {"modes": ["reboot", "restart"]}, f"cprinfo returns {told}")
    for command in ("cprsave", "cprload", "cprinfo"):
        said = machine.human(f"help {command}")
        require(said.startswith(command), f"help {command} says {said!r}")
    require("restart" in machine.human("help cprsave"), "help cprsave does not tell of restart")
    since = machine.page()
    restarted(machine, by="hmp")
    said = machine.human("info status").strip()
    require(said == "VM status: paused (prelaunch)", f"info status says {said!r}")
    loaded(machine, since, by="hmp")
    said = machine.human("info status").strip()
    require(said == "VM status: running", f"info status says {said!r}")
    machine.goes_on(since)
    seal = StateFile.parse(stage.file(STATE).read_bytes())
    require(seal.word("mode") == "restart", f"the mode in the file is {seal.word('mode')}")
    require(stage.file(STATE).stat().st_mode & 0o777 == 0o600, "the file can be read by others")


def _stands_still(machine: Machine, since: GuestPage, status: str) -> None:
    for _ in range(2):
        restarted(machine)
        loaded(machine, since, status=status)
        machine.stands_still()


@scenario(
    "restart-run-states",
    "paused, suspended and in prelaunch: it is that afterwards, twice, and goes on from there",
)
def run_states(stage: Stage) -> None:
    machine = started(stage, "-S")
    for _ in range(2):
        restarted(machine)
        machine.load(STATE)
        require(machine.status() == "prelaunch", f"prelaunch became {machine.status()}")
        require(machine.guest.page() is None, "the guest ran in prelaunch")
    machine.execute("cont")
    since = machine.wait_counting()
    require(since.starts == 1, f"the guest was started {since.starts} times")

    machine.execute("stop")
    since = machine.page()
    _stands_still(machine, since, "paused")
    machine.execute("cont")
    machine.goes_on(since)

    machine.guest.command(SUSPEND)
    machine.wait_status("suspended")
    since = machine.page()
    _stands_still(machine, since, "suspended")
    machine.execute("system_wakeup")
    machine.wait_status("running")
    until(lambda: machine.page().wakes == since.wakes + 1, "the guest does not wake up")
    machine.goes_on(since)
    machine.goes_on(restart(machine))


def children_see(machine: Machine, stage: Stage) -> dict[str, str]:
    """The environment that a program gets that QEMU starts; the VM is paused after that."""
    seen = stage.file("environment")
    machine.execute("stop")
    machine.execute("migrate", uri="exec:env -0 >environment; cat >/dev/null")
    machine.wait_status("postmigrate")
    words = seen.read_bytes().decode().split("\0")[:-1]
    return dict(word.split("=", 1) for word in words)


def clean_environment(machine: Machine, stage: Stage) -> None:
    """Require that programs that QEMU starts do not learn of the restart."""
    found = [name for name in children_see(machine, stage) if name in VARIABLES]
    require(not found, f"programs that QEMU starts see {' '.join(found)}")


@scenario(
    "restart-leaves-nothing-behind",
    f"{ROUNDS} restarts: no more descriptors, variables, memory or threads of it; flags as before",
)
def nothing_behind(stage: Stage) -> None:
    machine = started(stage, "-device", "VGA")
    machine.wait_counting()
    inherited = left_open(machine.pid)
    restart(machine)
    fds = descriptors(machine.pid)
    own, kept = memory(machine.pid)
    size = _environment_size(machine)
    for _ in range(ROUNDS - 1):
        since = restart(machine)
        now = descriptors(machine.pid)
        more, fewer = now - fds, fds - now
        require(not more and not fewer, f"descriptors: {dict(more)} more, {dict(fewer)} fewer")
    open_now = left_open(machine.pid) - inherited
    require(not open_now, f"not closed by exec: {dict(open_now)}")
    grown = memory(machine.pid)[0] - own
    require(grown < 16384, f"the process has {grown} KiB more of its own")
    held = memory(machine.pid)[1] - kept
    require(held < 4096, f"files without a name hold {held} KiB more")
    # A descriptor's number may have more digits.
    require(abs(_environment_size(machine) - size) < 4, "the environment grows")
    leftover = [path.name for path in stage.place.glob(".cprsave-*")]
    require(not leftover, f"files were left behind: {leftover}")
    clean_environment(machine, stage)
    machine.execute("cont")
    machine.goes_on(since)


def _environment_size(machine: Machine) -> int:
    return len(Path(f"/proc/{machine.pid}/environ").read_bytes())


@scenario(
    "start-freeze",
    "QEMU_START_FREEZE alone means -S and no more: cont boots the guest, children do not see it",
)
def freeze(stage: Stage) -> None:
    argv = ["env", "QEMU_START_FREEZE=", *stage.argv(memory=None)]
    machine = stage.spawn(argv)
    machine.watch_process()
    require(machine.status() == "prelaunch", f"it is {machine.status()}, not prelaunch")
    require(machine.guest.page() is None, "the guest runs")
    machine.execute("cont")
    since = machine.wait_counting()
    # It waits for nothing: all that a restarted QEMU refuses until cprload works.
    clean_environment(machine, stage)
    machine.execute("cont")
    machine.goes_on(restart(machine))
    require(machine.page().starts == since.starts, "the guest was started anew")
    machine.quit()
    # Options that a restarted QEMU ignores.
    stage.forget_ram()
    source = started(stage, memory=SHARED)
    before = source.wait_counting()
    source.execute("stop")
    source.execute("migrate", uri="exec:cat >stream")
    source.wait_status("postmigrate")
    source.quit()
    stage.forget_ram()
    argv = stage.argv("-incoming", "exec:cat stream")
    target = stage.spawn(["env", "QEMU_START_FREEZE=", *argv])
    target.wait_status("paused")
    target.execute("cont")
    target.goes_on(before)


WARNING = "is ignored"


def _warned(said: str, what: str) -> None:
    """Require one warning, about *what*."""
    lines = [line for line in said.splitlines() if WARNING in line]
    require(len(lines) == 1 and what in lines[0], f"about {what} there is: {lines or 'nothing'}")


@scenario(
    "restart-ignores-options",
    "-incoming, -loadvm, -pause: ignored with one warning, each time; QEMU_PAUSE: once, then gone",
)
def options(stage: Stage) -> None:
    stage.boot_on_qcow2()
    source = started(stage)
    source.wait_counting()
    source.human("savevm before")
    source.execute("stop")
    source.execute("migrate", uri="exec:cat >stream")
    source.wait_status("postmigrate")
    source.quit()
    starts = {
        "-incoming": stage.argv("-incoming", "exec:cat stream", memory=None),
        "-loadvm": stage.argv("-loadvm", "before", memory=None),
        "-pause": stage.argv("-pause", "1", memory=None),
        "QEMU_PAUSE": ["env", "QEMU_PAUSE=1", *stage.argv(memory=None)],
    }
    for what, argv in starts.items():
        with stage.telling(what):
            machine = stage.spawn(argv)
            machine.watch_process()
            if machine.status() != "running":
                # It has arrived, as it was sent: paused.
                machine.wait_status("paused")
                machine.execute("cont")
            since = machine.wait_counting()
            for number in range(2):
                said = restarted(machine)
                if number and what == "QEMU_PAUSE":
                    require(WARNING not in said, f"of a variable that is gone: {said}")
                else:
                    _warned(said, what)
                loaded(machine, since)
            machine.goes_on(since)
            machine.quit()
