"""Nothing moves a guest between cprsave and exec, nor before cprload in the new QEMU."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from patchgen.live.gdb import Gdb
from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND
from patchgen.live.restart import STATE, loaded, restarted, started
from patchgen.live.scenario import scenario
from patchgen.live.scenarios.debugger import SERVER
from patchgen.live.scenarios.gate import GATE
from patchgen.live.sockets import connect
from patchgen.live.stage import Stage
from patchgen.live.turn import in_one_turn, monitors
from patchgen.live.waiting import require, until

AWAITS = "QEMU was restarted by cprsave, and the VM state is to be loaded by cprload"
_LINES = (
    "cont",
    "migrate -d exec:cat>stream",
    "savevm late",
    "loadvm early",
    "dump-guest-memory dump",
    "cprsave late.sav reboot",
    "cprsave late.sav restart",
)
_UART = 0x2F8


@scenario(
    "restart-gate-after-cprsave",
    "between success and exec cont, migrate, savevm, loadvm, dump, cprsave do nothing",
)
def after_success(stage: Stage) -> None:
    machine = started(stage, *monitors(len(_LINES) + 1))
    since = machine.wait_counting()
    answers = in_one_turn(stage, machine, f"cprsave {STATE} restart", *_LINES)
    machine.rejoin()
    machine.watch_process()
    require(answers[0] == "", f"cprsave: {answers[0]}")
    for line, answer in zip(_LINES, answers[1:], strict=True):
        # Refused, or not looked at by the QEMU that is about to be replaced.
        fine = GATE in answer or answer in ("", line)
        require(fine, f"{line.split()[0]} after cprsave: {answer}")
    require(machine.status() == "prelaunch", f"the new QEMU is {machine.status()}")
    stage.unharmed("stream", "dump", "late.sav")
    loaded(machine, since)
    machine.goes_on(since)


def _refused(machine: Machine, *lines: str) -> None:
    for line in lines:
        said = machine.human(line)
        require(AWAITS in said, f"{line} before cprload: {said or 'no refusal'}")
        status = machine.status()
        require(status == "prelaunch", f"{line} before cprload made it {status}")


@scenario(
    "restart-gate-before-cprload",
    "before cprload cont, gdb, migrate, savevm, loadvm, dump, cprsave do not start or save the VM",
)
def before_load(stage: Stage) -> None:
    machine = started(stage)
    since = machine.wait_counting()
    restarted(machine)
    _refused(machine, *_LINES)
    for command, arguments in (
        ("cont", {}),
        ("migrate", {"uri": "exec:cat>stream"}),
        ("cprsave", {"file": "late.sav", "mode": "restart"}),
        ("cprsave", {"file": "late.sav", "mode": "reboot"}),
        ("dump-guest-memory", {"paging": False, "protocol": "file:dump"}),
    ):
        said = machine.refusal(command, **arguments)
        require(said == AWAITS, f"{command} before cprload: {said}")
    machine.human("gdbserver unix:gdb,server,nowait")
    gdb = Gdb(connect(stage.file("gdb"), machine.monitor.alive))
    for packet in ("c", "vCont;c", "D"):
        gdb.send(packet)
        for _ in range(20):
            status = machine.status()
            require(status in ("prelaunch", "paused"), f"gdb's {packet} made it {status}")
    gdb.line.close()
    machine.human("gdbserver none")
    # Neither a wakeup nor a reset is a start.
    for line in ("system_wakeup", "system_reset"):
        machine.human(line)
        require(machine.status() != "running", f"{line} started the VM")
    stage.unharmed("stream", "dump", "late.sav")
    for bad in ("none.sav", "/dev/null", "boot.img"):
        said = machine.refusal("cprload", file=bad)
        require(bad in said, f"cprload {bad}: {said}")
    loaded(machine, since)
    machine.goes_on(since)
    said = machine.refusal("cprload", file=STATE)
    require("loaded already" in said, f"a second cprload: {said}")


@scenario(
    "restart-gate-keeps-a-suspended-guest",
    "before cprload system_wakeup does not wake a suspended guest; it wakes up after it",
)
def suspended_guest(stage: Stage) -> None:
    machine = started(stage, *monitors(2))
    machine.wait_counting()
    machine.guest.command(SUSPEND)
    machine.wait_status("suspended")
    before = machine.page()
    answers = in_one_turn(stage, machine, f"cprsave {STATE} restart", "system_wakeup")
    machine.rejoin()
    machine.watch_process()
    require(answers[0] == "", f"cprsave: {answers[0]}")
    machine.human("system_wakeup")
    require(machine.status() == "prelaunch", f"woken up, it is {machine.status()}")
    loaded(machine, before, status="suspended")
    machine.execute("system_wakeup")
    until(lambda: machine.page().wakes == 1, "the guest does not wake up")
    machine.counts_on(before)


def _waiting(fd: int) -> int:
    """How many bytes nobody has read yet."""
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    return int(count)


def _byte(machine: Machine, port: int) -> int:
    """A byte of a port, as the guest would read it."""
    return int(machine.human(f"i /b {port:#x}").split("=")[1].strip(), 0)


@scenario(
    "restart-gate-holds-input",
    "bytes sent to a serial line between cprsave and cprload reach the guest, in their order",
)
def holds_input(stage: Stage) -> None:
    os.mkfifo(stage.file("line"))
    line = os.open(stage.file("line"), os.O_RDWR | os.O_NONBLOCK)
    try:
        words = ("-chardev", "pipe,id=line,path=line", "-serial", "chardev:line")
        machine = started(stage, *words)
        since = machine.wait_counting()
        restarted(machine)
        os.write(line, b"in the gap")
        for _ in range(20):
            machine.execute("query-status")
        require(_waiting(line) == 10, f"{10 - _waiting(line)} bytes were read before cprload")
        loaded(machine, since)
        said = b""
        for _ in range(10):
            until(lambda: _byte(machine, _UART + 5) & 1, f"after {said!r} no byte comes")
            said += bytes([_byte(machine, _UART)])
        require(said == b"in the gap", f"the guest reads {said!r}")
        # A line that comes together with cprsave is in the UART or in the pipe, not lost.
        os.write(line, b"xyz")
        since = machine.wait_counting()
        restarted(machine, "second.sav")
        loaded(machine, since, "second.sav")
        said = b""
        for _ in range(3):
            until(lambda: _byte(machine, _UART + 5) & 1, f"after {said!r} no byte comes")
            said += bytes([_byte(machine, _UART)])
        require(said == b"xyz", f"the guest reads {said!r}")
        machine.goes_on(since)
    finally:
        os.close(line)


@scenario("restart-with-a-gdb-server", "a VM with a gdb server restarts, and gdb can attach again")
def gdb_server(stage: Stage) -> None:
    machine = started(stage, *SERVER)
    for _ in range(2):
        since = machine.wait_counting()
        restarted(machine)
        loaded(machine, since)
        gdb = Gdb(connect(stage.file("gdb"), machine.monitor.alive))
        require(gdb.reply().startswith("T02"), "attaching does not stop the guest")
        require(gdb.ask("D") == "OK", "gdb cannot detach")
        gdb.line.close()
        machine.goes_on(since)


@scenario("restart-with-a-pipe", "a serial line on the pipes PATH.in and PATH.out is opened again")
def pipes(stage: Stage) -> None:
    ends = []
    for name in ("line.in", "line.out"):
        os.mkfifo(stage.file(name))
        ends.append(os.open(stage.file(name), os.O_RDWR | os.O_NONBLOCK))
    try:
        words = ("-chardev", "pipe,id=line,path=line", "-serial", "chardev:line")
        machine = started(stage, *words)
        since = machine.wait_counting()
        restarted(machine)
        loaded(machine, since)
    finally:
        for end in ends:
            os.close(end)
