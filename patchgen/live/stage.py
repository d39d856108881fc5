"""Where a scenario plays: a directory, the QEMU under test, the machines that it starts."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from patchgen.live.image import counter_guest
from patchgen.live.linux import LinuxGuest
from patchgen.live.machine import Machine
from patchgen.live.qemu import Qemu
from patchgen.live.waiting import Failed, Skipped

SHARED = "memory-backend-file,id=ram,size={mib}M,mem-path={ram},share=on"
"""RAM that outlives the process: a file, mapped shared."""


def no_linux() -> LinuxGuest:
    """Stands for the Linux guest where none is wanted.

    :raise Skipped: always
    """
    raise Skipped("no Linux guest here")


class Stage:
    """What a scenario has at hand; machines are ended with it.

    :ivar qemu: the QEMU with the series
    :ivar place: directory of the scenario: RAM files, disks, logs; the working directory of QEMU
    :ivar seeds: the seed on offer to the guest of each process so far
    :ivar notes: what of the scenario was left out here, and why, one line each
    """

    def __init__(
        self,
        qemu: Qemu,
        place: Path,
        pristine: Callable[[], Qemu],
        linux: Callable[[], LinuxGuest] = no_linux,
    ) -> None:
        self.qemu = qemu
        self.place = place
        self.seeds: list[int] = []
        self._pristine = pristine
        self._linux = linux
        self._machines: list[Machine] = []
        self.notes: list[str] = []
        self._boot_format = "raw"

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc: object) -> None:
        for machine in self._machines:
            machine.close()

    @property
    def pristine(self) -> Qemu:
        """The same QEMU without the series; built when it is first asked for."""
        return self._pristine().under(self.qemu.accel)

    @property
    def linux(self) -> LinuxGuest:
        """Kernel and initramfs of the Linux guest; fetched when it is first asked for.

        :raise Skipped: it cannot be had
        """
        return self._linux()

    @property
    def ram(self) -> Path:
        """The file behind the guest's RAM, with memory :data:`SHARED`."""
        return self.place / "ram"

    def forget_ram(self) -> None:
        """Remove the file with the RAM, before a start that is no continuation.

        The firmware takes what an earlier guest left there for a reset in the middle of it.
        """
        self.ram.unlink(missing_ok=True)

    def file(self, name: str = "guest.sav") -> Path:
        """A path in the stage's directory."""
        return self.place / name

    @contextmanager
    def telling(self, what: str) -> Iterator[None]:
        """Put *what* before the messages of what fails meanwhile."""
        try:
            yield
        except Failed as exc:
            raise Failed(f"{what}: {exc}") from exc

    def leave_out(self, what: str, why: str) -> None:
        """Tell that a part of the scenario is not played here."""
        self.notes.append(f"{what}: {why}")

    def disk(self, name: str, form: str, size: str = "1M") -> str:
        """A new, empty disk image; its name, in the stage's directory.

        :raise Failed: qemu-img does not make it
        """
        self._img("create", "-q", "-f", form, name, size)
        return name

    def image_is_sound(self, name: str) -> None:
        """Require that qemu-img finds no fault in a disk image.

        :raise Failed: it does
        """
        self._img("check", "-q", name)

    def raw_copy(self, name: str, raw: str) -> None:
        """Make a raw copy of a disk image.

        :raise Failed: qemu-img does not make it
        """
        self._img("convert", "-q", "-O", "raw", name, raw)

    def _img(self, *words: str) -> None:
        done = subprocess.run(
            [self.qemu.img, *words], cwd=self.place, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"qemu-img {words[0]}: {done.stderr.strip()}")

    def boot_on_qcow2(self) -> None:
        """From now on the disk with our guest is one that takes snapshots.

        :raise Failed: qemu-img does not make it
        """
        self._img("convert", "-q", "-O", "qcow2", self.boot_disk(), "boot.qcow2")
        self.file("boot.qcow2").replace(self.file("boot.img"))
        self._boot_format = "qcow2"

    def boot_disk(self) -> str:
        """The name of a disk with our guest, in the stage's directory."""
        disk = self.place / "boot.img"
        if not disk.exists():
            shutil.copyfile(counter_guest(), disk)
        return disk.name

    def argv(
        self,
        *more: str,
        qemu: Qemu | None = None,
        machine: str = "pc",
        memory: str | None = SHARED,
        mib: int = 64,
        ram: str = "ram",
        boot: bool = True,
    ) -> list[str]:
        """A command line: no devices but those of the machine, our guest's disk, and *more*.

        :param memory: ``-object`` that makes a backend called ``ram``; ``None`` for plain ``-m``
        :param mib: size of the RAM; ``{mib}`` in *memory* stands for it
        :param ram: file for the RAM; ``{ram}`` in *memory* stands for it
        :param boot: with our guest and its serial port
        """
        qemu = qemu or self.qemu
        words = [str(qemu.binary), "-nodefaults", "-vga", "none", "-display", "none"]
        for directory in qemu.firmware:
            words += ["-L", str(directory)]
        machine = f"{machine},accel={qemu.accel}"
        words += ["-m", f"{mib},slots=4,maxmem={max(1024, 2 * mib)}M"]
        if memory is not None:
            words += ["-object", memory.format(mib=mib, ram=ram)]
            if qemu.memory_property:
                machine += ",memory-backend=ram"
            else:
                words += ["-numa", "node,memdev=ram"]
        words += ["-machine", machine]
        if boot:
            disk = f"format={self._boot_format},file={self.boot_disk()}"
            words += ["-drive", f"if=none,id=boot,{disk}"]
            words += ["-device", "ide-hd,drive=boot"]
            words += ["-chardev", "file,id=console,path=console.log,append=on"]
            words += ["-serial", "chardev:console"]
            words += ["-fw_cfg", "name=opt/org.patchgen/seed,file=seed"]
        return [*words, *more]

    def start(
        self,
        *more: str,
        qemu: Qemu | None = None,
        machine: str = "pc",
        memory: str | None = SHARED,
        mib: int = 64,
        ram: str = "ram",
        boot: bool = True,
    ) -> Machine:
        """Start a machine; see :meth:`argv`. Each process finds another seed for its guest.

        :raise Failed: QEMU ends at once
        """
        words = self.argv(
            *more, qemu=qemu, machine=machine, memory=memory, mib=mib, ram=ram, boot=boot
        )
        return self.spawn(words, qemu=qemu, ram=ram)

    def spawn(self, argv: list[str], qemu: Qemu | None = None, ram: str = "ram") -> Machine:
        """Start a machine by its whole command line, but for its monitors.

        :param ram: file in which its guest is observed
        :raise Failed: QEMU ends at once
        """
        self.offer_seed()
        number = len(self._machines) + 1
        one = Machine(qemu or self.qemu, argv, self.place, number, self.file(ram))
        self._machines.append(one)
        return one

    def offer_seed(self) -> None:
        """From now on a guest that is started finds another seed."""
        self.seeds.append(secrets.randbits(32))
        self.file("seed").write_bytes(self.seeds[-1].to_bytes(4, "little"))

    def unharmed(self, *names: str) -> None:
        """Require that no temporary file of ``cprsave`` is left, nor any file of *names*.

        :raise Failed: there is one
        """
        left = [path.name for path in self.place.rglob(".cprsave-*")]
        left += [name for name in names if os.path.lexists(self.place / name)]
        if left:
            raise Failed(f"files were left behind: {' '.join(left)}")
