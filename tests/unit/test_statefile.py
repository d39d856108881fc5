"""The file that cprsave writes, taken apart and sealed again."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest

from patchgen.live.statefile import StateFile
from patchgen.live.waiting import Failed

DEVICES = b'{ "page_size" : 4096, "devices" : [ { "name" : "timer" } ] }'


def stream() -> bytes:
    """Magic, version, one full section with its footer, the end mark, the description."""
    section = b"\4\0\0\0\7" + b"\5timer" + bytes(4) + b"\0\0\0\2" + b"state" + b"\x7e\0\0\0\7"
    return b"QEVM\0\0\0\3" + section + b"\0" + b"\6" + struct.pack(">I", len(DEVICES)) + DEVICES


def sealed(data: bytes, length: int) -> bytes:
    line = b"QEMU-CPR-1 mode=reboot state=running machine=pc-1 length=%d sha256=" % length
    return data + line + hashlib.sha256(data + line).hexdigest().encode() + b"\n"


GOOD = sealed(stream(), len(stream()))


def test_parse() -> None:
    one = StateFile.parse(GOOD)
    assert one.stream == stream()
    assert one.word("machine") == "pc-1"
    assert one.sealed() == GOOD
    assert one.section("timer") == 8
    assert one.stream[one.end : one.end + 2] == b"\0\6"
    assert one.description() == json.loads(DEVICES)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"text\n",
        stream(),
        GOOD[:-1],
        GOOD + b"\n",
        GOOD.replace(b"timer", b"tImer", 1),
        GOOD.replace(b"mode=", b"made="),
        sealed(stream(), 7),
    ],
    ids=lambda bad: f"{len(bad)}",
)
def test_what_is_no_state(bad: bytes) -> None:
    with pytest.raises(Failed):
        StateFile.parse(bad)


def test_changes_are_sealed_again() -> None:
    one = StateFile.parse(GOOD)
    other = one.telling(mode="bogus")
    assert b"mode=bogus state=running" in other.sealed()
    assert StateFile.parse(other.sealed()) == other
    more = one.spliced(8, b"more")
    assert more.stream == stream()[:8] + b"more" + stream()[8:]
    assert StateFile.parse(more.sealed()) == more
    assert one.spliced(4, b"", len(one.stream)).stream == b"QEVM"
    with pytest.raises(Failed, match="not right"):
        StateFile.parse(one.sealed(length=3))


def test_sections_that_are_not_there() -> None:
    one = StateFile.parse(GOOD)
    with pytest.raises(Failed, match="no section ram"):
        one.section("ram")
    with pytest.raises(Failed, match="no description"):
        _ = one.spliced(one.end, b"", len(one.stream)).end
