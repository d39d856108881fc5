"""A vhost-user back end that does nothing, but knows how to log.

So no migration blocker speaks for it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path

_GET_FEATURES, _GET_PROTOCOL_FEATURES = 1, 15
_ANSWERS = {_GET_FEATURES: 1 << 26 | 1 << 30, _GET_PROTOCOL_FEATURES: 1 << 1}
"""LOG_ALL and PROTOCOL_FEATURES; LOG_SHMFD."""


class BackEnd:
    """Listens at *path* until it is left.

    :ivar asked: requests so far
    """

    def __init__(self, path: Path) -> None:
        self.asked: list[int] = []
        self._listener = socket.socket(socket.AF_UNIX)
        place = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self._listener.bind(f"/proc/self/fd/{place}/{path.name}")
        finally:
            os.close(place)
        self._listener.listen()

    def __enter__(self) -> BackEnd:
        threading.Thread(target=self._serve, daemon=True, name="vhost-user").start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while header := connection.recv(12, socket.MSG_WAITALL):
                request, _, size = struct.unpack("<III", header)
                if size:
                    connection.recv(size, socket.MSG_WAITALL)
                self.asked.append(request)
                if request in _ANSWERS:
                    connection.sendall(struct.pack("<IIIQ", request, 5, 8, _ANSWERS[request]))
