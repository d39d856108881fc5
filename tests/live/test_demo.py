"""`patchgen demo`: what it shows is what the terminals showed."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["demo", "--source", "distro", "--json"])
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, schema_of("demo"))
    assert code == 0, data
    played = data["result"]["played"]
    lines = [line for line in played["transcript"] if line != "(qemu)"]
    commands = [line for line in lines if line.startswith("# ")]
    assert [line for line in lines if line not in commands] == TOLD
    assert ["-S" in line for line in commands] == [False, True]
    assert b"prelaunch" in Path(played["raw"][1]).read_bytes()
    assert played["before"]["seed"] == played["after"]["seed"] == played["seeds"][0]
    assert played["after"]["counter"] > played["before"]["counter"]
    assert played["pause_ms"] > 0
