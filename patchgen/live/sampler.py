"""The pause of a guest while its QEMU is told something: sampled from outside, with its phases."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from patchgen.live.figures import Round, still
from patchgen.live.machine import Machine
from patchgen.live.monitor import PROMPT
from patchgen.live.observer import GuestRam, Observer
from patchgen.live.transcript import rendered
from patchgen.live.waiting import LIMIT, Failed

INTERVAL = 0.0002
"""Seconds between two samples; what the host's scheduler adds is not in it."""
_GREETING = b" monitor - type 'help' for more information"
_MOVES = 5
"""So often the counter must move before it counts as moving."""


class Eye:
    """A guest's counter, seen in its RAM, whatever that is made of, in this process and the next.

    :param machine: its process; :meth:`Machine.watch_process` was called unless the RAM is a file
    :param file: the file that the RAM is in, ``None`` if it has no name
    :param mib: the size of the RAM
    """

    def __init__(self, machine: Machine, file: Path | None, mib: int) -> None:
        self._pid = machine.pid
        self._size = mib << 20
        self._own: Observer | None = Observer(file) if file else self._memfd()
        self._view: GuestRam = self._own or machine.guest

    def _memfd(self) -> Observer | None:
        """The memfd of the process that is as large as the RAM."""
        place = Path(f"/proc/{self._pid}/fd")
        for path in place.iterdir():
            with suppress(OSError):
                named = str(path.readlink()).startswith("/memfd:")
                if named and path.stat().st_size == self._size:
                    return Observer(path)
        return None

    def counter(self) -> int:
        """The counter; 0 while it cannot be seen."""
        with suppress(OSError):
            counter = self._view.counter()
            if counter or self._own:
                return counter
            # The process has become another one; what was private is in a memfd now.
            self._own = self._memfd()
            self._view = self._own or self._view
        return 0

    def close(self) -> None:
        """Give the view back."""
        if self._own:
            self._own.close()


class Sampler:
    """Looks at a guest and its process until something has come about.

    All marks are of one thread and one clock.

    :ivar longest: (start, end) of the longest time in which the counter stood still, seconds
    :ivar around: the same of the time in which the process became another QEMU
    """

    def __init__(self, machine: Machine, eye: Eye) -> None:
        self._machine = machine
        self._eye = eye
        self._binary = self._image()
        self.sent = 0.0
        self.longest = self.around = (0.0, 0.0)
        self.replaced = self.linked = self.ready = self.asked = 0.0
        self.shown = b""

    def _image(self) -> tuple[int, int]:
        seen = os.stat(f"/proc/{self._machine.pid}/exe")  # noqa: PTH116  (called very often)
        return seen.st_dev, seen.st_ino

    def _threads(self) -> int:
        stat = Path(f"/proc/{self._machine.pid}/stat").read_bytes().rpartition(b") ")[2]
        return int(stat.split()[17])

    def run(self, lines: list[str], over: Callable[[Sampler, int], bool], command: str) -> None:
        """Type *lines* at once and sample until *over* holds.

        :param over: is given this sampler and how often the counter has moved since the greeting
        :param command: its echo behind the greeting is the mark ``asked``
        :raise Failed: it does not come about
        """
        moves = 0
        seen = self._eye.counter()
        self.sent = since = time.monotonic()
        deadline = self.sent + LIMIT
        if lines:
            self._machine.monitor.type("\n".join(lines))
        while not over(self, moves):
            now = time.monotonic()
            counter = self._eye.counter()
            if counter not in (0, seen):
                if now - since > self.longest[1] - self.longest[0]:
                    self.longest = (since, now)
                if since <= self.replaced:
                    self.around = (since, now)
                seen, since = counter, now
                moves += 1
            fresh = self._machine.monitor.available(INTERVAL)
            before = self.replaced
            self._mark(time.monotonic(), fresh, command.encode())
            if self.replaced != before:
                # What moved while this thread did not run was before the exec.
                seen = self._eye.counter() or seen
            refused = not self.replaced and b"\nError: " in self.shown
            if fresh is None or refused or now > deadline:
                lines = [line for line in rendered(self.shown) if line][-3:]
                errors = [line for line in lines if line.startswith("Error")]
                said = " / ".join(errors[:1] or lines)
                what = f"after {LIMIT:.0f} s nothing goes on"
                what = "QEMU ended" if fresh is None else "it is refused" if refused else what
                raise Failed(f"{what}: {said or 'it says nothing'}")

    def _mark(self, now: float, fresh: bytes | None, command: bytes) -> None:
        self.shown += fresh or b""
        if not self.replaced:
            with suppress(FileNotFoundError):
                if self._image() != self._binary:
                    self.replaced = now
        elif not self.linked:
            with suppress(FileNotFoundError, ProcessLookupError):
                if self._threads() > 1:
                    self.linked = now
        # The old process has greeted before the command was sent. The new one greets when it has a
        # monitor, which is long before it reads from it and shows the first letter.
        greeted = self.replaced and self.shown.partition(_GREETING)[2].partition(PROMPT)[2]
        if not self.ready and greeted:
            self.ready = now
        if not self.asked and greeted and command in greeted:
            self.asked = now

    def ms(self, mark: float) -> float:
        """A mark as ms since the command was sent."""
        return 1e3 * (mark - self.sent)


def stood_still(machine: Machine, eye: Eye, *lines: str, seconds: float = 0.0) -> Round:
    """The longest pause while *lines* are typed, or for *seconds* if there are none.

    :raise Failed: the guest does not go on
    """
    sampler = Sampler(machine, eye)

    def over(seen: Sampler, moves: int) -> bool:
        if time.monotonic() - seen.sent < seconds:
            return False
        return moves >= _MOVES and seen.shown.count(PROMPT) >= len(lines)

    sampler.run(list(lines), over, "")
    begun, ended = sampler.longest
    return still((sampler.ms(begun), sampler.ms(ended)))


def replaced(machine: Machine, eye: Eye, save: str, load: str = "") -> Round:
    """The pause while the process becomes another QEMU, whose binary must be another file.

    :param save: the command that ends in exec
    :param load: the command that loads, typed in advance; empty if the new QEMU loads by itself
    :raise Failed: the guest does not go on
    """
    sampler = Sampler(machine, eye)
    moved: list[int] = []

    def over(seen: Sampler, moves: int) -> bool:
        if seen.replaced and not moved:
            moved.append(moves)
        done = bool(moved) and moves >= moved[0] + _MOVES and _GREETING in seen.shown
        return done and seen.shown.endswith(PROMPT) and (not load or seen.asked > 0)

    sampler.run([save, load] if load else [save], over, load or _never)
    stopped, runs = sampler.around
    longest = 1e3 * (sampler.longest[1] - sampler.longest[0])
    # What was not seen had no time: QEMU ran before its monitor read anything.
    linked, ready, asked = (
        sampler.ms(mark or runs) for mark in (sampler.linked, sampler.ready, sampler.asked)
    )
    return Round(
        sampler.ms(stopped),
        sampler.ms(sampler.replaced),
        linked,
        ready,
        asked,
        sampler.ms(runs),
        longest,
    )


_never = "\0"
"""What no terminal shows."""
