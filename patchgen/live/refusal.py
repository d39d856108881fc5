"""A ``cprsave`` that must be refused, and a guest that must not notice."""

from __future__ import annotations

from patchgen.live.machine import Machine
from patchgen.live.stage import Stage
from patchgen.live.waiting import Failed, require

HEAD = "The VM state cannot be saved: "
VOLATILE = "memory regions are volatile, not in a shared file that outlives QEMU: "
_MINE = b"not a VM state\n"


def refused(stage: Stage, machine: Machine, *expected: str) -> None:
    """Require that ``cprsave`` is refused for exactly *expected*, and that nothing is harmed.

    The run state stays, a guest that runs goes on in the same process, no file appears and
    one that was there is as it was.

    :param expected: a part of each reason; as many as there are reasons, in any order
    :raise Failed: it is refused for more or less, or something was harmed
    """
    status = machine.status()
    before = machine.page() if status == "running" else None
    old, new = stage.file("old.sav"), stage.file("new.sav")
    old.write_bytes(_MINE)
    inode = old.stat().st_ino
    said = machine.refusal("cprsave", file=str(new), mode="reboot")
    require(said.startswith(HEAD), f"no reasons in: {said}")
    check_reasons(said.removeprefix(HEAD), expected)
    again = machine.refusal("cprsave", file=str(old), mode="reboot")
    require(again == said, f"with a FILE that exists the refusal is another one: {again}")
    require(old.stat().st_ino == inode and old.read_bytes() == _MINE, "FILE was changed")
    stage.unharmed(new.name)
    now = machine.status()
    require(now == status, f"the refusal changed the run state from {status} to {now}")
    if before:
        machine.counts_on(before)


def check_reasons(said: str, expected: tuple[str, ...]) -> None:
    """Require that *said* lists *expected* and nothing else.

    :raise Failed: one is missing, or there is another one
    """
    left = said.split("; ")
    for part in expected:
        found = next((one for one in left if part in one), None)
        if found is None:
            raise Failed(f"not refused for {part!r}, but for: {said}")
        left.remove(found)
    require(not left, f"refused for more than expected: {'; '.join(left)}")
