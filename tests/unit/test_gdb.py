"""The client of gdb's remote protocol."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from patchgen.live.gdb import Gdb
from patchgen.live.waiting import Failed


@pytest.fixture
def pair() -> Iterator[tuple[Gdb, socket.socket]]:
    """A debugger and the stub's end of its connection."""
    mine, stub = socket.socketpair()
    with mine, stub:
        yield Gdb(mine), stub


def test_packets_have_a_checksum_and_interrupts_have_none(pair: tuple[Gdb, socket.socket]) -> None:
    gdb, stub = pair
    gdb.send("qAttached")
    gdb.interrupt()
    assert stub.recv(100) == b"$qAttached#8f\x03"


def test_packets_are_told_apart_and_acknowledged(pair: tuple[Gdb, socket.socket]) -> None:
    gdb, stub = pair
    stub.sendall(b"+$T02thread:01;#d8+$1#31")
    assert gdb.ask("?") == "T02thread:01;"
    assert gdb.reply() == "1"
    assert stub.recv(100).endswith(b"++")


def test_a_packet_too_many_is_a_failure(pair: tuple[Gdb, socket.socket]) -> None:
    gdb, stub = pair
    stub.sendall(b"$1#31")
    gdb.has_said_nothing()
    stub.sendall(b"$T02thread:01;#d8$1#31")
    with pytest.raises(Failed, match="of its own accord"):
        gdb.has_said_nothing()


def test_a_stub_that_hangs_up_is_a_failure(pair: tuple[Gdb, socket.socket]) -> None:
    gdb, stub = pair
    stub.close()
    with pytest.raises(Failed, match="hung up"):
        gdb.reply()
