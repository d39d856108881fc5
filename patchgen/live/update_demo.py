"""The demonstration: the cover letter's first example, QEMU updated under a guest of ours."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from patchgen.live.demo import Phase, Played
from patchgen.live.machine import Machine
from patchgen.live.pause import PauseMeter
from patchgen.live.qemu import Qemu
from patchgen.live.sampler import Eye
from patchgen.live.shell import Shell
from patchgen.live.stage import Stage
from patchgen.live.transcript import rendered
from patchgen.live.waiting import require

_LETTER = Path("/tmp/qemu.sav")
_NAME = "qemu-system-x86_64"
_MIB = 64
_WIDTH = 50
"""Columns of the first window, at least."""


@dataclass(frozen=True)
class Step:
    """Something was typed in a window, and answered.

    :ivar window: 0 or 1
    :ivar shown: all that the window's terminal had shown by then
    """

    window: int
    shown: bytes


def side_by_side(titles: tuple[str, str], start: str, steps: Sequence[Step]) -> tuple[str, ...]:
    """Two windows in columns, row by row as things happened.

    The last line of a step, a prompt with nothing behind it, belongs to what is typed there next.

    :param start: what stands in the first window before the first step
    """
    cells = [titles, ("", ""), (start, "")]
    seen = [0, 0]
    for step in steps:
        lines = rendered(step.shown)[:-1]
        for line in lines[seen[step.window] :]:
            cells.append(("", line) if step.window else (line, ""))
        seen[step.window] = len(lines)
    width = max(_WIDTH, *(len(left) + 1 for left, _ in cells))
    return tuple(f"{left:{width}}| {right}".rstrip() for left, right in cells)


@contextmanager
def state_file() -> Iterator[Path]:
    """The cover letter's file, if nobody has one of that name; else one in a new directory.

    It is removed at the end.
    """
    try:
        # Somebody's file is not replaced, and nobody's link is followed.
        os.close(os.open(_LETTER, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        with tempfile.TemporaryDirectory(prefix="patchgen-") as place:
            yield Path(place) / _LETTER.name
        return
    try:
        yield _LETTER
    finally:
        with suppress(FileNotFoundError):
            _LETTER.unlink()


def _install(stage: Stage, first: Qemu, second: Qemu) -> Qemu:
    """*first* at a path where *second*, in a directory called by its version, can be put."""
    for qemu, name in ((first, "bin"), (second, "update")):
        path = stage.file(name) / _NAME
        path.parent.mkdir()
        shutil.copy(qemu.binary, path)
    # It does not find what lies beside the original.
    firmware = first.firmware or (first.source / "pc-bios",)
    return replace(first, binary=stage.file("bin") / _NAME, firmware=firmware)


def _status(machine: Machine, wanted: str) -> None:
    said = machine.human("info status").strip()
    require(said == f"VM status: {wanted}", f"info status says {said!r}, not {wanted!r}")


def play_update(stage: Stage, second: Qemu) -> Played:
    """Replace the binary of a running QEMU by *second*, restart, load.

    Commands are typed into the human monitor and into a shell, each on a terminal of its own.

    :raise Failed: something is not as it must be
    """
    qemu = _install(stage, stage.qemu, second)
    log, other = stage.file("monitor1.raw"), stage.file("shell.raw")
    # Its command line is what anybody's is: no option is there for the sake of restarting.
    machine = stage.start(qemu=qemu, memory=None, mib=_MIB)
    machine.watch_process()
    machine.wait_counting()
    machine.wait_lines()
    steps: list[Step] = []

    def done(window: int = 0) -> float:
        steps.append(Step(window, (other if window else log).read_bytes()))
        return time.monotonic()

    with (
        closing(Shell(stage.place, other)) as shell,
        state_file() as file,
        closing(Eye(machine, None, _MIB)) as eye,
        PauseMeter(eye) as meter,
    ):
        _status(machine, "running")
        done()
        shell.run(f"install update/{_NAME} bin/")
        done(1)
        # A guest that starts anew would find another seed.
        stage.seeds.append(secrets.randbits(32))
        stage.file("seed").write_bytes(stage.seeds[-1].to_bytes(4, "little"))
        marks = [time.monotonic()]
        before = machine.page()
        machine.monitor.type(f"cprsave {file} restart")
        machine.monitor.wait_banner()
        marks.append(done())
        _status(machine, "paused (prelaunch)")
        marks.append(done())
        said = machine.human(f"cprload {file}")
        require(not said, f"cprload says {said!r}")
        marks.append(done())
        _status(machine, "running")
        done()
        machine.reconnect()
        machine.watch_process()
        after = machine.goes_on(before)
    names = ("cprsave and start of the new QEMU", "info status", "cprload")
    phases = [
        Phase(name, 1e3 * (end - begin))
        for name, (begin, end) in zip(names, pairwise(marks), strict=True)
    ]
    return Played(
        side_by_side(("window 1", "window 2"), f"# {_NAME} ...", steps),
        (log, other),
        (tuple(machine.command),),
        tuple(stage.seeds),
        before,
        after,
        1e3 * meter.longest,
        tuple(phases),
    )
