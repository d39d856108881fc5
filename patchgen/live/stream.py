"""What a migration stream says about itself: its sections, and the description at its end."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from patchgen.live.waiting import Failed

_HEAD = rb"\x00\x06(.{4})\{"
"""The end of the sections, the kind and size of the description, and its first byte."""
_START, _FULL = 0x01, 0x04


@dataclass(frozen=True)
class Section:
    """One section that has a header of its own.

    :ivar kind: 1 for one with parts (RAM), 4 for one in a piece (a device)
    """

    kind: int
    number: int
    name: str
    instance: int
    version: int


def end_of_sections(stream: bytes) -> int:
    """Where the end mark is, before the description of the devices.

    :raise Failed: there is no description at the end
    """
    for head in re.finditer(_HEAD, stream, re.DOTALL):
        if head.end() - 1 + int.from_bytes(head[1], "big") == len(stream):
            return head.start()
    raise Failed("the stream has no description at its end")


def description(stream: bytes) -> dict[str, Any]:
    """The JSON at the end of a stream.

    :raise Failed: there is none
    """
    made: dict[str, Any] = json.loads(stream[end_of_sections(stream) + 6 :])
    return made


def sections(stream: bytes) -> list[Section]:
    """The sections of devices, in their order, found by what the description says of them.

    :raise Failed: one is not there
    """
    found = []
    behind = 0
    for device in description(stream)["devices"]:
        name, instance = device["name"], device["instance_id"]
        mark = bytes([len(name)]) + name.encode() + instance.to_bytes(4, "big")
        at = stream.find(mark, behind)
        while at >= 0 and stream[at - 5] not in (_START, _FULL):
            at = stream.find(mark, at + 1)
        if at < 0:
            raise Failed(f"the stream has no section {name} {instance}")
        behind = at + len(mark) + 4
        number = int.from_bytes(stream[at - 4 : at], "big")
        version = int.from_bytes(stream[behind - 4 : behind], "big")
        found.append(Section(stream[at - 5], number, name, instance, version))
    return found


def opening(stream: bytes) -> bytes:
    """All before the guest's memory: header, configuration, what RAM there is.

    :raise Failed: the stream does not begin with RAM
    """
    ram = re.search(rb"\x01(.{4})\x03ram", stream, re.DOTALL)
    end = stream.find(b"\x7e" + ram[1], ram.end()) if ram else -1
    if end < 0:
        raise Failed("the stream does not begin with RAM")
    return stream[:end]


def difference(before: Any, after: Any, where: str) -> str:
    """Where two descriptions differ first; empty if they do not."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            if key not in before or key not in after:
                return f"{where}: {key} {'is gone' if key in before else 'is new'}"
            if said := difference(before[key], after[key], f"{where}/{key}"):
                return said
        return ""
    if isinstance(before, list) and isinstance(after, list):
        for number, (one, other) in enumerate(zip_longest(before, after)):
            name = one.get("name") if isinstance(one, dict) else None
            if said := difference(one, other, f"{where}/{name or number}"):
                return said
        return ""
    if before == after:
        return ""
    return f"{where}: {json.dumps(before)[:80]} became {json.dumps(after)[:80]}"
