"""A restart that fails leaves everything as it was, and the next one works."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchgen.live.confined import seen_by, with_tmpfs
from patchgen.live.faults import FAIL, with_faults
from patchgen.live.intact import Subject, descriptors
from patchgen.live.qmp import Refused
from patchgen.live.restart import STATE, copied, loaded, started
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import require, until


def _script(path: Path, text: str, shell: str = "#!/bin/sh\n") -> None:
    """Put a script in the place of what is there, which may be running."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(shell + text, encoding="ascii", newline="\n")
    new.chmod(0o755)
    new.replace(path)


def _real(stage: Stage, path: Path) -> None:
    """Put the QEMU under test there."""
    new = path.with_name(f"{path.name}.new")
    shutil.copy(stage.qemu.binary, new)
    new.replace(path)


_KNOWS = 'case "$*" in -version|"-machine help") exec {qemu} "$@";; esac\n'
"""Of a script that passes for QEMU as long as it is only asked."""


def _knows(stage: Stage) -> str:
    return _KNOWS.format(qemu=stage.qemu.binary)


@scenario(
    "restart-fails-without-a-qemu",
    "what QEMU's name stands for is gone, no program, not QEMU, another one: refused each time",
)
def no_qemu(stage: Stage) -> None:
    qemu = copied(stage)
    path = qemu.binary
    subject = Subject(stage, qemu=qemu)
    path.unlink()
    subject.fails("cannot be executed", os.strerror(2))
    path.mkdir()
    subject.fails("cannot be executed", os.strerror(13))
    path.rmdir()
    _script(path, "exit 0\n")
    path.chmod(0o644)
    subject.fails("cannot be executed", os.strerror(13))
    _script(path, "", shell="\x7fELF, but no more of it\n")
    subject.fails("Could not run", os.strerror(8))
    # A shell would run it.
    _script(path, f"touch {stage.file('was-run')}\n", shell="")
    subject.fails("Could not run", os.strerror(8))
    _script(path, "", shell="#!/no/such/interpreter\n")
    subject.fails("Could not run", os.strerror(2))
    _script(path, "echo broken >&2; exit 7\n")
    subject.fails("exit status 7: broken")
    _script(path, "kill -SEGV $$\n")
    subject.fails("ended by signal 11")
    _script(path, "echo 'QEMU imitator version 5.2.0'\n")
    subject.fails("is not QEMU: it says 'QEMU imitator")
    _script(path, "while :; do echo 'no end of it'; done\n")
    subject.fails("'")
    _script(path, f'case $1 in -version) exec {stage.qemu.binary} "$@";; esac; echo "pc-i440 x"\n')
    subject.fails("does not have machine type 'pc-i440fx-")
    stage.unharmed("was-run")
    _real(stage, path)
    subject.restarts()


@scenario(
    "restart-fails-when-qemu-hangs",
    "a QEMU that does not tell its version is given up after 10 seconds; the guest runs meanwhile",
)
def hangs(stage: Stage) -> None:
    qemu = copied(stage)
    subject = Subject(stage, qemu=qemu)
    _script(qemu.binary, "echo $$ >pid.x; mv pid.x pid; exec sleep 1000\n")
    seen: list[int] = []

    def look() -> None:
        until(stage.file("pid").exists, "the program is not started")
        before = subject.machine.guest.counter()
        until(lambda: subject.machine.guest.counter() != before, "the guest stands still")
        pid = int(stage.file("pid").read_text(encoding="ascii"))
        if Path(f"/proc/{pid}").exists():
            seen.append(pid)

    since = subject.machine.page()
    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    subject.fails("has not ended in 10 seconds")
    ran = subject.machine.page().ticks - since.ticks
    looker.join()
    # 100 of them are a second of a guest that is never stopped.
    require(ran > 500, f"in 10 seconds the guest has had {ran} timer interrupts")
    require(seen, "the guest stood still while QEMU was tried")
    require(not Path(f"/proc/{seen[0]}").exists(), "the program is still there")
    _real(stage, qemu.binary)
    subject.restarts()


