"""What a running command says on standard error: steps, warnings and progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress


def say(text: str) -> None:
    """Write a line to standard error; where nobody reads that, the work goes on all the same."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        # What is left in the buffer would fail once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class Meter(Protocol):
    """A running progress display."""

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say that *done* of *total* units are finished; *note* names the current one."""


class _Silent:
    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        return


class _Lines:
    """Progress for logs: one line every few seconds, never a control character."""

    INTERVAL = 10.0

    def __init__(self, ui: Ui, title: str) -> None:
        self._ui = ui
        self._title = title
        self._last = time.monotonic()

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last < self.INTERVAL:
            return
        self._last = now
        share = f"{100 * done / total:3.0f} %" if total else f"{done:.0f}"
        self._ui.step(f"{self._title}: {share} {note}".rstrip())


class _Bar:
    """Progress for people: a bar on the terminal."""

    def __init__(self, progress: Progress, title: str, total: float | None) -> None:
        self._progress = progress
        self._title = title
        self._task = progress.add_task(title, total=total)

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        title = f"{self._title} {note}".rstrip()
        self._progress.update(self._task, completed=done, total=total, description=title)

    def remove(self) -> None:
        self._progress.remove_task(self._task)


class Ui:
    """Standard error of one command; standard output is kept for its result.

    :param quiet: say nothing but warnings
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._shown: Progress | None = None

    def step(self, text: str) -> None:
        """Say what is being done now, one line."""
        if not self.quiet:
            say(f"  {text}")

    def warn(self, text: str) -> None:
        """Say what the user should know though the command goes on, one line."""
        say(f"patchgen: warning: {text}")

    @contextmanager
    def progress(self, title: str, total: float | None = None) -> Iterator[Meter]:
        """Show progress of long work; *total* in any unit, ``None`` while unknown."""
        if self.quiet:
            yield _Silent()
        elif self._shown:
            # Work within work: one more bar of the same display.
            bar = _Bar(self._shown, title, total)
            try:
                yield bar
            finally:
                bar.remove()
        elif sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            with Progress(console=Console(stderr=True), transient=True) as progress:
                self._shown = progress
                try:
                    yield _Bar(progress, title, total)
                finally:
                    self._shown = None
        else:
            yield _Lines(self, title)
