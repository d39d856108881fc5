"""What a QEMU leaves to the next image of its process, made by hand for a QEMU of ours.

The environment variable ``QEMU_CPR_STATE`` is ``PID:FD``. FD is a sealed memfd: a header, then
names and values in turn, a NUL behind each. See docs/restart-mode.md.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from patchgen.live.qemu import environment
from patchgen.live.waiting import Failed, require

MAGIC = b"QEMU CPR state 1"
STATE_FD, FIRST_FD = 199, 200
"""Numbers of the memfd with the table, and of the first descriptor that the table names."""
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_HEADER = struct.Struct("=16sqQ64s")
_FD = b"QEMU_FD_"
_BINARY = shutil.which("true") or "/bin/true"
"""Takes the place of the previous QEMU, which the new one executes if it exits too early."""

Entries = tuple[tuple[bytes, bytes], ...]


def joined(entries: Entries) -> bytes:
    """Names and values as they follow the header."""
    return b"".join(name + b"\0" + value + b"\0" for name, value in entries)


def packed(
    data: bytes,
    pid: int,
    *,
    magic: bytes = MAGIC,
    length: int | None = None,
    digest: bytes | None = None,
) -> bytes:
    """The contents of the memfd, right unless told otherwise.

    :param pid: the process that it is left to
    """
    right = sha256(struct.pack("=q", pid) + data).hexdigest().encode()
    size = len(data) if length is None else length
    return _HEADER.pack(magic, pid, size, right if digest is None else digest) + data


@dataclass(frozen=True)
class Handover:
    """What a QEMU has left.

    :ivar entries: the table; descriptors are numbered from :data:`FIRST_FD`
    :ivar fds: those descriptors, in that order
    """

    entries: Entries
    fds: tuple[int, ...]

    @classmethod
    def of(cls, pid: int) -> Handover:
        """That of a restarted QEMU before its ``cprload``.

        :raise Failed: it has none
        """
        there = Path(f"/proc/{pid}/fd")
        for entry in there.iterdir():
            if str(entry.readlink()).startswith("/memfd:cpr-state"):
                raw = entry.read_bytes()
                break
        else:
            raise Failed("the new QEMU has no table of what was left to it")
        require(raw.startswith(MAGIC), f"the table starts with {raw[:16]!r}")
        words = raw[_HEADER.size :].split(b"\0")
        entries: list[tuple[bytes, bytes]] = []
        fds = []
        for name, value in zip(words[:-1:2], words[1::2], strict=True):
            if name.startswith(_FD):
                fd = (
                    os.open(_BINARY, os.O_PATH | os.O_CLOEXEC)
                    if b"exec:" in name
                    else os.open(there / value.decode(), os.O_RDWR | os.O_CLOEXEC)
                )
                fds.append(fd)
                entries.append((name, b"%d" % (FIRST_FD + len(fds) - 1)))
            else:
                entries.append((name, value))
        return cls(tuple(entries), tuple(fds))

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self.fds:
            os.close(fd)


def sealed(content: bytes, seals: int = SEALS) -> int:
    """A memfd."""
    fd = os.memfd_create("cpr-state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def spawned(
    argv: Sequence[str],
    cwd: Path,
    make: Callable[[int], int],
    fds: Sequence[int] = (),
    *,
    variable: str = f"$$:{STATE_FD}",
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process to which a table was left, as if by itself.

    :param make: called in the new process with its id; the descriptor for :data:`STATE_FD`, or -1
    :param fds: what it finds from :data:`FIRST_FD` on
    :param variable: the value of ``QEMU_CPR_STATE``; ``$$`` stands for the process
    """

    def inherit() -> None:
        for number, fd in enumerate(fds):
            os.dup2(fd, FIRST_FD + number)
        state = make(os.getpid())
        if state >= 0:
            os.dup2(state, STATE_FD)

    # The value is of the script's own text; only the shell knows the process id.
    script = f'QEMU_CPR_STATE="{variable}" exec "$@"'
    return subprocess.Popen(
        ["sh", "-c", script, "sh", *argv],
        cwd=cwd,
        env=env or environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,
        # It calls nothing that another thread may have locked.
        preexec_fn=inherit,  # noqa: PLW1509
    )
