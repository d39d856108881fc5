"""matrix and verify on the distribution's sources: what fits, what drifts, what is pinned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchgen.cli import run
from patchgen.source.tags import known_tags
from tests.trees.test_series import base

pytestmark = [pytest.mark.trees, pytest.mark.timeout(900), pytest.mark.xdist_group("trees")]


def served(start: str) -> str:
    """The newest release of a branch that the mirror serves; skips if there is none."""
    tags = [tag for tag in known_tags() if tag.startswith(start)]
    for tag in reversed(tags):
        try:
            return base(tag).tag
        except pytest.skip.Exception:
            continue
    pytest.skip(f"the mirror serves no {start}x now")


def matrix(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = run(["matrix", *words, "--source", "distro", "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    result: dict[str, Any] = json.loads(said.out)["result"]
    return code, result


def test_matrix_over_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    tags = [served(start) for start in ("v5.2.", "v7.2.", "v10.0.")]
    capsys.readouterr()
    code, result = matrix(capsys, *tags)
    assert [tag["tag"] for tag in result["tags"]] == tags
    count = len(result["patches"])
    assert len(result["cells"]) == len(tags) * count
    states = {(cell["tag"], cell["patch"]): cell["state"] for cell in result["cells"]}
    # What the series covers applies and is pinned; whatever else there is, is never an error.
    assert {states[tags[0], n] for n in range(1, count + 1)} == {"applied"}
    assert result["tags"][0]["pin"] == "equal"
    assert set(states.values()) <= {"applied", "adapted", "already-there", "drifted"}
    assert code == (3 if "drifted" in states.values() else 0)
    for cell in result["cells"]:
        assert bool(cell["drifts"]) is (cell["state"] == "drifted")
        assert all(d["code"].startswith("PG35") and d["reason"] for d in cell["drifts"])
        assert all(n < cell["patch"] for d in cell["drifts"] for n in d["needs"])
    assert matrix(capsys, *tags, "--jobs", "1") == (code, result)


def test_verify_finds_the_trees_as_pinned(capsys: pytest.CaptureFixture[str]) -> None:
    base("v5.2.0")
    assert run(["verify", "v5.2.0", "--source", "distro", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert (result["state"], result["by"], result["first"]) == ("ok", "trees", "")
    assert all(patch["tree"] == patch["pinned"] for patch in result["patches"])
