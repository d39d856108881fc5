"""Restart mode: command lines that were written without a thought of it."""

from __future__ import annotations

import os
from pathlib import Path

from patchgen.live.machine import Machine
from patchgen.live.restart import restart, started
from patchgen.live.scenario import scenario
from patchgen.live.scenarios.restart_ram import host_address
from patchgen.live.scenarios.round_trips import rich
from patchgen.live.stage import Stage
from patchgen.live.waiting import require, until

ROM_SIZE = 2048
"""Bytes of an option ROM of ours."""


def _option_rom(stage: Stage, name: str) -> None:
    """A ROM that the firmware finds and that does nothing: a header, a far return, a checksum."""
    rom = bytearray(os.urandom(ROM_SIZE))
    rom[:4] = b"\x55\xaa" + bytes([ROM_SIZE // 512]) + b"\xcb"
    rom[0x18:0x1C] = bytes(4)
    rom[-1] = -sum(rom[:-1]) & 0xFF
    stage.file(name).write_bytes(rom)


@scenario(
    "restart-default-machine",
    "default display adapter, network card and floppy drive, another card of the same model",
)
def default_machine(stage: Stage) -> None:
    # Its firmware is not everywhere.
    _option_rom(stage, "efi-e1000.rom")
    argv = stage.argv(memory=None)
    for option in ("-nodefaults", "-vga"):
        argv.remove(option)
    argv.remove("none")
    argv[1:1] = ["-L", "."]
    words = ["-net", "nic", "-net", "user"] if _has(stage, "user") else ["-net", "nic"]
    machine = stage.spawn([*argv, *words, "-device", "e1000", "-device", "e1000,romfile="])
    machine.watch_process()
    machine.wait_counting()
    before = _devices(machine)
    for wanted in ("e1000", "VGA", "floppy"):
        require(wanted in before, f"there is no {wanted}")
    for _ in range(3):
        since = restart(machine)
        require(_devices(machine) == before, "the devices are others")
    machine.goes_on(since)


def _has(stage: Stage, netdev: str) -> bool:
    return netdev in stage.qemu.help("-netdev", "help").split()


def _devices(machine: Machine) -> str:
    """All devices with their properties, but for addresses of this process."""
    # Its terminal keeps no more than 400 lines.
    return str(machine.execute("human-monitor-command", command_line="info qtree"))


@scenario(
    "restart-rich-machine",
    "two CPUs, qcow2 with an iothread, USB, network and virtio devices: 3 restarts in a row",
    kvm=True,
)
def rich_machine(stage: Stage) -> None:
    stage.disk("fast", "qcow2", "64M")
    words = rich(stage)
    words += ["-object", "iothread,id=own", "-drive", "if=none,id=fast,format=qcow2,file=fast"]
    words += ["-device", "virtio-blk-pci,drive=fast,iothread=own"]
    machine = started(stage, *words)
    machine.wait_counting()
    before = machine.human("info pci"), _devices(machine)
    for _ in range(3):
        since = restart(machine)
        now = machine.human("info pci"), _devices(machine)
        require(now == before, "the devices are others, or elsewhere")
    machine.goes_on(since)
    require(len(machine.human("info cpus").splitlines()) == 2, "there are not 2 CPUs")
    machine.quit()
    stage.image_is_sound("fast")


FLASH, VARIABLES = 1 << 18, 1 << 17
LOADED = 0x2000000
"""Where the image for ``-device loader`` goes in the guest's RAM."""
FOUND = {"flash": (2**32 - FLASH, FLASH), "the image": (LOADED, 5000)}
"""What a guest finds when it starts: (address, bytes)."""
SHADOW = 0xC0000, 0x20000
"""Where the firmware copies option ROMs to; below what it keeps there for itself."""


@scenario(
    "restart-then-reset",
    "flash keeps what is in it; a guest that resets itself finds its ROMs as in a fresh start",
)
def then_reset(stage: Stage) -> None:
    words = _images(stage)
    fresh = stage.start("-S", *words, memory=None)
    wanted = {name: _dump(stage, fresh, *where) for name, where in FOUND.items()}
    fresh.quit()

    machine = started(stage, *words)
    machine.wait_counting()
    shadow = _dump(stage, machine, *SHADOW)
    require(stage.file("rom").read_bytes() in shadow, "the firmware has not found the option ROM")
    machine.guest.write(LOADED, b"mine" * 4)
    _write_flash(machine, b"kept")
    since = restart(machine)
    require(machine.guest.read(LOADED, 16) == b"mine" * 4, "an image was loaded over the RAM")
    require(_flash(machine) == b"kept", "the flash has lost what was in it")
    restart(machine)
    require(machine.guest.read(LOADED, 16) == b"mine" * 4, "an image was loaded over the RAM")
    machine.execute("stop")
    machine.execute("system_reset")
    machine.wait_status("prelaunch")
    for name, where in FOUND.items():
        _same(name, wanted[name], _dump(stage, machine, *where))
    machine.execute("cont")
    until(lambda: machine.page().starts == since.starts + 1, "the guest does not start anew")
    page = machine.wait_counting()
    _same("copies of option ROMs", shadow, _dump(stage, machine, *SHADOW))
    require(_flash(machine) == b"kept", "the flash has lost what was in it")
    machine.goes_on(page)
    # And once more, the whole of it.
    machine.goes_on(restart(machine))


def _images(stage: Stage) -> list[str]:
    """Firmware in flash, flash for variables, an image in RAM, an option ROM."""
    bios = next(
        path
        for directory in (*stage.qemu.firmware, stage.qemu.source / "pc-bios")
        if (path := directory / "bios-256k.bin").is_file()
    )
    stage.file("flash").write_bytes(bios.read_bytes())
    stage.file("variables").write_bytes(os.urandom(VARIABLES))
    stage.file("image").write_bytes(os.urandom(5000))
    _option_rom(stage, "rom")
    words = ["-drive", "if=pflash,format=raw,file=flash,readonly=on"]
    words += ["-drive", "if=pflash,format=raw,file=variables"]
    words += ["-device", f"loader,file=image,addr={LOADED:#x},force-raw=on"]
    return [*words, "-device", "VGA", "-option-rom", "rom"]


def _dump(stage: Stage, machine: Machine, address: int, size: int) -> bytes:
    """What the guest has at *address*, ROM or RAM."""
    machine.execute("pmemsave", val=address, size=size, filename="dump")
    return stage.file("dump").read_bytes()


def _same(name: str, first: bytes, now: bytes) -> None:
    wrong = sum(one != other for one, other in zip(first, now, strict=True))
    require(not wrong, f"{name}: {wrong} bytes differ from those of a fresh start")


def _flash_place(machine: Machine) -> int:
    return host_address(machine, 2**32 - FLASH - VARIABLES)


def _write_flash(machine: Machine, data: bytes) -> None:
    with Path(f"/proc/{machine.pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(_flash_place(machine))
        memory.write(data)


def _flash(machine: Machine) -> bytes:
    with Path(f"/proc/{machine.pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(_flash_place(machine))
        return memory.read(4)
