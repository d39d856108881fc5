"""The scenarios that the patches promise, on the distribution's 5.2 with the series."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchgen.engine.series import load_default_series
from patchgen.live.runner import Run, run_one
from patchgen.live.scenario import Promised, promised

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800), pytest.mark.xdist_group("live")]


# The long ones are run by hand.
SHORT = [one for one in promised(load_default_series()) if not one.scenario.long]


@pytest.mark.parametrize("one", SHORT, ids=lambda one: one.scenario.name)
def test_scenario(scenario_run: Run, one: Promised, capsys: pytest.CaptureFixture[str]) -> None:
    record = run_one(scenario_run, one, "tcg")
    if record.state == "skipped":
        pytest.skip(record.reason)
    if record.state == "failed":
        assert record.place
        for log in [*sorted(record.place.glob("*.log")), record.place / "failure.txt"]:
            print(f"--- {log}\n{_end(log)}")
    assert record.state == "passed", f"{record.reason}\nlogs: {record.place}\n{record.alone}"


def _end(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-30:])
