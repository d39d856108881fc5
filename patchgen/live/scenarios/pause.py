"""-pause and QEMU_PAUSE: QEMU waits for a debugger when it starts."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from patchgen.live.qemu import environment
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import LIMIT, Failed, require, until

LONG = "100000"
"""Seconds that no test waits for."""
INVALID = ("", "x", "-1", "+1", " 1", "1 ", "1x", "0x1", "1.5", "99999999999")
_SEIZE = 0x4206  # PTRACE_SEIZE: attaches without stopping the process


@contextmanager
def _starting(stage: Stage, *more: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU without a machine, with QMP on its standard output."""
    words = [str(stage.qemu.binary), "-M", "none", "-nodefaults", "-display", "none"]
    one = subprocess.Popen(
        [*words, "-qmp", "stdio", *more],
        env=environment() | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield one
    finally:
        one.kill()
        one.communicate()


def _line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    if not select.select([stream], [], [], LIMIT)[0]:
        raise Failed("QEMU says nothing")
    return stream.readline().decode()


def _announced(one: subprocess.Popen[bytes]) -> None:
    said = _line(one.stderr)
    found = re.search(r"process (\d+) waits", said)
    require(found and int(found.group(1)) == one.pid, f"the wait is announced by {said!r}")


def _greets(one: subprocess.Popen[bytes]) -> None:
    """Require that the monitor, and nobody else, speaks on the standard output."""
    said = _line(one.stdout)
    try:
        greeting = json.loads(said)
    except ValueError:
        raise Failed(f"QEMU starts with {said!r}") from None
    require("QMP" in greeting, f"the monitor says {greeting}")


@scenario("pause-ends-early", "-pause and QEMU_PAUSE end with SIGCONT or a debugger, and wait once")
def ends_early(stage: Stage) -> None:
    with _starting(stage, QEMU_PAUSE=LONG) as one:
        _announced(one)
        one.send_signal(signal.SIGCONT)
        _greets(one)
    with _starting(stage, "-pause", LONG) as one:
        _announced(one)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(_SEIZE, one.pid, 0, 0):
            raise Failed(f"no debugger can be attached: {os.strerror(ctypes.get_errno())}")
        _greets(one)
    with _starting(stage, "-pause", LONG, QEMU_PAUSE="1") as one:
        _announced(one)
        _greets(one)


@scenario("pause-invalid", "-pause and QEMU_PAUSE take a number of seconds, and nothing else")
def invalid(stage: Stage) -> None:
    for value in INVALID:
        with _starting(stage, "-pause", value) as one:
            _refuses(one, value)
        with _starting(stage, QEMU_PAUSE=value) as one:
            _refuses(one, value)


def _refuses(one: subprocess.Popen[bytes], value: str) -> None:
    assert one.stdout is not None and one.stderr is not None
    until(lambda: one.poll() is not None, f"{value!r} is accepted")
    require(one.returncode == 1, f"exit code {one.returncode} for {value!r}")
    said = one.stderr.read().decode()
    require(f"'{value}'" in said, f"for {value!r} it says {said!r}")
    require(not one.stdout.read(), "something is on the standard output")
