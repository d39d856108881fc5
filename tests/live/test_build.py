"""The distribution's 5.2 with the series: built, each commit by itself, and as its record says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from patchgen.cli import run
from patchgen.engine.series import load_default_series
from patchgen.schema import schema_of

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000), pytest.mark.xdist_group("live")]


def build(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    """The result of ``patchgen build`` on the distribution's 5.2."""
    code = run(["build", "v5.2.0", "--source", "distro", "--json", *more])
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, schema_of("build"))
    assert code == 0, data["error"]
    result: dict[str, Any] = data["result"]
    return result


def test_the_build_is_kept_and_tells_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    first = build(capsys)
    binary = Path(first["binary"])
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    assert "version 5.2.0" in told
    kept = json.loads((Path(first["log"]).parent / "metadata.json").read_text(encoding="utf-8"))
    # The commit's id depends on who built first; its tree does not.
    assert kept["commit"]
    for name in ("tag", "tree", "flags", "compiler", "seconds"):
        assert kept[name] == first[name], name
    assert first["patches"] == len(load_default_series().entries)
    assert build(capsys)["state"] == "unchanged"


def test_every_commit_compiles(capsys: pytest.CaptureFixture[str]) -> None:
    commits = build(capsys, "--each")["commits"]
    assert [c["number"] for c in commits] == [e.number for e in load_default_series().entries]
    # What a commit touches and this build has no object for is of another host or test program.
    unbuilt = {path for c in commits for path in c["unbuilt"]}
    assert unbuilt <= {"util/oslib-win32.c"}
    again = build(capsys, "--each")["commits"]
    assert {c["state"] for c in again} == {"cached"}
