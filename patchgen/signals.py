"""Ctrl-C, `kill` and a terminal that is closed end a command alike: by an exception, tidily."""

from __future__ import annotations

import signal
import time
from types import FrameType

_ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 10.0
"""Seconds in which a second signal does not disturb the tidying up."""


class _Handler:
    def __init__(self) -> None:
        self._asked = -_PATIENCE

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._asked >= _PATIENCE:
            self._asked = now
            raise KeyboardInterrupt(signal.Signals(number).name)


def install() -> None:
    """Have signals that ask a process to end raise ``KeyboardInterrupt`` with the signal's name.

    One that is ignored stays so (``nohup``, a job in the background of a shell).
    """
    handler = _Handler()
    for number in _ASKS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def told(exc: KeyboardInterrupt) -> str:
    """What a user reads of it, one line."""
    name = str(exc)
    return f"patchgen: interrupted{f' ({name})' if name and name != 'SIGINT' else ''}"
