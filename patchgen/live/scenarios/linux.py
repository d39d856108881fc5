"""A Linux guest goes on in another QEMU process, and a person at its console goes on typing."""

from __future__ import annotations

import hashlib
import re
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

from patchgen.live.console import Console
from patchgen.live.machine import Machine
from patchgen.live.qemu import Qemu
from patchgen.live.scenario import scenario
from patchgen.live.stage import SHARED, Stage
from patchgen.live.waiting import Failed, require, until

DISK = "disk.qcow2"
_MIB = 256
_NUMBERS = 400000
"""Lines behind the first one of the pattern; see ``guests/linux-init.sh``."""
_BOOT = "cat /proc/sys/kernel/random/boot_id"
_PING = "ping -c 1 -W 60 10.0.2.2 >/dev/null"
_ALLOWED = (
    # About a host that had no time for QEMU.
    r"hrtimer: interrupt took",
    r"clocksource: .*(read-back delay|Long readout interval)",
)


def pattern_sum(seed: int) -> str:
    """The checksum of the pattern that a guest makes from its seed."""
    lines = "\n".join(str(number) for number in range(seed, seed + _NUMBERS + 1))
    return hashlib.sha256(lines.encode() + b"\n").hexdigest()


def _devices(qemu: Qemu) -> list[str]:
    words = ["-drive", f"if=none,id=disk,format=qcow2,file={DISK}"]
    words += ["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]
    if "user" in qemu.help("-netdev", "help").split():
        words += ["-netdev", "user,id=net,restrict=on"]
        words += ["-device", "virtio-net-pci,netdev=net,romfile="]
    return words


def boot(
    stage: Stage, console: Console, *more: str, machine: str, memory: str | None = SHARED
) -> Machine:
    """The guest's whole machine, which is the same for each process."""
    guest = stage.linux
    one = stage.start(
        *("-kernel", str(guest.kernel), "-initrd", str(guest.initramfs), "-no-reboot"),
        *("-append", "console=ttyS0 quiet panic=-1"),
        *("-fw_cfg", "name=opt/org.patchgen/seed,file=seed"),
        *("-chardev", f"serial,id=shell,path={console.path}", "-serial", "chardev:shell"),
        *("-chardev", "file,id=beat,path=beat.log,append=on", "-serial", "chardev:beat"),
        *("-smp", "2"),
        *_devices(stage.qemu),
        *more,
        machine=machine,
        memory=memory,
        mib=_MIB,
        boot=False,
    )
    console.alive = one.monitor.alive
    return one


def beats(stage: Stage) -> list[tuple[int, int, float]]:
    """(number, seed, uptime) of the lines that the guest printed by itself."""
    said = stage.file("beat.log").read_bytes().decode(errors="replace")
    found = re.findall(r"beat (\d+) seed (\d+) uptime ([\d.]+)\r?\n", said)
    return [(int(number), int(seed), float(uptime)) for number, seed, uptime in found]


def _alarms(console: Console) -> list[str]:
    """The kernel's warnings and errors."""
    lines = console.run("dmesg -r").splitlines()
    return [line for line in lines if re.match(r"<[0-4]>", line)]


def round_trip(stage: Stage, machine: str) -> None:
    stage.disk(DISK, "qcow2", "64M")
    with closing(Console(stage.file("console.raw"))) as console:
        _play(stage, console, machine)
    stage.image_is_sound(DISK)


@dataclass(frozen=True)
class Seen:
    """What must be the same, or not less, after the round trip."""

    seed: int
    boot: str
    job: str
    sums: int
    date: int
    uptime: float
    alarms: list[str]
    pings: bool


def _play(stage: Stage, console: Console, machine: str) -> None:
    first = boot(stage, console, machine=machine)
    console.wait("init: ready")
    seen = prepare(stage, console, "virtio-net-pci" in " ".join(first.argv))
    first.save(stage.file())
    last = beats(stage)[-1][0]

    second = boot(stage, console, "-S", machine=machine)
    require(second.status() == "prelaunch", "-S does not wait")
    second.load(stage.file())
    require(second.status() == "running", "it does not run after cprload")
    until(lambda: beats(stage)[-1][0] > last + 1, "the guest's own job does not go on")
    beats_go_on(stage)
    unchanged(console, seen)
    console.type("exit")
    try:
        second.ends()
    except Failed as exc:
        raise Failed(f"the guest was told to power off: {exc}") from exc


def prepare(stage: Stage, console: Console, pings: bool) -> Seen:
    """Do this and that in the guest."""
    seed = int(console.run("cat seed"))
    require(seed == stage.seeds[0], f"the guest found the seed {seed}, not {stage.seeds[0]}")
    console.run("mke2fs -q /dev/vda >/dev/null && mount -t ext4 /dev/vda /mnt")
    console.run("cp pattern /mnt/synced && sync")
    # Still in the guest's memory alone when it is saved.
    console.run("cp pattern /mnt/dirty")
    if pings:
        console.run("ifconfig eth0 10.0.2.15")
        console.run(_PING)
    console.run("kept='said before'; job_of() { echo \"$job\"; }")
    console.run("while dd if=pattern bs=64k 2>/dev/null | sha256sum; do :; done >sums & job=$!")
    console.run("until [ -s sums ]; do usleep 10000; done")
    until(lambda: beats(stage), "the guest prints nothing on its second port")
    return Seen(
        seed,
        console.run(_BOOT),
        console.run("job_of"),
        int(console.run("wc -l <sums")),
        *clocks(console),
        _alarms(console),
        pings,
    )


def unchanged(console: Console, seen: Seen) -> None:
    """Require that all that was done before is still there, and goes on."""
    require(console.run('echo "$kept"') == "said before", "the shell is another one")
    require(console.run("job_of") == seen.job, "the shell forgot its function or its job")
    boot = console.run(_BOOT)
    require(boot == seen.boot, f"boot_id {seen.boot} became {boot}: started anew")
    seed = int(console.run("cat seed"))
    require(seed == seen.seed, f"the seed {seen.seed} became {seed}: started anew")
    date, uptime = clocks(console)
    require(uptime > seen.uptime, f"uptime was {seen.uptime}, now it is {uptime}")
    require(date >= seen.date, f"the date was {seen.date}, now it is {date}")
    console.run('kill -0 "$job"')
    # One that began before may end now; the one after that is whole.
    console.run(f"until [ $(wc -l <sums) -gt {seen.sums + 1} ]; do usleep 10000; done")
    console.run("kill $job")
    right = pattern_sum(seed)
    other = console.run(f"grep -v '^{right} ' sums || :")
    require(not other, f"a job that sums up the pattern over and over once found {other}")
    _unharmed(console, right)
    if seen.pings:
        console.run(_PING)
    new = [line for line in _alarms(console) if line not in seen.alarms]
    strange = [line for line in new if not any(re.search(one, line) for one in _ALLOWED)]
    require(not strange, f"the kernel complains: {' / '.join(strange)}")


def clocks(console: Console) -> tuple[int, float]:
    """(seconds since 1970, uptime)"""
    date, uptime, _ = console.run("date +%s; cat /proc/uptime").split()
    return int(date), float(uptime)


def _unharmed(console: Console, right: str) -> None:
    """Require that the files in memory and on the disk are the pattern."""
    console.run("sync && echo 3 >/proc/sys/vm/drop_caches")
    for file in ("pattern", "/mnt/synced", "/mnt/dirty"):
        said = console.run(f"sha256sum {file}").split()[0]
        require(said == right, f"{file} is damaged: sha256 {said} instead of {right}")


def beats_go_on(stage: Stage) -> None:
    """Require that the guest's own lines go on, each one the next of the one before."""
    for (number, seed, uptime), (then, then_seed, then_uptime) in pairwise(beats(stage)):
        require(then == number + 1, f"line {number} of the guest's job is followed by {then}")
        require(then_seed == seed, f"the seed {seed} became {then_seed}: started anew")
        require(then_uptime >= uptime, f"uptime went back from {uptime} to {then_uptime}")


@scenario(
    "linux-round-trip",
    "a Linux guest, its shell, its jobs, its disk and its network go on in a new process",
)
def on_q35(stage: Stage) -> None:
    round_trip(stage, "q35")
