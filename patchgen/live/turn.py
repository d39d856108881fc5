"""Lines for the human monitor that QEMU reads in one turn of its main loop.

What a command leaves for the main loop to do, such as a reset, is still to be done when the next
one runs. No client can make sure of that by being fast: the process is stopped meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.monitor import COLUMNS, PROMPT
from patchgen.live.sockets import connect
from patchgen.live.stage import Stage
from patchgen.live.transcript import rendered
from patchgen.live.waiting import LIMIT, Failed, until


def monitors(number: int) -> list[str]:
    """Options for that many human monitors of their own; a line goes to each."""
    words = []
    for one in range(number):
        words += ["-chardev", f"socket,id=turn{one},path=turn{one},server,nowait"]
        words += ["-mon", f"chardev=turn{one},mode=readline"]
    return words


def stopped(machine: Machine) -> None:
    """Stop the process, and wait until it does not run any more."""
    os.kill(machine.pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{machine.pid}/task")

    def all_stopped() -> bool:
        stats = [task / "stat" for task in tasks.iterdir()]
        try:
            return all(_state(stat) == "T" for stat in stats)
        except (FileNotFoundError, ProcessLookupError):
            # A thread has ended meanwhile.
            return False

    until(all_stopped, "the process does not stop")


def _state(stat: Path) -> str:
    """The letter behind the name, which may hold anything."""
    return stat.read_text(encoding="ascii", errors="replace").rpartition(") ")[2][0]


def in_one_turn(stage: Stage, machine: Machine, *lines: str) -> list[str]:
    """Type a line into each monitor, Enter into all of them at once; the answers, in that order.

    The machine must have :func:`monitors`, which are used up. QEMU runs the lines in their order.

    :return: what was printed for each line, also by a QEMU that ends meanwhile
    :raise Failed: a monitor does not answer
    """
    typed = []
    try:
        for number, line in enumerate(lines):
            one = connect(stage.file(f"turn{number}"), machine.monitor.alive)
            typed.append(one)
            _read(one, PROMPT.decode())
            one.sendall(line.encode())
            _read(one, line)
        stopped(machine)
        for one in typed:
            one.sendall(b"\n")
        os.kill(machine.pid, signal.SIGCONT)
        return [_read(one, PROMPT.decode(), may_end=True) for one in typed]
    finally:
        for one in typed:
            one.close()


def _read(one: socket.socket, end: str, may_end: bool = False) -> str:
    """What is shown up to *end*, without it."""
    said = b""
    while True:
        shown = "\n".join(rendered(said, COLUMNS)).rstrip()
        if shown.endswith(end.rstrip()):
            return shown.removesuffix(end.rstrip()).strip()
        if not select.select([one], [], [], LIMIT)[0]:
            raise Failed(f"a monitor does not show {end!r}, but {shown!r}")
        try:
            more = one.recv(4096)
        except ConnectionResetError:
            more = b""
        if not more:
            if may_end:
                return shown.strip()
            raise Failed(f"a monitor ended after {shown!r}")
        said += more
