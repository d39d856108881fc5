"""Runs configure, make and ninja: output into a log and to a watcher, no orphans."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from patchgen.children import child
from patchgen.errors import ToolMissing
from patchgen.ui import Meter

_NINJA = re.compile(r"^\[(\d+)/(\d+)\] (.*)$")
_MAKE = re.compile(r"^(?:  [A-Z][A-Z0-9+-]*\s+\S+|(?:ccache )?(?:g?cc|clang)\b.* -o (\S+))")


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    lines: list[str]

    @property
    def output(self) -> str:
        """All that it said, both streams."""
        return "\n".join(self.lines)


def run_logged(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    watch: Callable[[str], None] | None = None,
) -> Ran:
    """Run *command*, append all it says to *log*, and give every line to *watch*.

    An interrupt ends the command with all its children before it goes on upwards.

    :raise ToolMissing: there is no such program
    """
    lines: list[str] = []
    with log.open("ab") as out:
        out.write(f"$ {' '.join(command)}\n".encode())
        out.flush()
        with ExitStack() as stack:
            try:
                process = stack.enter_context(
                    child(
                        command,
                        cwd=cwd,
                        env=dict(env),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                    )
                )
            except FileNotFoundError as exc:
                raise ToolMissing(
                    f"{command[0]} cannot be run: {exc.strerror}", "install it"
                ) from exc
            assert process.stdout is not None
            for raw in process.stdout:
                out.write(raw)
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                lines.append(line)
                if watch:
                    watch(line)
            code = process.wait()
        out.flush()
    return Ran(code, lines)


class Progress:
    """Turns the lines of ninja and make into progress of a meter."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._done = 0

    def __call__(self, line: str) -> None:
        """Take one line of output."""
        if hit := _NINJA.match(line):
            self._meter.update(int(hit[1]), int(hit[2]))
        elif _MAKE.match(line):
            self._done += 1
            self._meter.update(self._done, None, "steps")
