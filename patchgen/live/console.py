"""A guest's serial console with a shell behind it, over any number of QEMU processes."""

from __future__ import annotations

import os
import re
import time
import tty
from collections.abc import Callable
from pathlib import Path

import pexpect
from pexpect import fdpexpect

from patchgen.live.waiting import LIMIT, Failed


class Console:
    """A pseudo-terminal that outlives the QEMU processes whose serial port it is.

    :param raw: every byte that the guest sends is appended there
    :ivar path: for ``-chardev serial,path=…``
    :ivar alive: whether there is a process to wait for
    """

    def __init__(self, raw: Path) -> None:
        self._master, self._slave = os.openpty()
        # Nothing is echoed or changed while no QEMU has it. That this end stays open keeps the
        # terminal from hanging up.
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._raw = raw.open("ab")
        self._terminal = fdpexpect.fdspawn(self._master, timeout=LIMIT)
        self._terminal.logfile_read = self._raw
        self._terminal.delaybeforesend = None
        self._number = 0
        self.alive: Callable[[], bool] = lambda: True

    def wait(self, text: str) -> None:
        """Until the guest prints *text*.

        :raise Failed: it does not
        """
        self._expect(re.escape(text.encode()), f"the guest does not print {text!r}")

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        self._terminal.send(line.encode() + b"\r")

    def run(self, command: str) -> str:
        """Have the shell run a command; what it prints.

        :raise Failed: it ends with an error, or does not end
        """
        self._number += 1
        # The shell's line editor repeats what is typed; there the marks are not spelled as they
        # are printed.
        self.type(f'echo "["{self._number}; {command}; echo "]"$?:{self._number}')
        self._expect(rb"\[%d\r\n" % self._number, f"the shell does not take {command!r}")
        said, code = self._expect(rb"\](\d+):%d\r\n" % self._number, f"{command!r} does not end")
        said = said.replace("\r\n", "\n").strip("\n")
        if code != "0":
            raise Failed(f"in the guest, {command!r} ended with {code}: {said or 'no output'}")
        return said

    def _expect(self, pattern: bytes, what: str) -> tuple[str, str]:
        """What is printed before a match of *pattern*, and its first group."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                self._terminal.expect(pattern, timeout=1)
                break
            except pexpect.TIMEOUT:
                if not self.alive():
                    raise Failed(f"{what}: QEMU has ended; {self._tail()}") from None
                if time.monotonic() > deadline:
                    raise Failed(f"after {LIMIT:.0f} s: {what}; {self._tail()}") from None
        match = self._terminal.match
        group = match[1].decode() if match.re.groups else ""
        return self._terminal.before.decode(errors="replace"), group

    def _tail(self) -> str:
        before = self._terminal.before
        said = before.decode(errors="replace") if isinstance(before, bytes) else ""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return "the console shows " + (" / ".join(lines[-3:]) or "nothing")

    def close(self) -> None:
        """Give everything back."""
        self._terminal.close()
        os.close(self._slave)
        self._raw.close()
