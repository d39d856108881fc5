"""Work for a thread: waiting for git while this process imports or computes."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """A call that runs in a thread from now on.

    Of use where the call mostly waits for other processes. A pool of :mod:`concurrent.futures`
    would do the same, for an import of its own.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as exc:
            self._error = exc

    def wait(self) -> None:
        """Until the call has ended, however it did."""
        self._thread.join()

    def result(self) -> T:
        """What the call returned, once it has ended; what it raised is raised here."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]
