"""Reboot mode: a guest goes on in another QEMU process, with its memory in place."""

from __future__ import annotations

from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import require


@scenario(
    "reboot-round-trip-qmp",
    "by QMP: cprsave exits with 0, a new process loads, the guest goes on where it was",
    kvm=True,
)
def by_qmp(stage: Stage) -> None:
    file = stage.file()
    first = stage.start()
    before = first.wait_counting()
    first.wait_lines()
    require(first.execute("cprinfo") == {"modes": ["reboot"]}, "cprinfo does not say reboot")
    first.save(file)
    require(file.read_bytes().startswith(b"QEVM"), "the file is no migration stream")
    require(file.stat().st_mode & 0o777 == 0o600, "the file can be read by others")
    saved = first.page()

    second = stage.start("-S")
    require(second.status() == "prelaunch", "-S does not wait")
    second.load(file)
    require(second.status() == "running", "it does not run after cprload")
    second.goes_on(saved)
    require(saved.counter >= before.counter, "the counter went back before the save")
