"""Tables that were damaged or made up, for a QEMU that must not crash because of them."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from patchgen.live.handover import (
    FIRST_FD,
    MAGIC,
    SEALS,
    STATE_FD,
    Entries,
    Handover,
    joined,
    packed,
    sealed,
    spawned,
)
from patchgen.live.machine import Machine
from patchgen.live.restart import STATE, restarted
from patchgen.live.stage import Stage
from patchgen.live.waiting import require

_WORDS = (
    *(b"", b"0", b"1", b"2", b"-1", b" 7", b"7 ", b"0x10", b"1e9", b"+3", b"%s%n", b"\xff\xfe"),
    *(b"2147483647", b"2147483648", b"4294967296", b"9223372036854775807", b"-9223372036854775808"),
    *(b"18446744073709551615", b"18446744073709551616", b"9" * 400, b"A" * 100_000),
    *(b"%d" % fd for fd in (STATE_FD, FIRST_FD, FIRST_FD + 1, 1023, 1024, 65536)),
)
_PREFIXES = (b"QEMU_FD_", b"QEMU_ADDR_", b"QEMU_LEN_", b"QEMU_BOOL_", b"QEMU_STR_", b"", b"QEMU_")
_VARIABLES: tuple[str, ...] = (
    "",
    ":",
    "x",
    "$$",
    "$$:",
    f":{STATE_FD}",
    f"$$:{STATE_FD}:",
    f"$$:{STATE_FD}:what",
)
_VARIABLES += (f" $$:{STATE_FD}", f"+$$:{STATE_FD}", f"-1:{STATE_FD}", f"1:{STATE_FD}", "$$:-1")
_VARIABLES += ("$$:0", "$$:1023", "$$:99999999999", f"$$:{STATE_FD}x", f"0$$:{STATE_FD}", "9" * 99)
_VARIABLES += (f"$$:{FIRST_FD}", f"$$:{STATE_FD}:fallback")
_COMPLAINTS = re.compile(r"^.*(?:Sanitizer|runtime error:).*$", re.MULTILINE)
_LIMIT = 120


@dataclass(frozen=True)
class Case:
    """One table, and how it is left.

    :ivar what: what was done to it
    :ivar content: the memfd's contents, by the process id
    :ivar seals: what the memfd is sealed with
    :ivar other: opens another file in the place of the memfd; -1 for none
    :ivar variable: as for :func:`~patchgen.live.handover.spawned`
    """

    what: str
    content: Callable[[int], bytes]
    seals: int = SEALS
    variable: str = f"$$:{STATE_FD}"
    other: Callable[[], int] | None = None

    def make(self, pid: int) -> int:
        """The descriptor, or -1."""
        if self.other:
            return self.other()
        return sealed(self.content(pid), self.seals)


def _word(rng: random.Random, value: bytes) -> bytes:
    """Something instead of *value*, or *value* with a number in it that is another one."""
    if b" " in value and rng.random() < 0.7:
        fields = value.split(b" ")
        fields[rng.randrange(len(fields))] = rng.choice(_WORDS)
        return b" ".join(fields)
    if value and rng.random() < 0.3:
        return _flipped(rng, value).replace(b"\0", b"?")
    return rng.choice(_WORDS)


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _changed(rng: random.Random, entries: Entries) -> tuple[str, Entries]:
    """Names or values that are others; NULs are where they belong."""
    new = list(entries)
    at = rng.randrange(len(new))
    name, value = new[at]
    how = rng.choice(("value", "value", "value", "name", "gone", "twice", "prefix", "many", "swap"))
    if how == "value":
        new[at] = name, _word(rng, value)
    elif how == "name":
        new[at] = _word(rng, name), value
    elif how == "gone":
        del new[at]
    elif how == "twice":
        new.append((name, _word(rng, value)))
    elif how == "prefix":
        old = next(prefix for prefix in _PREFIXES if name.startswith(prefix))
        new[at] = rng.choice(_PREFIXES) + name.removeprefix(old), value
    elif how == "many":
        new += [(b"QEMU_FD_%d" % one, rng.choice(_WORDS[:-7])) for one in range(5000)]
    else:
        other = rng.randrange(len(new))
        new[at], new[other] = (name, new[other][1]), (new[other][0], value)
    return f"{how} of {name[:60].decode(errors='replace')}", tuple(new)


def _damaged(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Bytes that are others."""
    at = rng.randrange(len(data))
    how = rng.choice(("flip", "cut", "insert", "noise", "nuls", "empty", "no end"))
    ways: dict[str, Callable[[], bytes]] = {
        "flip": lambda: _flipped(rng, data),
        "cut": lambda: data[:at],
        "insert": lambda: data[:at] + rng.randbytes(rng.randint(1, 64)) + data[at:],
        "noise": lambda: rng.randbytes(rng.randint(1, 4096)),
        "nuls": lambda: bytes(rng.randint(1, 100_000)),
        "empty": lambda: b"",
        "no end": lambda: data[:-1],
    }
    return how, ways[how]()


