"""Tables that were left to another process, damaged or made up: ignored or an error, no crash."""

from __future__ import annotations

import os
import random
from pathlib import Path

from patchgen.live.handover import SEALS, STATE_FD, joined, packed, sealed
from patchgen.live.hostile import Case, Target, case
from patchgen.live.restart import STATE, loaded, restarted, started
from patchgen.live.scenario import scenario
from patchgen.live.stage import SHARED, Stage
from patchgen.live.waiting import require

_CASES, _SEED = 30, 20200730


@scenario(
    "restart-state-hostile",
    "tables damaged at random, most with a right digest: an error or a start, never a crash",
)
def hostile(stage: Stage) -> None:
    target = Target(stage)
    try:
        for number in range(_CASES):
            one = case(random.Random(_SEED + number), target.left.entries)
            fault = target.fault(one, load=True)
            require(not fault, f"seed {_SEED + number}: {fault}")
    finally:
        target.close()


_INVALID = "environment variable QEMU_CPR_STATE is not valid, and is ignored"
_OTHERS = "environment variable QEMU_CPR_STATE is meant for another process, and is ignored"
_FORKED = "the VM state was left to the parent process, which has forked instead of calling exec"


def _foreign(stage: Stage, data: bytes) -> list[tuple[str, Case]]:
    """(the warning, what is left) of tables that are not for the process that finds them."""
    right = packed(data, 1)
    plain, pipe = stage.file("plain"), stage.file("pipe")
    plain.write_bytes(right)
    os.mkfifo(pipe)

    def content(pid: int) -> bytes:
        return packed(data, pid)

    def opened(path: Path) -> Case:
        return Case(path.name, content, other=lambda: os.open(path, os.O_RDWR | os.O_NONBLOCK))

    cases = [
        (_OTHERS, Case("of another process", lambda pid: packed(data, pid + 1))),
        (_OTHERS, Case("of init", lambda pid: packed(data, 1))),
        (_INVALID, Case("a number that is not open", content, other=lambda: -1)),
        (_INVALID, opened(plain)),
        (_INVALID, opened(pipe)),
        (_INVALID, opened(Path("/dev/null"))),
        (_INVALID, Case("empty", lambda pid: b"")),
        (_INVALID, Case("damaged", lambda pid: packed(data, pid)[:-1] + b"x")),
        (_INVALID, Case("other digest", lambda pid: packed(data, pid, digest=b"0" * 64))),
        (_INVALID, Case("for init by its digest", lambda pid: right[:24] + packed(data, pid)[24:])),
    ]
    for number in range(4):
        cases.append((_INVALID, Case(f"without seal {number}", content, SEALS & ~(1 << number))))
    for variable in ("", "x", "$$", f"$$:{STATE_FD}:", f"$$:{STATE_FD}:what", "$$:2", "$$:-1"):
        cases.append((_INVALID, Case(f"{variable!r}", content, variable=variable)))
    cases.append((_OTHERS, Case("the variable of init", content, variable=f"1:{STATE_FD}")))
    if os.geteuid() == 0:

        def given_away() -> int:
            fd = sealed(content(os.getpid()), 0)
            os.fchown(fd, 65534, 65534)
            return fd

        cases.append((_INVALID, Case("of another user", content, other=given_away)))
    else:
        stage.leave_out("a table of another user", "it takes root")
    return cases


@scenario(
    "restart-state-foreign",
    "a table for another process, not sealed, no memfd, damaged: a warning and a start like any",
)
def foreign(stage: Stage) -> None:
    target = Target(stage)
    data = joined(target.left.entries)
    try:
        for warning, one in _foreign(stage, data):
            code, said = target.play(one, load=True)
            with stage.telling(one.what):
                require(code == 0, f"exit code {code}: {said[-400:]}")
                require(warning in said, f"it is not told {warning!r}: {said[-400:]}")
                # The file of mode restart belongs to RAM that this process has not got.
                require("its RAM is in another process or lost" in said, f"{said[-400:]}")
        mine = os.getpid()
        parents = Case("of the parent", lambda pid: packed(data, mine), variable=f"{mine}:199")
        code, said = target.play(parents, load=True)
        require(code == 1 and _FORKED in said, f"left to the parent: {code}, {said[-400:]}")
        require("QMP" not in said, "it starts though the state was left to its parent")
    finally:
        target.close()


@scenario(
    "restart-foreign-variables",
    "QEMU_FD_*, QEMU_ADDR_* and the like do nothing; QEMU_START_FREEZE is -S, whatever it holds",
)
def variables(stage: Stage) -> None:
    names = (
        *("QEMU_FD_serial0=7", "QEMU_ADDR_pc.ram=4096", "QEMU_LEN_pc.ram=1", "QEMU_BOOL_x=2"),
        *("QEMU_STR_ram:pc.ram=keep", f"QEMU_FD_{'x' * 300}=3", "QEMU_CPR_STATE=1:3"),
    )
    machine = stage.spawn(["env", *names, *stage.argv(memory=None)])
    machine.watch_process()
    since = machine.wait_counting()
    restarted(machine)
    loaded(machine, since)
    machine.close()
    for value in ("", "0", "no", "x" * 1000):
        machine = stage.spawn(["env", f"QEMU_START_FREEZE={value}", *stage.argv(memory=None)])
        machine.watch_process()
        status = machine.status()
        require(status == "prelaunch", f"with QEMU_START_FREEZE={value:.10} it is {status}")
        # It is no more than -S.
        machine.execute("cont")
        machine.wait_counting()
        machine.close()


@scenario(
    "restart-file-belongs-to-its-ram",
    "cprload takes the last file of this process: no older one, of reboot, or in another process",
)
def belongs(stage: Stage) -> None:
    other = stage.start("-S", memory=SHARED, boot=False)
    other.save("reboot.sav")
    machine = started(stage)
    since = machine.wait_counting()
    restarted(machine, "first.sav")
    loaded(machine, since, "first.sav")
    since = machine.wait_counting()
    restarted(machine)
    for file in ("first.sav", "reboot.sav"):
        said = machine.refusal("cprload", file=file)
        says = "not what the QEMU that was replaced by this one has saved"
        require(says in said, f"cprload {file}: {said}")
        require(machine.status() == "prelaunch", f"after {file} it is {machine.status()}")
    second = stage.start("-S", memory=None, boot=False)
    said = second.refusal("cprload", file=STATE)
    require("its RAM is in another process or lost" in said, f"another process: {said}")
    require(second.status() == "prelaunch", f"the other process is {second.status()}")
    second.close()
    loaded(machine, since)
    machine.goes_on(since)
