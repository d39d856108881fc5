"""The human monitor of a QEMU process, typed at through a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

import pexpect

from patchgen.live.transcript import rendered
from patchgen.live.waiting import LIMIT, Failed, until

PROMPT = b"(qemu) "
_BANNER = rb"QEMU [0-9.]+ monitor - type 'help' for more information"
_ERROR = rb"Error: [^\r\n]+"
COLUMNS = 4000
"""Of the terminal that answers are read on: no line that is typed wraps."""
_LAST = 10.0
"""Seconds for a process that has failed to say why."""


def _as_from_a_shell() -> None:
    """Signals that Python ignores would be ignored by QEMU as well."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


class Monitor:
    """A process whose terminal is the human monitor (``-monitor stdio``).

    :param argv: the command line
    :param raw: every byte that the terminal shows is appended there
    :ivar asides: what was printed before lines that were asked: QEMU's warnings and errors
    """

    def __init__(self, argv: list[str], cwd: Path, env: dict[str, str], raw: Path) -> None:
        self.asides: list[str] = []
        self._raw = raw.open("ab")
        self.process = pexpect.spawn(
            argv[0],
            argv[1:],
            cwd=str(cwd),
            env=env,
            timeout=LIMIT,
            dimensions=(50, COLUMNS),
            preexec_fn=_as_from_a_shell,
        )
        self.process.logfile_read = self._raw
        # Nothing waits for the terminal to become quiet: answers are recognized.
        self.process.delaybeforesend = None
        self.process.delayafterread = None
        self.pid: int = self.process.pid

    def wait_prompt(self) -> str:
        """What is printed up to the next prompt.

        :raise Failed: no prompt comes; the message has the end of what came instead
        """
        try:
            self.process.expect_exact(PROMPT)
        except pexpect.EOF:
            raise Failed(f"QEMU ended: {self._tail()}") from None
        except pexpect.TIMEOUT:
            raise Failed(f"no prompt: {self._tail()}") from None
        return "\n".join(rendered(self.process.before, COLUMNS))

    def wait_banner(self) -> str:
        """What is printed up to the greeting of another QEMU in the same process; its prompt comes.

        :raise Failed: it does not
        """
        try:
            found = self.process.expect([_BANNER, _ERROR])
        except pexpect.EOF:
            raise Failed(f"QEMU ended: {self._tail()}") from None
        except pexpect.TIMEOUT:
            raise Failed(f"no other QEMU comes: {self._tail()}") from None
        if found:
            raise Failed("no other QEMU comes: " + self.process.after.decode("utf-8", "replace"))
        said = "\n".join(rendered(self.process.before, COLUMNS))
        self.wait_prompt()
        return said

    def available(self, seconds: float) -> bytes | None:
        """What is printed within *seconds*, as soon as there is something; ``None`` at the end."""
        fd = self.process.child_fd
        if not select.select([fd], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(fd, 65536)
        except OSError:
            # That is how Linux tells that nobody has the terminal open any more.
            return None
        self._raw.write(data)
        self._raw.flush()
        return data

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        self.process.sendline(line)

    def ask(self, line: str) -> str:
        """Type a line; what the monitor prints for it, without the line itself.

        :raise Failed: the line is not shown
        """
        self.type(line)
        for _ in range(2):
            shown = self.wait_prompt().split("\n")
            for number, one in enumerate(shown):
                # A warning of QEMU's may come first, perhaps with a prompt of its own.
                if one.endswith(line):
                    self.asides += shown[:number]
                    return "\n".join(shown[number + 1 :])
            self.asides += shown
        raise Failed(f"typed {line!r}, the monitor shows {shown[0]!r}")

    def wait_end(self) -> int:
        """The exit code of the process, negative for a signal, once it has ended.

        :raise Failed: it does not end
        """
        try:
            self.process.expect(pexpect.EOF)
        except pexpect.TIMEOUT:
            raise Failed(f"QEMU does not end: {self._tail()}") from None
        return self._status()

    def last_words(self) -> str:
        """The end of what is printed, by a process that has ended or is about to."""
        if not self.process.flag_eof:
            with contextlib.suppress(pexpect.EOF, pexpect.TIMEOUT):
                self.process.expect(pexpect.EOF, timeout=_LAST)
        return self._tail()

    def _status(self) -> int:
        self.process.wait()
        if self.process.signalstatus is not None:
            return -int(self.process.signalstatus)
        return int(self.process.exitstatus)

    def _tail(self) -> str:
        before = self.process.before
        said = rendered(before, COLUMNS) if isinstance(before, bytes) else []
        return " / ".join(line for line in said[-3:] if line) or "it says nothing"

    def alive(self) -> bool:
        """Whether the process has not ended."""
        return bool(self.process.isalive())

    def close(self) -> None:
        """Kill the process if it is still there, and see it end."""
        try:
            self.process.close(force=True)
        except pexpect.ExceptionPexpect:
            # It waits a tenth of a second behind SIGKILL, and a busy host may need more.
            until(lambda: not self.alive(), "QEMU does not end, though it was killed")
            self.process.close(force=True)
        self._raw.close()
