"""The pause of a guest, measured from outside: how long its counter stood still."""

from __future__ import annotations

import threading
import time
from typing import Protocol

INTERVAL = 0.0005
"""Seconds between two samples; what the host's scheduler adds is not in it."""


class Counting(Protocol):
    """What shows a guest's counter."""

    def counter(self) -> int:
        """The counter; 0 while it cannot be seen."""


class PauseMeter:
    """Samples a guest's counter in a thread while the ``with`` block runs.

    :ivar longest: seconds between the last sample with the old value and the first with a new one,
        the longest such time
    :ivar samples: how many samples were taken
    """

    def __init__(self, guest: Counting) -> None:
        self._guest = guest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.longest = 0.0
        self.samples = 0

    def __enter__(self) -> PauseMeter:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        seen, since = self._guest.counter(), time.monotonic()
        while not self._stop.wait(INTERVAL):
            counter, now = self._guest.counter(), time.monotonic()
            self.samples += 1
            if counter not in (0, seen):
                self.longest = max(self.longest, now - since)
                seen, since = counter, now
