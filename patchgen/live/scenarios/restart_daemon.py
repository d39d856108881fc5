"""Restart mode: a QEMU that was started with ``-daemonize``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from patchgen.live.observer import GuestPage, ProcessRam
from patchgen.live.qemu import environment
from patchgen.live.qmp import Qmp
from patchgen.live.restart import STATE, image_of
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import LIMIT, Failed, require, until


class Daemon:
    """A QEMU that is no child of ours, with QMP alone, and the counting guest in it."""

    def __init__(self, pid: int, socket: Path) -> None:
        self.pid = pid
        self._socket = socket
        self._ram: ProcessRam | None = None
        self.join()

    def join(self) -> None:
        """Connect to the QEMU that is in the process now."""
        log = self._socket.with_suffix(".log")
        self.qmp = Qmp(self._socket.name, self._socket, log, self.alive)
        said = self.qmp.execute("human-monitor-command", command_line="gpa2hva 0")
        if self._ram:
            self._ram.close()
        self._ram = ProcessRam(self.pid, int(said.rpartition(" is 0x")[2], 16))

    def alive(self) -> bool:
        """Whether the process has not ended."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def counting(self) -> GuestPage:
        """The guest's page once it was seen to count."""
        assert self._ram
        ram, first = self._ram, self._ram.counter()
        until(lambda: ram.counter() != first, "the guest does not count")
        page = ram.page()
        if page is None:
            raise Failed("the guest has no page")
        return page

    def restart(self) -> None:
        """Restart, load, and require that the guest goes on in the same process."""
        before = self.counting()
        since, old = image_of(self.pid)
        self.qmp.execute("cprsave", file=STATE, mode="restart")
        until(lambda: image_of(self.pid)[1] not in (old, b""), "the process does not call exec")
        self.qmp.close()
        self.join()
        require(image_of(self.pid)[0] == since, "the process is another one")
        self.qmp.execute("cprload", file=STATE)
        page = self.counting()
        require(page.seed == before.seed and page.starts == before.starts, "started anew")
        require(page.counter > before.counter, "the counter went back")
        assert self._ram
        require(not self._ram.wrong_words(page.seed), "the pattern is damaged")

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.qmp.close()
        if self._ram:
            self._ram.close()


@scenario(
    "restart-of-a-daemon",
    "with -daemonize the process stays the daemon that it is, and the guest goes on, twice",
)
def daemon(stage: Stage) -> None:
    stage.offer_seed()
    words = ["-daemonize", "-pidfile", "pid", "-qmp", "unix:daemon,server,nowait"]
    argv = [*stage.argv(memory=None), "-monitor", "none", *words]
    done = subprocess.run(
        argv,
        cwd=stage.place,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    require(done.returncode == 0, f"QEMU does not start: {done.stderr.strip()}")
    one = Daemon(int(stage.file("pid").read_text(encoding="ascii")), stage.file("daemon"))
    try:
        for _ in range(2):
            one.restart()
            said = int(stage.file("pid").read_text(encoding="ascii"))
            require(said == one.pid, f"the pidfile says {said} instead of {one.pid}")
    finally:
        one.close()
