"""A running QEMU process with a guest in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from patchgen.live.monitor import Monitor
from patchgen.live.observer import (
    PAGE_SIZE,
    STATUS,
    GuestPage,
    GuestRam,
    Observer,
    ProcessRam,
    page_of,
)
from patchgen.live.qemu import Qemu, environment
from patchgen.live.qmp import Qmp, Refused
from patchgen.live.waiting import Failed, require, until


class Machine:
    """One QEMU process, its two monitors and its guest.

    :ivar qemu: the binary
    :ivar argv: the command line, but for its monitors
    :ivar command: the whole command line
    :ivar monitor: the human monitor, behind its first prompt
    :ivar qmp: the QMP monitor, capabilities negotiated
    """

    def __init__(self, qemu: Qemu, argv: list[str], place: Path, number: int, ram: Path) -> None:
        self.qemu = qemu
        self.argv = argv
        self._ram = ram
        self._observer: GuestRam | None = None
        self._by_monitor = False
        self._socket = place / f"qmp{number}"
        argv = [*argv, "-monitor", "stdio"]
        argv += ["-qmp", f"unix:{self._socket.name},server,nowait"]
        self.command = tuple(argv)
        self.monitor = Monitor(argv, place, environment(), place / f"monitor{number}.raw")
        try:
            self.qmp = self._connect()
        except Failed as exc:
            # What it printed tells why.
            raise Failed(f"{exc}: {self.monitor.last_words()}") from exc
        self.monitor.wait_prompt()

    def _connect(self) -> Qmp:
        log = self._socket.with_suffix(".log")
        return Qmp(self._socket.name, self._socket, log, self.monitor.alive)

    def rejoin(self) -> str:
        """Until the process has become another QEMU, and both monitors of that one answer.

        The guest is not looked at any more; see :meth:`watch_process`.

        :return: what the new QEMU printed before its monitor opened: warnings
        :raise Failed: it does not
        """
        said = self.monitor.wait_banner()
        self.reconnect()
        return said

    def reconnect(self) -> None:
        """Talk QMP to the QEMU that the process has become, whose prompt was seen.

        The guest is not looked at any more; see :meth:`watch_process`.

        :raise Failed: it does not answer
        """
        self.qmp.close()
        self.qmp = self._connect()
        self._forget()

    def _forget(self) -> None:
        if self._observer:
            self._observer.close()
        self._observer = None

    def watch_process(self) -> None:
        """From now on look at the guest through the process's memory, whatever its RAM is.

        Another QEMU in the same process has it elsewhere: call this again.

        :raise Failed: QEMU does not tell where the RAM is
        """
        # Asked by QMP, so that the terminal shows only what was typed there.
        said = str(self.execute("human-monitor-command", command_line="gpa2hva 0")).strip()
        _, found, where = said.partition(" is 0x")
        require(found, f"gpa2hva: {said}")
        self._forget()
        self._observer = ProcessRam(self.pid, int(where, 16))

    @property
    def pid(self) -> int:
        """The process."""
        return self.monitor.pid

    @property
    def guest(self) -> GuestRam:
        """The guest's RAM: in the file RAM of the stage, but for :meth:`watch_process`."""
        if self._observer is None:
            self._observer = Observer(self._ram)
        return self._observer

    def execute(self, command: str, **arguments: object) -> Any:
        """A QMP command; see :meth:`Qmp.execute`."""
        return self.qmp.execute(command, **arguments)

    def refusal(self, command: str, **arguments: object) -> str:
        """The error of a QMP command that must fail.

        :raise Failed: it succeeded
        """
        try:
            answer = self.execute(command, **arguments)
        except Refused as exc:
            return exc.description
        raise Failed(f"{command} {arguments or ''} was to fail, and returned {answer}")

    def human(self, line: str) -> str:
        """A line of the human monitor; what it prints."""
        return self.monitor.ask(line)

    def status(self) -> str:
        """The run state."""
        return str(self.execute("query-status")["status"])

    def wait_status(self, wanted: str) -> None:
        """Until the run state is *wanted*.

        :raise Failed: it does not become that; the message tells what it is
        """
        seen = ""

        def there() -> bool:
            nonlocal seen
            seen = self.status()
            return seen == wanted

        try:
            until(there, "")
        except Failed as exc:
            said = f"the run state does not become {wanted}, it stays {seen}"
            raise Failed(said) from exc

    def plug(self, driver: str, name: str, **properties: object) -> None:
        """Plug a device in, which is then called *name*.

        The VM is stopped for it: ``device_add`` of 5.2 waits for the end of all RCU critical
        sections, and under TCG a CPU is in one until the main loop makes it leave.
        """
        self.execute("stop")
        self.execute("device_add", driver=driver, id=name, **properties)
        self.execute("cont")

    def watch_by_monitor(self) -> None:
        """From now on look at the guest through the human monitor: its RAM is in no file."""
        self._by_monitor = True

    def _look(self) -> GuestPage | None:
        if not self._by_monitor:
            return self.guest.page()
        rows = self.human(f"xp /{PAGE_SIZE}bx {STATUS:#x}").splitlines()
        return page_of(bytes(int(word, 0) for row in rows for word in row.split(":")[1].split()))

    def page(self) -> GuestPage:
        """The guest's account of itself, once there is one."""
        return until(self._look, "the guest does not start")

    def wait_counting(self) -> GuestPage:
        """The guest's page once it was seen to count.

        :raise Failed: it does not count
        """
        before = until(self._started, "the guest does not start")

        def moved() -> GuestPage | None:
            now = self._look()
            return now if now and now.counter != before.counter else None

        return until(moved, f"the guest does not count ({self._state()})")

    def wait_started(self, seed: int) -> GuestPage:
        """The page of the guest that has that seed, once it counts."""

        def started() -> GuestPage | None:
            page = self._started()
            return page if page and page.seed == seed else None

        return until(started, f"no guest with seed {seed:#x} starts")

    def _started(self) -> GuestPage | None:
        page = self._look()
        return page if page and page.counter else None

    def _state(self) -> str:
        return self.status() if self.monitor.alive() else "QEMU has ended"

    def wait_lines(self, number: int = 1) -> None:
        """Until the guest printed that many more lines, which takes timer interrupts."""
        before = self.page().lines
        until(lambda: self.page().lines >= before + number, "the guest's timer stands still")

    def counts_on(self, since: GuestPage) -> GuestPage:
        """Require that the guest of *since* counts: not started anew, no errors.

        :raise Failed: another seed, another start, an error, or no progress
        """
        now = self.wait_counting()
        require(now.seed == since.seed, f"seed {since.seed:#x} became {now.seed:#x}: started anew")
        require(now.starts == since.starts, "the guest was started anew")
        require(now.counter > since.counter, "the counter went back")
        require(now.errors == 0, f"{now.errors} errors in the guest")
        return now

    def goes_on(self, since: GuestPage) -> GuestPage:
        """Require :meth:`counts_on`, and that nothing is lost; its page after a while.

        :raise Failed: as there, or its pattern is damaged, or its timer stands still
        """
        self.counts_on(since)
        if not self._by_monitor:
            self._has_pattern(since)
        self.wait_lines()
        return self.page()

    def runs_on(self, since: GuestPage) -> None:
        """Require :meth:`counts_on`, the run state running, and its pattern; a quick look.

        :raise Failed: it is not so
        """
        status = self.status()
        require(status == "running", f"the VM is {status}, not running")
        self.counts_on(since)
        self._has_pattern(since)

    def _has_pattern(self, since: GuestPage) -> None:
        wrong = self.guest.wrong_words(since.seed)
        require(wrong == 0, f"{wrong} words of the pattern in the guest's RAM are damaged")

    def stands_still(self) -> None:
        """Require that the guest does not count; looks for a while."""
        before = self.guest.counter()
        for _ in range(20):
            self.execute("query-status")
        require(self.guest.counter() == before, "the guest runs though it must not")

    def save(self, file: Path | str, mode: str = "reboot") -> None:
        """``cprsave`` by QMP, and the end of the process with exit code 0.

        :raise Failed: it ends otherwise
        """
        answer = self.execute("cprsave", file=str(file), mode=mode)
        require(answer == {}, f"cprsave returned {answer}")
        self.ends()

    def ends(self, code: int = 0) -> None:
        """Require that the process ends by itself with *code*.

        :raise Failed: it does not, or otherwise
        """
        said = self.monitor.wait_end()
        require(said == code, f"exit code {said} instead of {code}")

    def quit(self) -> None:
        """``quit`` by QMP, and the end of the process with exit code 0.

        :raise Failed: it ends otherwise
        """
        self.execute("quit")
        self.ends()

    def load(self, file: Path | str) -> None:
        """``cprload`` by QMP."""
        answer = self.execute("cprload", file=str(file))
        require(answer == {}, f"cprload returned {answer}")

    def close(self) -> None:
        """Kill the process, if it is still there, and give everything back."""
        self.monitor.close()
        self.qmp.close()
        self._forget()
