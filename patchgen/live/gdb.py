"""The remote protocol of gdb, as far as scenarios speak it."""

from __future__ import annotations

import select
import socket

from patchgen.live.waiting import LIMIT, Failed, require


def _packet(body: str) -> bytes:
    """*body* as it goes over the line."""
    return f"${body}#{sum(body.encode()) % 256:02x}".encode()


class Gdb:
    """A debugger on a connection to QEMU's stub.

    Connecting stops the VM. Have it stopped before that: else the stub tells of the stop without
    being asked, and every byte that comes while the VM runs stops it again.
    """

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self._rest = b""

    def send(self, body: str) -> None:
        """Send a packet."""
        self.line.sendall(_packet(body))

    def reply(self) -> str:
        """The next packet of QEMU.

        :raise Failed: none comes
        """
        while True:
            before, found, rest = self._rest.partition(b"#")
            if found and len(rest) >= 2:
                self._rest = rest[2:]
                self.line.sendall(b"+")
                return before.partition(b"$")[2].decode()
            if not select.select([self.line], [], [], LIMIT)[0]:
                raise Failed("gdb's stub does not answer")
            more = self.line.recv(4096)
            if not more:
                raise Failed("gdb's stub has hung up")
            self._rest += more

    def ask(self, body: str) -> str:
        """Send a packet; the reply."""
        self.send(body)
        return self.reply()

    def interrupt(self) -> None:
        """What ctrl-C sends."""
        self.line.sendall(b"\x03")

    def has_said_nothing(self) -> None:
        """Require that no packet is under way. Only for a VM that does not run.

        :raise Failed: there is one
        """
        said = self.ask("qAttached")
        require(said == "1", f"gdb's stub said {said!r} of its own accord")
