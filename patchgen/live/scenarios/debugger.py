"""gdb and guests that are suspended."""

from __future__ import annotations

from patchgen.live.gdb import Gdb
from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND
from patchgen.live.scenario import scenario
from patchgen.live.scenarios.suspended import suspend, wake
from patchgen.live.sockets import connect
from patchgen.live.stage import Stage
from patchgen.live.waiting import require, until

SERVER = ("-chardev", "socket,id=gdb,path=gdb,server,nowait", "-gdb", "chardev:gdb")


def attach(stage: Stage, machine: Machine) -> Gdb:
    """A debugger at its prompt."""
    running = machine.status() == "running"
    gdb = Gdb(connect(stage.file("gdb"), machine.monitor.alive))
    if running:
        _stopped(gdb)
    said = gdb.ask("?")
    require(said.startswith("T05"), f"asked why it has stopped, the server said {said!r}")
    return gdb


def _stopped(gdb: Gdb) -> None:
    said = gdb.reply()
    require(said.startswith("T02thread:"), f"interrupted, the server said {said!r}")


@scenario("gdb-of-a-suspended-guest", "gdb continues, steps, interrupts, and the guest sleeps on")
def of_a_suspended_guest(stage: Stage) -> None:
    machine = stage.start(*SERVER)
    since = suspend(machine)
    gdb = attach(stage, machine)
    gdb.interrupt()
    gdb.has_said_nothing()
    for packet in ("c", "s", "vCont;c", "vCont;s"):
        gdb.send(packet)
        gdb.has_said_nothing()
        require(gdb.ask("qNone\x03") == "", "a byte inside of a packet counts as an interrupt")
        require(machine.status() == "suspended", f"{packet} made the guest run")
        machine.stands_still()
        gdb.interrupt()
        _stopped(gdb)
        gdb.interrupt()
        gdb.has_said_nothing()
        require(machine.status() == "suspended", "the interrupt changed the run state")
        require(len(gdb.ask("g")) > 100, "no registers")
    require(gdb.ask("D") == "OK", "gdb cannot detach")
    require(machine.status() == "suspended", "detaching made the guest run")
    gdb.line.close()
    wake(machine, since)


@scenario("gdb-while-a-guest-suspends", "a guest that gdb has continued suspends, and is woken up")
def while_a_guest_suspends(stage: Stage) -> None:
    machine = stage.start(*SERVER)
    machine.wait_counting()
    gdb = attach(stage, machine)
    require(machine.status() == "paused", "gdb does not stop the guest")
    gdb.send("vCont;c")
    machine.wait_counting()
    machine.guest.command(SUSPEND)
    until(lambda: machine.status() == "suspended", "the guest does not suspend")
    since = machine.page()
    gdb.interrupt()
    _stopped(gdb)
    gdb.has_said_nothing()
    # No CPU is told to step, so it does not stop after the wakeup.
    gdb.send("vCont;s")
    gdb.has_said_nothing()
    wake(machine, since)
    gdb.interrupt()
    _stopped(gdb)
    require(machine.status() == "paused", "gdb does not stop the guest after the wakeup")
    require(gdb.ask("D") == "OK", "gdb cannot detach")
    gdb.line.close()
    machine.goes_on(since)


@scenario("gdb-of-a-loaded-guest", "gdb does not start a suspended guest that was just loaded")
def of_a_loaded_guest(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    since = suspend(first)
    first.save(file)
    second = stage.start(*SERVER, "-S")
    second.load(file)
    gdb = attach(stage, second)
    gdb.send("s")
    gdb.has_said_nothing()
    require(second.status() == "suspended", "gdb made the guest run")
    wake(second, since)
    gdb.interrupt()
    _stopped(gdb)
    gdb.line.close()
