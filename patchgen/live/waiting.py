"""Waiting for conditions, and what a scenario says when one does not come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from patchgen.errors import ConfigError


def _limit(text: str) -> float:
    """Seconds from the environment; 300 if it says nothing.

    :raise ConfigError: it is no number above 0
    """
    try:
        seconds = float(text or 300)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"PATCHGEN_LIMIT is {text!r}", "give it a number of seconds above 0")
    return seconds


LIMIT = _limit(os.environ.get("PATCHGEN_LIMIT", ""))
"""Seconds after which a condition is given up; generous, as hosts may be busy."""

T = TypeVar("T")


class Failed(Exception):
    """What was to be seen was not seen; the message says what, in one line."""


class Skipped(Exception):
    """The scenario cannot be run here; the message says why, in one line."""


def require(condition: object, what: str) -> None:
    """Fail with *what* unless *condition* holds.

    :raise Failed: it does not
    """
    if not condition:
        raise Failed(what)


def until(condition: Callable[[], T | None], what: str, limit: float = LIMIT) -> T:
    """Wait until *condition* returns something true, and return it.

    :raise Failed: it did not within *limit* seconds
    """
    deadline = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"after {limit:.0f} s: {what}")
        time.sleep(0.005)
    return value
