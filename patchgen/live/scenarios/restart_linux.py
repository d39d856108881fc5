"""Restart mode with a Linux guest: its jobs, its disk, its console, its sleep."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from patchgen.live.console import Console
from patchgen.live.machine import Machine
from patchgen.live.process import descriptors, left_open, memory
from patchgen.live.restart import STATE, restarted
from patchgen.live.scenario import scenario
from patchgen.live.scenarios.linux import (
    DISK,
    beats,
    beats_go_on,
    boot,
    clocks,
    pattern_sum,
    prepare,
    unchanged,
)
from patchgen.live.scenarios.restart_states import clean_environment
from patchgen.live.stage import Stage
from patchgen.live.waiting import Failed, require, until

_JOB = (
    "round=0; while file=/mnt/round$((round % 4)); cp pattern $file && sync && "
    "echo 3 >/proc/sys/vm/drop_caches && sha256sum <$file; do round=$((round + 1)); done "
    ">written 2>&1 & writer=$!"
)
"""Writes files and reads them back from the disk, over and over."""
TIMES = 50
KEPT = (256 + 16) << 10
"""KiB of RAM and ROMs."""


@contextmanager
def _guest(stage: Stage) -> Iterator[tuple[Machine, Console]]:
    """The guest at its prompt, with private RAM; its disk must be sound in the end."""
    stage.disk(DISK, "qcow2", "64M")
    with closing(Console(stage.file("console.raw"))) as console:
        machine = boot(stage, console, machine="q35", memory=None)
        console.wait("init: ready")
        yield machine, console
    stage.image_is_sound(DISK)
    _file_system_is_sound(stage)


def _file_system_is_sound(stage: Stage) -> None:
    """Have e2fsck look at what the guest has written."""
    tool = shutil.which("e2fsck", path="/usr/sbin:/sbin:/usr/bin")
    if tool is None:
        stage.leave_out("the file system", "e2fsck is not installed, which checks it")
        return
    stage.raw_copy(DISK, "disk.raw")
    done = subprocess.run(
        [tool, "-fn", "disk.raw"], cwd=stage.place, capture_output=True, text=True, check=False
    )
    require(done.returncode == 0, f"the file system is damaged: {done.stdout.strip()[-200:]}")


def _loaded(machine: Machine, status: str) -> None:
    machine.load(STATE)
    now = machine.status()
    require(now == status, f"after cprload it is {now}, not {status}")


def _beats_on(stage: Stage) -> None:
    last = beats(stage)[-1][0]
    until(lambda: beats(stage)[-1][0] > last + 1, "the guest's own job does not go on")


def _written_on(console: Console, right: str) -> None:
    """Require that the job with the disk goes on, and always read what it wrote."""
    lines = int(console.run("wc -l <written"))
    # One that began before may end now; the one after that is whole.
    console.run(f"until [ $(wc -l <written) -gt {lines + 1} ]; do usleep 10000; done")
    other = console.run(f"grep -v '^{right} ' written || :")
    require(not other, f"a job that writes files and reads them back found {other}")


def _asleep(stage: Stage, machine: Machine, console: Console) -> None:
    """Restart while the guest is suspended; it is woken up, its clock and console are right."""
    before_host = time.time()
    date, uptime = clocks(console)
    console.run("! [ -e /sys/power/mem_sleep ] || echo deep >/sys/power/mem_sleep")
    console.type('echo mem >/sys/power/state; echo "woken up: $?"')
    machine.wait_status("suspended")
    number = len(beats(stage))
    for _ in range(2):
        restarted(machine)
        _loaded(machine, "suspended")
    require(len(beats(stage)) == number, "the guest ran though it was suspended")
    machine.execute("system_wakeup")
    console.wait("woken up: 0")
    now, up = clocks(console)
    gone = time.time() - before_host
    # The guest reads whole seconds from its clock.
    require(0 <= now - date <= gone + 2, f"its date went on by {now - date} s in {gone:.0f} s")
    require(0 < up - uptime <= gone + 2, f"its uptime went on by {up - uptime} s in {gone:.0f} s")
    _beats_on(stage)


@scenario(
    "restart-linux",
    "a Linux guest with jobs and disk I/O is restarted running and in S3: all of it goes on",
)
def linux(stage: Stage) -> None:
    with _guest(stage) as (machine, console):
        seen = prepare(stage, console, "virtio-net-pci" in " ".join(machine.argv))
        right = pattern_sum(seen.seed)
        console.run(_JOB)
        console.run("until [ -s written ]; do usleep 10000; done")
        restarted(machine)
        # Nobody reads it before the guest is there again.
        console.type("echo typed meanwhile: $((40 + 2))")
        _loaded(machine, "running")
        console.wait("typed meanwhile: 42")
        _beats_on(stage)
        _written_on(console, right)
        restarted(machine)
        _loaded(machine, "running")
        _written_on(console, right)
        _asleep(stage, machine, console)
        _written_on(console, right)
        console.run("kill $writer; wait $writer 2>/dev/null; :")
        unchanged(console, seen)
        beats_go_on(stage)
        _power_off(machine, console)


def _power_off(machine: Machine, console: Console) -> None:
    console.type("exit")
    try:
        machine.ends()
    except Failed as exc:
        raise Failed(f"the guest was told to power off: {exc}") from exc


@scenario(
    "restart-fifty-times",
    f"a Linux guest with disk I/O, {TIMES} restarts in a row: it goes on, and nothing piles up",
    long=True,
)
def fifty_times(stage: Stage) -> None:
    with _guest(stage) as (machine, console):
        seen = prepare(stage, console, "virtio-net-pci" in " ".join(machine.argv))
        right = pattern_sum(seen.seed)
        console.run(_JOB)
        console.run("until [ -s written ]; do usleep 10000; done")
        inherited = left_open(machine.pid)
        fds = descriptors(machine.pid)
        own, _ = memory(machine.pid)
        for number in range(TIMES):
            with stage.telling(f"restart {number + 1}"):
                restarted(machine)
                _loaded(machine, "running")
                _beats_on(stage)
                if not number:
                    # There are files for RAM now.
                    fds = descriptors(machine.pid)
                now = descriptors(machine.pid)
                more, fewer = now - fds, fds - now
                require(
                    not more and not fewer, f"descriptors: {dict(more)} more, {dict(fewer)} fewer"
                )
                _no_more_memory(machine, own)
        with stage.telling(f"after {TIMES} restarts"):
            open_now = left_open(machine.pid) - inherited
            require(not open_now, f"not closed by exec: {dict(open_now)}")
            _written_on(console, right)
            console.run("kill $writer; wait $writer 2>/dev/null; :")
            clean_environment(machine, stage)
            machine.execute("cont")
            unchanged(console, seen)
            beats_go_on(stage)
            _power_off(machine, console)


def _no_more_memory(machine: Machine, own: int) -> None:
    """Require that memory is bounded: RAM is in files, once.

    :param own: KiB of the process before its RAM was moved
    """
    now, held = memory(machine.pid)
    require(now <= own, f"the process has {now} KiB of its own, with all its RAM it had {own}")
    require(held <= KEPT, f"files without a name hold {held} KiB")
