"""Connections to the sockets of a process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from patchgen.live.waiting import Failed, until


def connect(path: Path, alive: Callable[[], bool]) -> socket.socket:
    """A connection to the socket *path*, whose name may be long, once somebody listens there.

    :param alive: whether there still is a process to wait for
    :raise Failed: nobody listens
    """
    place = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:

        def attempt() -> socket.socket | None:
            one = socket.socket(socket.AF_UNIX)
            try:
                one.connect(f"/proc/self/fd/{place}/{path.name}")
            except (FileNotFoundError, ConnectionRefusedError):
                one.close()
                if not alive():
                    raise Failed(f"QEMU ended before it opened {path.name}") from None
                return None
            return one

        return until(attempt, f"QEMU does not open {path.name}")
    finally:
        os.close(place)
