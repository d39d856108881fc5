"""Processes that must not outlive this one: compilers, apt, git with its helpers.

Each is started in a session of its own, so that all it starts can be ended with it. Should this
process be killed, the kernel ends it (on Linux); what it started ends with it as after Ctrl-C.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from patchgen.signals import held

GRACE = 5.0
"""Seconds that processes have to tidy up before they are killed."""

_RUNNING: set[subprocess.Popen[Any]] = set()
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@cache
def _die_with_parent() -> Callable[[], None] | None:
    """What a new process does first; ``None`` where there is no such thing."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask


@contextmanager
def child(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run *command* in the block; an exception (an interrupt) ends it with all that it started.

    :param how: for :class:`subprocess.Popen`
    :raise OSError: it cannot be started
    """
    # One call that was looked up before and takes no lock: harmless between fork and exec.
    first = _die_with_parent()
    process: subprocess.Popen[Any] | None = None
    try:
        # An interrupt in between would leave a process that nobody knows.
        with held():
            process = subprocess.Popen(
                list(command),
                start_new_session=True,
                preexec_fn=first,  # noqa: PLW1509
                **how,
            )
            _RUNNING.add(process)
        yield process
    except BaseException:
        if process is not None:
            end(process)
        raise
    finally:
        if process is not None:
            _forget(process)


def _forget(process: subprocess.Popen[Any]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()
    process.wait()
    _RUNNING.discard(process)


def end_all() -> None:
    """End the processes of all threads, whose blocks then go on as if these had failed."""
    for process in list(_RUNNING):
        end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process of :func:`child` and all of its session's first group."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    # The group goes on to exist as long as one of it runs, so its number is not another's by now.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
