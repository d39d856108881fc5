"""`patchgen demo`: what it shows is what the terminals showed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from patchgen.cli import run
from patchgen.schema import schema_of

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000), pytest.mark.xdist_group("live")]

TOLD = [
    "QEMU 5.2.0 monitor - type 'help' for more information",
    "(qemu) info status",
    "VM status: running",
    "(qemu) cprsave guest.sav reboot",
    "QEMU 5.2.0 monitor - type 'help' for more information",
    "(qemu) info status",
    "VM status: paused (prelaunch)",
    "(qemu) cprload guest.sav",
    "(qemu) info status",
    "VM status: running",
]
LETTER = [
    ("# qemu-system-x86_64 ...", ""),
    ("QEMU 5.2.0 monitor - type 'help' for more information", ""),
    ("(qemu) info status", ""),
    ("VM status: running", ""),
    ("", "# install update/qemu-system-x86_64 bin/"),
    ("(qemu) cprsave FILE restart", ""),
    ("QEMU 5.2.1 monitor - type 'help' for more information", ""),
    ("(qemu) info status", ""),
    ("VM status: paused (prelaunch)", ""),
    ("(qemu) cprload FILE", ""),
    ("(qemu) info status", ""),
    ("VM status: running", ""),
]


def played(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    code = run(["demo", "--source", "distro", "--json", *more])
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, schema_of("demo"))
    assert code == 0, data
    result: dict[str, Any] = data["result"]
    one = result["played"]
    assert one["before"]["seed"] == one["after"]["seed"] == one["seeds"][0] != one["seeds"][1]
    assert one["after"]["counter"] > one["before"]["counter"]
    assert one["after"]["errors"] == 0
    assert one["pause_ms"] > 0
    return result


def test_update_under_a_guest(capsys: pytest.CaptureFixture[str]) -> None:
    """The cover letter's first example, line by line; the new QEMU is another binary."""
    result = played(capsys)
    assert result["mode"] == "restart"
    assert result["qemu"] == "5.2.0"
    assert result["update"]["qemu"] == "5.2.1"
    assert "VERSION" in result["update"]["how"]
    one = result["played"]
    rows = [tuple(cell.strip() for cell in row.split("|")) for row in one["transcript"]]
    assert rows[:2] == [("window 1", "window 2"), ("", "")]
    file = rows[7][0].split()[2]
    assert file.endswith("/qemu.sav")
    assert not Path(file).exists()
    # The old QEMU may have shown its prompt once more before it became the new one.
    shown = [
        (left.replace(file, "FILE").replace("(qemu) QEMU", "QEMU"), right)
        for left, right in rows[2:]
    ]
    assert shown == LETTER
    first, second = (Path(path).read_bytes() for path in one["raw"])
    assert b"prelaunch" in first
    assert b"install update/" in second
    (command,) = one["commands"]
    assert not {"-object", "-S", "-incoming"} & set(command)


def test_reboot(capsys: pytest.CaptureFixture[str]) -> None:
    result = played(capsys, "--reboot")
    assert result["mode"] == "reboot"
    assert result["update"] is None
    one = result["played"]
    lines = [line for line in one["transcript"] if line != "(qemu)"]
    commands = [line for line in lines if line.startswith("# ")]
    assert [line for line in lines if line not in commands] == TOLD
    assert ["-S" in line for line in commands] == [False, True]
    assert b"prelaunch" in Path(one["raw"][1]).read_bytes()
