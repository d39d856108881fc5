"""A shell on a pseudo-terminal of its own, typed at as by a person."""

from __future__ import annotations

from pathlib import Path

import pexpect

from patchgen.live.qemu import environment
from patchgen.live.waiting import LIMIT, Failed

_PROMPT = "# "
_COLUMNS = 200


class Shell:
    """A POSIX shell whose prompt is ``# ``.

    :param raw: every byte that the terminal shows is appended there
    """

    def __init__(self, cwd: Path, raw: Path) -> None:
        self._raw = raw.open("ab", buffering=0)
        self._shell = pexpect.spawn(
            "/bin/sh",
            cwd=str(cwd),
            env={**environment(), "PS1": _PROMPT, "TERM": "dumb"},
            timeout=LIMIT,
            dimensions=(50, _COLUMNS),
        )
        self._shell.logfile_read = self._raw
        self._shell.delaybeforesend = None
        self._wait()

    def _wait(self) -> None:
        try:
            self._shell.expect_exact(_PROMPT)
        except (pexpect.EOF, pexpect.TIMEOUT):
            raise Failed("the shell shows no prompt") from None

    def run(self, line: str) -> None:
        """Type a line, until the next prompt.

        :raise Failed: the command says anything
        """
        self._shell.sendline(line)
        self._wait()
        said = self._shell.before.decode("utf-8", "replace").split("\n", 1)[1].strip()
        if said:
            raise Failed(f"{line!r}: {said}")

    def close(self) -> None:
        """End it."""
        self._shell.close(force=True)
        self._raw.close()
