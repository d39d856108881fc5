"""Restart mode: which program becomes of QEMU, and with which arguments."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from patchgen.live.confined import seen_by, with_program
from patchgen.live.machine import Machine
from patchgen.live.restart import copied, loaded, restart, restarted
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import require


def _program(machine: Machine) -> tuple[int, int]:
    """The file that the process executes."""
    seen = Path(f"/proc/{machine.pid}/exe").stat()
    return seen.st_dev, seen.st_ino


def _file(path: Path) -> tuple[int, int]:
    seen = path.stat()
    return seen.st_dev, seen.st_ino


def _arguments(machine: Machine) -> list[str]:
    return Path(f"/proc/{machine.pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def _replace(path: Path) -> None:
    """Put another file in place of *path*, with the same contents, as an upgrade does."""
    part = path.with_suffix(".new")
    shutil.copy(path, part)
    part.replace(path)


def _spawn(stage: Stage, argv: list[str]) -> Machine:
    machine = stage.spawn(argv)
    machine.watch_process()
    machine.wait_counting()
    return machine


@scenario(
    "restart-finds-the-new-binary",
    "what argv[0] stands for now is executed: absolute, relative, in PATH, with spaces",
)
def new_binary(stage: Stage) -> None:
    qemu = copied(stage, "a place/qemu, new")
    path = qemu.binary
    words = stage.argv(qemu=qemu, memory=None)[1:]
    by_path = ["env", f"PATH={path.parent}:{os.environ['PATH']}", path.name]
    for start in ([str(path)], ["env", f"./{path.relative_to(stage.place)}"], by_path):
        with stage.telling(start[-1]):
            machine = _spawn(stage, [*start, *words])
            arguments = _arguments(machine)
            require(_program(machine) == _file(path), "another program was started")
            require(arguments[0] == start[-1], f"argv[0] is {arguments[0]}")
            old = _program(machine)
            _replace(path)
            restart(machine)
            require(_program(machine) == _file(path), "not the file that is there now")
            require(_program(machine) != old, "the file was not replaced")
            now = _arguments(machine)
            require(now == arguments, f"the arguments are now {now}")
            machine.quit()


@scenario(
    "restart-arguments",
    "arguments with spaces, commas, quotes and nothing in them reach the new QEMU as they are",
)
def arguments(stage: Stage) -> None:
    disk = stage.file("a disk, 'quoted' \"twice\" $x")
    disk.write_bytes(bytes(1 << 20))
    words = ["-drive", f"if=none,id=odd,format=raw,file={disk.name.replace(',', ',,')}"]
    words += ["-device", "ide-hd,drive=odd", "-name", "two words\n", "-pidfile", "a pid"]
    machine = _spawn(stage, stage.argv(*words, memory=None))
    before = _arguments(machine)
    since = restart(machine)
    machine.goes_on(since)
    require(_arguments(machine) == before, f"the arguments are now {_arguments(machine)}")
    name = machine.execute("query-name")
    require(name == {"name": "two words\n"}, f"the name is {name}")
    said = int(stage.file("a pid").read_text(encoding="ascii"))
    require(said == machine.pid, f"the pidfile says {said}")
    names = [one["inserted"]["file"] for one in machine.execute("query-block") if "inserted" in one]
    require(disk.name in names, f"the disks are {names}")


_TRAMPOLINE = """#!/bin/sh
for word; do printf '%s\\0' "$word"; done >called
qemu=$1
shift
"""


def _with_trampoline(stage: Stage, script: str, argv: list[str]) -> Machine:
    program = stage.file("qemu-exec")
    program.write_text(_TRAMPOLINE + script, encoding="ascii")
    program.chmod(0o755)
    return _spawn(stage, with_program(argv, program.name))


@scenario(
    "restart-by-qemu-exec",
    "/usr/bin/qemu-exec is executed instead, gets the path of QEMU and its arguments, each time",
)
def trampoline(stage: Stage) -> None:
    qemu = copied(stage)
    argv = stage.argv("-name", "a  name", qemu=qemu, memory=None)
    machine = _with_trampoline(stage, 'exec "$qemu" "$@"\n', argv)
    before = _arguments(machine)
    for _ in range(2):
        _replace(qemu.binary)
        stage.file("called").unlink(missing_ok=True)
        since = restart(machine)
        got = stage.file("called").read_bytes().decode().split("\0")[:-1]
        require(got == before, f"qemu-exec got {got} instead of {before}")
        require(_arguments(machine) == before, f"the arguments are now {_arguments(machine)}")
        there = seen_by(machine.pid, qemu.binary)
        require(_program(machine) == _file(there), "not the file that is there now")
    machine.goes_on(since)


_OTHER_ALIAS = """
for word; do
    shift
    case $word in q35,*) word=pc,${word#q35,} ;; esac
    set -- "$@" "$word"
done
exec "$qemu" "$@"
"""


@scenario(
    "restart-keeps-the-machine-type",
    "a machine started by an alias stays what it is, though the alias means another one now",
)
def alias(stage: Stage) -> None:
    argv = stage.argv(memory=None, machine="q35")
    # As if q35 stood for another type of machine in the new QEMU: it is told pc, also an alias.
    machine = _with_trampoline(stage, _OTHER_ALIAS, argv)
    types = {one["name"]: one.get("alias") for one in machine.execute("query-machines")}
    (wanted,) = (name for name, other in types.items() if other == "q35")
    before = _type(machine)
    require(before == f"{wanted}-machine", f"q35 is {before}")
    since = machine.wait_counting()
    restarted(machine)
    require(
        any(word.startswith("pc,") for word in _arguments(machine)),
        "the arguments are the old ones",
    )
    require(_type(machine) == before, f"{before} became {_type(machine)}")
    loaded(machine, since)
    machine.goes_on(since)


def _type(machine: Machine) -> str:
    return str(machine.execute("qom-get", path="/machine", property="type"))