@contextmanager
def _limit(pid: int, what: int, value: int) -> Iterator[None]:
    old = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (value, old[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, old)


@scenario(
    "restart-fails-at-limits",
    "no space, file size limit, environment too large: an error, and all is as before",
)
def limits(stage: Stage) -> None:
    stage.file("full").mkdir()
    large = ["env", *(f"LARGE{number}={'x' * 100_000}" for number in range(4))]
    subject = Subject(stage, wrap=lambda argv: with_tmpfs([*large, *argv], full="size=16k"))
    machine = subject.machine
    there = seen_by(machine.pid, stage.file("full")) / "there"
    there.write_bytes(b"mine")
    for size in (40 << 20, 4096):
        subject.fails(os.strerror(27), during=_limit(machine.pid, resource.RLIMIT_FSIZE, size))
    subject.fails("is a character device", file="/dev/full")
    for name in ("there", "new"):
        subject.fails(os.strerror(28), file=stage.file("full") / name)
        require([path.name for path in there.parent.iterdir()] == ["there"], "a file was left")
        require(there.read_bytes() == b"mine", "the file that was there was written to")
    for size in (4096, 65536):
        subject.fails(os.strerror(27), during=_limit(machine.pid, resource.RLIMIT_FSIZE, size))
    # What exec takes at most is a quarter of it.
    small = _limit(machine.pid, resource.RLIMIT_STACK, 1 << 20)
    subject.fails("Could not run", os.strerror(7), during=small)
    subject.restarts()


def _free(pid: int, number: int) -> int:
    """The limit at which *number* more descriptors may be open."""
    taken = descriptors(pid)
    limit = 3
    while sum(fd not in taken for fd in range(limit)) < number:
        limit += 1
    return limit


@scenario(
    "restart-fails-without-descriptors",
    "no more descriptors may be open: it fails here or there, and all is as before",
)
def no_descriptors(stage: Stage) -> None:
    subject = Subject(stage)
    pid = subject.machine.pid
    for number in range(4):
        few = _limit(pid, resource.RLIMIT_NOFILE, _free(pid, number))
        subject.fails(os.strerror(24), during=few)
    subject.restarts()


@scenario(
    "restart-fails-without-memfds",
    "memfd_create is denied at one call after another: an error each time, and all is as before",
)
def no_memfds(stage: Stage) -> None:
    subject = Subject(stage, wrap=lambda argv: with_faults(stage.place, argv))
    for calls in (0, 1, 2):
        stage.file(FAIL).write_text(f"memfd_create {calls}", encoding="ascii")
        subject.fails(os.strerror(1))
    # RAM is in memfds by now, or will be: the table is the last one.
    stage.file(FAIL).write_text("writev", encoding="ascii")
    subject.fails(os.strerror(5))
    stage.file(FAIL).write_text("memfd_create", encoding="ascii")
    subject.fails(os.strerror(1))
    stage.file(FAIL).unlink()
    subject.restarts()


@scenario(
    "restart-fails-at-exec",
    "exec fails behind the reply: CPR_EXEC_FAILED, RESUME, no FILE, and all is as before",
)
def at_exec(stage: Stage) -> None:
    qemu = copied(stage)
    path = qemu.binary
    subject = Subject(stage, qemu=qemu, wrap=lambda argv: with_faults(stage.place, argv))
    stage.file(FAIL).write_text("execve", encoding="ascii")
    subject.exec_fails(os.strerror(5))
    stage.file(FAIL).unlink()
    # It is replaced as soon as it was looked at.
    gone = f"printf garbage >{path}.x; chmod 755 {path}.x; mv {path}.x {path}"
    _script(
        path,
        f'case "$*" in "-machine help") {stage.qemu.binary} "$@"; {gone};; '
        f'*) exec {stage.qemu.binary} "$@";; esac\n',
    )
    subject.exec_fails(os.strerror(8))
    subject.fails(os.strerror(8))
    subject.machine.execute("stop")
    subject.machine.execute("cont")
    _real(stage, path)
    subject.restarts()


_RETURNS = b"the new QEMU could not be started, returning to the previous one"


def _returns(subject: Subject) -> None:
    """``cprsave`` to a new QEMU that exits, and ``cprload`` in the previous one."""
    machine = subject.machine
    since = machine.page()
    machine.execute("cprsave", file=STATE, mode="restart")
    # The new one may have come as far as its monitors.
    machine.monitor.process.expect_exact(_RETURNS)
    machine.rejoin()
    machine.watch_process()
    binary = Path(f"/proc/{machine.pid}/exe").readlink()
    require("qemu" in binary.name, f"the process is {binary}")
    loaded(machine, since)


@scenario(
    "restart-fails-in-the-new-qemu",
    "a new QEMU that exits 1 early or late: the previous one takes the guest, and restarts again",
)
def in_the_new_qemu(stage: Stage) -> None:
    qemu = copied(stage)
    subject = Subject(stage, qemu=qemu)
    for options in ("-no-such-option", "-device no-such-device", "-drive file=/no/such/file"):
        bad = f'exec {stage.qemu.binary} "$@" {options}\n'
        _script(qemu.binary, _knows(stage) + bad)
        with stage.telling(f"a new QEMU that exits for {options}"):
            _returns(subject)
    _real(stage, qemu.binary)
    subject.restarts()


_GIVES_UP = b"the new QEMU has not loaded the VM, returning to the previous one"


@scenario(
    "restart-given-up",
    "a new QEMU that cannot load the VM is told to quit: the previous one can, and restarts again",
)
def given_up(stage: Stage) -> None:
    qemu = copied(stage)
    subject = Subject(stage, qemu=qemu)
    machine = subject.machine
    _script(qemu.binary, _knows(stage) + f'exec {stage.qemu.binary} "$@" -m 24\n')
    since = machine.page()
    machine.execute("cprsave", file=STATE, mode="restart")
    machine.rejoin()
    said = machine.refusal("cprload", file=STATE)
    require("RAM block" in said and "but had" in said, f"cprload with other RAM: {said}")
    machine.execute("quit")
    machine.monitor.process.expect_exact(_GIVES_UP)
    machine.rejoin()
    machine.watch_process()
    loaded(machine, since)
    _real(stage, qemu.binary)
    subject.restarts()


@scenario(
    "restart-fails-at-the-last-descriptor",
    "one more descriptor at a time may be open: an error as long as the new QEMU could not go on",
)
def last_descriptor(stage: Stage) -> None:
    for number in range(6, 200):
        # RAM that is in memfds already would need fewer of them.
        machine = started(stage)
        since = machine.wait_counting()
        passed = os.open(stage.file("in-place"), os.O_WRONLY | os.O_CREAT, 0o600)
        machine.qmp.send_fd(passed)
        os.close(passed)
        file = f"/dev/fdset/{machine.execute('add-fd')['fdset-id']}"
        with _limit(machine.pid, resource.RLIMIT_NOFILE, _free(machine.pid, number)):
            try:
                machine.execute("cprsave", file=file, mode="restart")
            except Refused:
                machine.runs_on(since)
            else:
                said = machine.rejoin()
                require("ignored" not in said, f"with {number} free the guest is lost: {said}")
                machine.watch_process()
                with stage.telling(f"cprload, when {number} were free for cprsave"):
                    loaded(machine, since, "in-place")
                return
        machine.close()
