"""`patchgen pause`: it measures what it says, and the guest goes on. No time is asserted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from patchgen.cli import run
from patchgen.live.figures import PHASES
from patchgen.schema import schema_of

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000), pytest.mark.xdist_group("live")]

ROUNDS = 2


@pytest.mark.parametrize(
    ("memory", "kinds"),
    [
        ("file", ["no update", "stop and cont", "restart"]),
        ("memfd", ["no update", "stop and cont", "restart"]),
        ("private", ["first restart", "no update", "stop and cont", "later restarts"]),
    ],
)
def test_pause(
    memory: str, kinds: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--memory", memory, "--mib", "64", "--rounds", str(ROUNDS), "--out", str(tmp_path)]
    code = run(["pause", "--source", "distro", "--json", *words])
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, schema_of("pause"))
    assert code == 0, data
    result = data["result"]
    assert [one["name"] for one in result["measured"]] == kinds
    for one in result["measured"]:
        pause = one["pause"]
        assert pause["n"] == ROUNDS
        assert 0 < pause["min"] <= pause["p50"] <= pause["p95"] <= pause["max"]
        phases = [phase["name"] for phase in one["phases"]]
        assert phases == (list(PHASES) if "restart" in one["name"] else [])
    with (tmp_path / "pause.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["what"] for row in rows] == [kind for kind in kinds for _ in range(ROUNDS)]
    drawn = ElementTree.parse(tmp_path / "pause.svg")
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == len(rows)
