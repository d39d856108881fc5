"""A cprsave that is refused or fails leaves everything as it was: the guest, and all files."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchgen.live.confined import seen_by, unprivileged, with_tmpfs
from patchgen.live.machine import Machine
from patchgen.live.observer import SUSPEND
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.statefile import StateFile
from patchgen.live.waiting import LIMIT, Failed, require, until


def _fails(
    machine: Machine,
    file: Path | str,
    says: str,
    mode: str = "reboot",
    status: str = "running",
) -> None:
    """Require that cprsave fails, tells why, and that the VM is as before in the same process."""
    command = f"cprsave {file!s:.80} {mode}"
    before = machine.guest.page()
    said = machine.refusal("cprsave", file=str(file), mode=mode)
    require(says in said, f"{command}: the error does not say {says!r}: {said}")
    require(machine.monitor.alive(), f"QEMU ended after {command}")
    try:
        if before and status == "running":
            machine.runs_on(before)
            return
        now = machine.status()
        require(now == status, f"the VM is {now}, not {status}")
        machine.stands_still()
        require(machine.guest.page() == before, "the guest has run")
    except Failed as exc:
        raise Failed(f"after {command}: {exc}") from exc


def _names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def _then_saves(stage: Stage, machine: Machine) -> None:
    """Require that nothing is left, that the guest goes on, and that a good save works."""
    stage.unharmed("guest.sav")
    machine.goes_on(machine.page())
    machine.save(stage.file())
    saved = machine.page()
    second = stage.start("-S")
    second.load(stage.file())
    second.goes_on(saved)


@scenario(
    "save-fails-nowhere",
    "FILE is in no directory, a directory, below a file, /dev/full: fails, and the guest runs on",
)
def nowhere(stage: Stage) -> None:
    for name in ("place", "away"):
        stage.file(name).mkdir()
    stage.file("dangling").symlink_to("none/guest.sav")
    os.mkfifo(stage.file("fifo"))
    with socket.socket(socket.AF_UNIX) as one:
        here = os.open(stage.place, os.O_PATH)
        one.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    bad = {
        "": "empty",
        "none/guest.sav": os.strerror(errno.ENOENT),
        "new/": os.strerror(errno.ENOENT),
        "dangling": os.strerror(errno.ENOENT),
        "/proc/guest.sav": os.strerror(errno.ENOENT),
        "boot.img/guest.sav": os.strerror(errno.ENOTDIR),
        "place": os.strerror(errno.EISDIR),
        ".": os.strerror(errno.EISDIR),
        "n" * 300: os.strerror(errno.ENAMETOOLONG),
        # Nobody reads it: not waited for.
        "fifo": os.strerror(errno.ENXIO),
        "socket": os.strerror(errno.ENXIO),
        "/dev/fdset/7": "/dev/fdset/7",
        "/dev/full": os.strerror(errno.ENOSPC),
    }
    machine = stage.start()
    machine.wait_counting()
    there = _names(stage.place)
    for file, says in bad.items():
        _fails(machine, file, says)
    machine.qmp.wait_event("RESUME")
    now = _names(stage.place)
    require(now == there, f"there were {there}, now there are {now}")
    require(stage.file("fifo").is_fifo(), "the pipe was replaced")
    require(not any(stage.file("place").iterdir()), "something was left in a directory")
    require(stage.file("dangling").is_symlink(), "a link was replaced")
    _then_saves(stage, machine)


@scenario(
    "save-fails-no-permission",
    "the directory may not be written to: refused; one that may not be read will do",
)
def no_permission(stage: Stage) -> None:
    closed, drop = stage.file("closed"), stage.file("drop")
    closed.mkdir()
    (closed / "there").write_text("mine", encoding="ascii")
    stage.file("link").symlink_to("closed/there")
    closed.chmod(0o555)
    drop.mkdir(mode=0o300)
    machine = stage.spawn(unprivileged(stage.argv()))
    machine.wait_counting()
    denied = os.strerror(errno.EACCES)
    try:
        for file in (closed / "new", closed / "there", stage.file("link")):
            _fails(machine, file, denied)
        require(_names(closed) == ["there"], "something was left in the directory")
        require((closed / "there").read_bytes() == b"mine", "the file was written to")
    finally:
        closed.chmod(0o755)
    machine.save(drop / "guest.sav")
    StateFile.parse((drop / "guest.sav").read_bytes())
    drop.chmod(0o755)
    stage.unharmed()


@scenario(
    "save-fails-disk-full",
    "the disk becomes full in the middle of the file, or is read-only: nothing is left or harmed",
)
def disk_full(stage: Stage) -> None:
    for name in ("full", "closed"):
        stage.file(name).mkdir()
    argv = with_tmpfs(stage.argv(), full="size=64k", closed="ro")
    machine = stage.spawn(argv)
    machine.wait_counting()
    full = seen_by(machine.pid, stage.file("full"))
    there = full / "there"
    there.write_bytes(b"mine")
    space = os.statvfs(full).f_bfree
    require(space, "there is no space to begin with")
    stage.file("link").symlink_to("full/there")
    for file in ("full/new", "full/there", "link"):
        _fails(machine, stage.file(file), os.strerror(errno.ENOSPC))
        require(_names(full) == ["there"], f"left on the full disk: {_names(full)}")
        require(there.read_bytes() == b"mine", "the file that was there was written to")
        require(os.statvfs(full).f_bfree == space, "space of the full disk is lost")
    _fails(machine, stage.file("closed") / "new", os.strerror(errno.EROFS))
    # It was stopped for the three that got as far as writing.
    names = [one["event"] for one in machine.qmp.events()]
    require(names == 3 * ["STOP", "RESUME"], f"the failures told {names}")
    _then_saves(stage, machine)


@contextmanager
def _file_limit(pid: int, size: int) -> Iterator[None]:
    old = resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, old)


@scenario(
    "save-fails-file-limit",
    "the file size limit is met in the middle, or within the seal: an error, not SIGXFSZ",
)
def file_limit(stage: Stage) -> None:
    there = stage.file("there")
    there.write_bytes(b"mine")
    in_place = stage.file("in-place")
    machine = stage.start()
    machine.wait_counting()
    fd = os.open(in_place, os.O_WRONLY | os.O_CREAT, 0o600)
    machine.qmp.send_fd(fd)
    os.close(fd)
    passed = f"/dev/fdset/{machine.execute('add-fd')['fdset-id']}"
    for size in (4096, 65536):
        with _file_limit(machine.pid, size):
            for file in (stage.file(), there, passed):
                _fails(machine, file, os.strerror(errno.EFBIG))
        stage.unharmed("guest.sav")
        require(there.read_bytes() == b"mine", "the file that was there was written to")
    _then_saves(stage, machine)


@scenario(
    "save-fails-not-running",
    "a save that fails leaves a VM paused, in prelaunch or suspended as it was; a later one works",
)
def not_running(stage: Stage) -> None:
    file = stage.file()
    full = os.strerror(errno.ENOSPC)
    first = stage.start("-S")
    _fails(first, "/dev/full", full, status="prelaunch")
    first.execute("cont")
    first.wait_counting()
    first.execute("stop")
    _fails(first, "/dev/full", full, status="paused")
    first.execute("cont")
    first.goes_on(first.page())
    first.execute("stop")
    first.save(file)

    second = stage.start("-S")
    second.load(file)
    # The state is the same, so the file would be: all but the end of its seal is written.
    with _file_limit(second.pid, file.stat().st_size - 1):
        _fails(second, stage.file("new"), os.strerror(errno.EFBIG), status="paused")
    stage.unharmed("new")
    second.execute("cont")
    second.goes_on(second.page())
    second.guest.command(SUSPEND)
    second.wait_status("suspended")
    _fails(second, "/dev/full", full, status="suspended")
    second.execute("system_wakeup")
    until(lambda: second.page().wakes == 1, "the guest does not wake up after a failed save")
    second.runs_on(second.page())


@scenario(
    "save-fails-reader-gone",
    "FILE is a pipe whose reader goes away in the middle: an error, the guest runs on",
)
def reader_gone(stage: Stage) -> None:
    fifo = stage.file("fifo")
    os.mkfifo(fifo)
    machine = stage.start()
    machine.wait_counting()
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    # No more than that is taken before the reader is gone.
    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)

    def read_one_byte() -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(1000 * LIMIT)
        os.close(fd)

    reader = threading.Thread(target=read_one_byte, daemon=True)
    reader.start()
    _fails(machine, fifo, os.strerror(errno.EPIPE))
    reader.join(LIMIT)
    require(fifo.is_fifo(), "the pipe was replaced")
    _then_saves(stage, machine)


@scenario(
    "save-fails-words",
    "unknown modes and missing or surplus words are refused by both monitors; the guest runs on",
)
def words(stage: Stage) -> None:
    there = stage.file("there")
    there.write_bytes(b"mine")
    machine = stage.start()
    machine.wait_counting()
    for mode in ("bogus", "", "Reboot", "restart "):
        _fails(machine, there, mode, mode=mode)
    before = machine.page()
    said = machine.refusal("cprsave", file="there")
    require("mode" in said, f"cprsave without a mode says {said!r}")
    said = machine.refusal("cprsave", mode="reboot")
    require("file" in said, f"cprsave without a file says {said!r}")
    said = machine.refusal("cprsave", file="there", mode="reboot", more="x")
    require("more" in said, f"cprsave with another argument says {said!r}")
    for line, says in {
        "cprsave": "help cprsave",
        "cprsave there": "help cprsave",
        "cprsave there reboot more": "help cprsave",
        "cprsave there bogus": "bogus",
        "cprsave none/there reboot": os.strerror(errno.ENOENT),
        "cprsave /dev/full reboot": os.strerror(errno.ENOSPC),
    }.items():
        said = machine.human(line)
        require(says in said, f"{line}, typed, says {said!r}, not {says!r}")
        machine.runs_on(before)
    require(there.read_bytes() == b"mine", "the file that was there was written to")
    _then_saves(stage, machine)


def _state_of(path: Path) -> tuple[int, int, bytes]:
    at = path.stat()
    # The guest changes its RAM meanwhile.
    changes = path.resolve().name == "ram"
    return at.st_ino, at.st_size, b"" if changes else path.read_bytes()


@scenario(
    "save-fails-file-of-vm",
    "FILE is the guest's RAM, its disk, or a link to one: refused, nothing is replaced",
)
def file_of_vm(stage: Stage) -> None:
    machine = stage.start()
    machine.wait_counting()
    stage.file("soft").symlink_to("ram")
    stage.file("hard").hardlink_to(stage.file("boot.img"))
    for name in ("ram", "boot.img", "soft", "hard"):
        before = _state_of(stage.file(name))
        for spelled in (name, f"./{name}", stage.file(name)):
            _fails(machine, spelled, "in use by this VM")
        require(_state_of(stage.file(name)) == before, f"{name} was harmed")
    require(stage.file("soft").is_symlink(), "the link was replaced")
    _then_saves(stage, machine)


@scenario(
    "save-fails-volatile-ram",
    "RAM that is not in a shared file with a name refuses by name; the guest runs on",
)
def volatile_ram(stage: Stage) -> None:
    private = "memory-backend-file,id=ram,size={mib}M,mem-path=ram,share=off"
    machine = stage.start("-device", "VGA,romfile=", "-S", memory=private)
    for _ in range(2):
        said = machine.refusal("cprsave", file=str(stage.file()), mode="reboot")
        require(said.endswith(": ram, vga.vram"), f"not ram and vga.vram are named: {said}")
        stage.unharmed("guest.sav")
        require(machine.monitor.alive(), "QEMU ended after cprsave")
        machine.execute("cont")
        machine.wait_status("running")
    ticks = machine.human("info registers")
    until(lambda: machine.human("info registers") != ticks, "the guest does not run")
