"""Ctrl-C, `kill` and a terminal that is closed end a command alike: by an exception, tidily."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 10.0
"""Seconds in which a second signal does not disturb the tidying up."""


class _Handler:
    def __init__(self) -> None:
        self._asked = -_PATIENCE
        self.holding = False
        self.waiting = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.holding:
            self.waiting = number
            return
        now = time.monotonic()
        if now - self._asked >= _PATIENCE:
            self._asked = now
            raise KeyboardInterrupt(signal.Signals(number).name)


_handler = _Handler()


@contextmanager
def held() -> Iterator[None]:
    """In the block a signal of :func:`install` waits for the block's end.

    Signals are raised in the main thread; in another one the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread() or _handler.holding:
        yield
        return
    _handler.holding = True
    try:
        yield
    finally:
        _handler.holding = False
        number, _handler.waiting = _handler.waiting, 0
        if number:
            _handler(number, None)


def install() -> None:
    """Have signals that ask a process to end raise ``KeyboardInterrupt`` with the signal's name.

    One that is ignored stays so (``nohup``, a job in the background of a shell).
    """
    for number in _ASKS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handler)


def told(exc: KeyboardInterrupt, who: str = "patchgen: ") -> str:
    """What a user reads of it, one line."""
    name = str(exc)
    return f"{who}interrupted{f' ({name})' if name and name != 'SIGINT' else ''}"