def case(rng: random.Random, entries: Entries) -> Case:
    """A table made from *entries*. In most the digest is right, so that more of it is looked at."""
    what = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        how, entries = _changed(rng, entries)
        what.append(how)
    data = joined(entries)
    kind = rng.choice(("table", "table", "table", "bytes", "header", "memfd", "variable"))
    if kind == "bytes":
        how, data = _damaged(rng, data)
        what.append(f"bytes: {how}")
    if kind == "header":
        length = rng.choice((0, 1, len(data) - 1, len(data) + 1, 1 << 63, (1 << 64) - 1, None))
        digest = rng.choice((None, b"", b"0" * 64, rng.randbytes(64)))
        magic = rng.choice((MAGIC, MAGIC, b"QEMU CPR state 2", rng.randbytes(16)))
        off = rng.choice((0, 0, 1, -1, 1 << 40))
        return Case(
            f"header: {length=} {digest=} {magic=} {off=}",
            lambda pid: packed(data, pid + off, length=length, digest=digest, magic=magic),
        )
    if kind == "memfd":
        seals = rng.choice((0, SEALS & ~1, SEALS & ~8, SEALS))
        size = rng.choice((0, 1, 16, 95, 96, 97, None))
        return Case(f"memfd: {seals=} {size=}", lambda pid: packed(data, pid)[:size], seals)
    if kind == "variable":
        variable = rng.choice(_VARIABLES)
        return Case(f"{variable=}", lambda pid: packed(data, pid), variable=variable)
    if rng.random() < 0.2:
        return Case(", ".join((*what, "other digest")), lambda pid: packed(data, pid, digest=b"0"))
    return Case(", ".join(what), lambda pid: packed(data, pid))


class Target:
    """A QEMU that tables are left to.

    :ivar left: what its like has left to itself
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        words = ("-S", "-device", "VGA", "-object", "memory-backend-memfd,id=m,size=2M")
        machine: Machine = stage.start(*words, memory=None, mib=16, boot=False)
        restarted(machine)
        self.left = Handover.of(machine.pid)
        machine.close()
        argv = stage.argv(*words, memory=None, mib=16, boot=False)
        self._load = [*argv, "-monitor", "none", "-qmp", "stdio"]
        self._version = [argv[0], "-version"]
        # What is found without any table is not its doing.
        _, said = self.play(Case("nothing", lambda _pid: b""), load=True)
        self._known = set(_places(said))
        self._works()

    def _works(self) -> None:
        """Require that the table is taken as it was left: else nothing would be tried at all.

        :raise Failed: it is not
        """
        data = joined(self.left.entries)
        code, said = self.play(Case("as it was", lambda pid: packed(data, pid)), load=True)
        fine = code == 0 and '"error"' not in said and "ignored" not in said
        require(fine, f"the table as it was left ends with exit code {code}: {said[-400:]!r}")
        require('"status": "prelaunch"' in said, f"it was not loaded: {said[-400:]!r}")

    def close(self) -> None:
        """Close the descriptors."""
        self.left.close()

    def play(self, one: Case, *, load: bool) -> tuple[int, str]:
        """Leave it to a QEMU.

        :return: its exit code, negative for a signal, 256 if it does not end; what it printed
        """
        process = spawned(
            self._load if load else self._version,
            self._stage.place,
            one.make,
            self.left.fds,
            variable=one.variable,
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0:exitcode=99"},
        )
        lines = (
            '{"execute":"qmp_capabilities"}',
            f'{{"execute":"cprload","arguments":{{"file":"{STATE}"}}}}',
            '{"execute":"query-status"}{"execute":"quit"}\n',
        )
        try:
            out, _ = process.communicate("".join(lines).encode() if load else b"", timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            return 256, f"does not end: {out.decode(errors='replace')}"
        return process.returncode, out.decode(errors="replace")

    def fault(self, one: Case, *, load: bool) -> str:
        """What is wrong with how QEMU ends: a signal, a sanitizer's report; empty if nothing.

        :param load: start it for good and try ``cprload``; else it only tells its version, and
            has looked at the table before that
        """
        code, said = self.play(one, load=load)
        told = [place for place in _places(said) if place not in self._known]
        if code in (0, 1) and not told:
            return ""
        return f"{one.what}: exit code {code}: {' / '.join(told)} {said[-400:]!r}"


def _places(said: str) -> list[str]:
    """The complaints of sanitizers, each once."""
    return list(dict.fromkeys(_COMPLAINTS.findall(said)))
