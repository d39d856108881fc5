"""Run states that ``cprload`` could not enter again refuse ``cprsave``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from patchgen.live.gdb import Gdb
from patchgen.live.machine import Machine
from patchgen.live.observer import POWER_OFF, GuestPage
from patchgen.live.refusal import refused
from patchgen.live.scenario import scenario
from patchgen.live.sockets import connect
from patchgen.live.stage import Stage
from patchgen.live.waiting import require, until

_IDE = 0x1E8


def _outb(machine: Machine, *writes: tuple[int, int]) -> None:
    """Write to ports, as the guest would."""
    for port, value in writes:
        machine.human(f"o /b {port:#x} {value:#x}")


def _panic(machine: Machine) -> None:
    _outb(machine, (0x505, 1))


def _bad_sector(machine: Machine) -> None:
    """Read the sector that fails once, of a disk that the firmware knows nothing of."""
    _outb(
        machine, *((_IDE + number, value) for number, value in enumerate((1, 100, 0, 0, 0xE0), 2))
    )
    _outb(machine, (_IDE + 7, 0x20))


def _watchdog(machine: Machine) -> None:
    """ib700 with no time at all."""
    _outb(machine, (0x443, 0xF))


def _migrate_away(machine: Machine) -> None:
    machine.execute("migrate", uri="exec:cat > /dev/null")


@dataclass(frozen=True)
class Row:
    """A run state, how it is entered, and that ``cont`` leaves it."""

    state: str
    enter: Callable[[Machine], None]


ROWS = (
    Row("guest-panicked", _panic),
    Row("io-error", _bad_sector),
    Row("watchdog", _watchdog),
    Row("postmigrate", _migrate_away),
)

BAD = (
    "driver=blkdebug,if=none,id=bad,image.driver=file,image.filename=bad,"
    "inject-error.0.event=none,inject-error.0.once=on,inject-error.0.sector=100,inject-error.0.errno=5"
)


@scenario(
    "refuses-run-states",
    "panicked, io-error, watchdog, debug, postmigrate, shutdown: refused, and cont leads on",
)
def run_states(stage: Stage) -> None:
    stage.disk("bad", "raw")
    words = ["-no-shutdown", "-device", "pvpanic", "-device", "ib700", "-watchdog-action", "pause"]
    words += ["-device", f"isa-ide,id=more,iobase={_IDE:#x},iobase2=0x3ee,irq=11"]
    words += ["-drive", BAD, "-device", "ide-hd,drive=bad,bus=more.0,rerror=stop"]
    machine = stage.start(*words)
    before = machine.wait_counting()
    for row in ROWS:
        row.enter(machine)
        _refused_in(stage, machine, row.state)
        machine.execute("cont")
        with stage.telling(f"after {row.state}"):
            before = machine.counts_on(before)
    _debug(stage, machine, before)
    machine.goes_on(before)

    machine.guest.command(POWER_OFF)
    _refused_in(stage, machine, "shutdown")
    machine.execute("system_reset")
    machine.execute("cont")
    until(lambda: machine.page().starts == before.starts + 1, "reset does not start it anew")
    machine.wait_counting()


def _refused_in(stage: Stage, machine: Machine, state: str) -> None:
    with stage.telling(state):
        machine.wait_status(state)
        refused(stage, machine, f"the VM is in state '{state}'")


def _debug(stage: Stage, machine: Machine, before: GuestPage) -> None:
    """One step of a debugger."""
    machine.execute("stop")
    machine.human("gdbserver unix:gdb,server,nowait")
    with connect(stage.file("gdb"), machine.monitor.alive) as line:
        gdb = Gdb(line)
        gdb.ask("?")
        said = gdb.ask("s")
        require(said.startswith("T05"), f"a step of the debugger ends with {said}")
        _refused_in(stage, machine, "debug")
        gdb.ask("D")
    machine.human("gdbserver none")
    with stage.telling("after debug"):
        machine.counts_on(before)


@scenario(
    "refuses-before-the-machine-exists",
    "-preconfig and -incoming: refused, and the VM starts as if nothing had been",
)
def before_it_exists(stage: Stage) -> None:
    machine = stage.start("-preconfig")
    said = machine.refusal("cprsave", file="new.sav", mode="reboot")
    require("preconfig" in said, f"preconfig: {said}")
    require(machine.status() == "preconfig", "the refusal changed the run state")
    stage.unharmed("new.sav")
    machine.execute("x-exit-preconfig")
    before = machine.wait_counting()

    machine.execute("stop")
    machine.execute("migrate", uri="exec:cat > stream")
    machine.wait_status("postmigrate")
    before = machine.page()
    machine.quit()
    stage.forget_ram()
    machine = stage.start("-incoming", "defer", "-S")
    refused(stage, machine, "the VM is in state 'inmigrate'")
    machine.execute("migrate-incoming", uri="exec:cat stream")
    machine.wait_status("paused")
    machine.execute("cont")
    machine.goes_on(before)


@scenario(
    "refuses-record-replay",
    "while execution is recorded, cprsave is refused and the record goes on",
)
def replay(stage: Stage) -> None:
    machine = stage.start("-icount", "shift=auto,rr=record,rrfile=record")
    before = machine.wait_counting()
    refused(stage, machine, "record/replay is in use")
    machine.goes_on(before)
