"""The parts of the live harness that need no QEMU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchgen.cli import run
from patchgen.engine.series import load_default_series
from patchgen.live.image import DISK_SIZE, counter_guest
from patchgen.live.observer import STATUS, Observer
from patchgen.live.runner import Run, run_one
from patchgen.live.scenario import Promised, Scenario, all_scenarios, promised
from patchgen.live.stage import Stage
from patchgen.live.transcript import rendered
from patchgen.live.waiting import Failed, Skipped, until


def test_every_scenario_is_promised() -> None:
    wanted = {one.scenario.name for one in promised(load_default_series())}
    assert wanted == set(all_scenarios())


def test_our_guest_is_a_boot_disk() -> None:
    counter_guest.cache_clear()
    image = counter_guest().read_bytes()
    counter_guest.cache_clear()
    assert len(image) == DISK_SIZE
    assert image[510:512] == b"\x55\xaa"
    assert b"opt/org.patchgen/seed\0" in image[:4096]
    assert not any(image[4096:])


def test_what_a_terminal_shows() -> None:
    """The line editor moves back to the start of the line for each key."""
    typed = b"(qemu) h\x1b[K\x1b[Dhi\x1b[K\x1b[D\x1b[Dhi!\x1b[K\r\nVM status: running\r\n(qemu) "
    assert rendered(typed) == ["(qemu) hi!", "VM status: running", "(qemu)"]


def test_observer_reads_what_the_guest_writes(tmp_path: Path) -> None:
    ram = tmp_path / "ram"
    ram.write_bytes(bytes(8 << 20))
    with Observer(ram) as guest:
        assert guest.page() is None
        assert guest.wrong_words(1) > 0
        guest.poke(STATUS, int.from_bytes(b"PGGU", "little"))
        guest.poke(STATUS + 4, int.from_bytes(b"EST1", "little"))
        guest.poke(STATUS + 0x10, 7)
        guest.poke(STATUS + 0x14, 1)
        page = guest.page()
        assert page
        assert page.counter == guest.counter() == (1 << 32) + 7
        guest.command(2)
        assert guest.peek(STATUS + 0x28) == 2


def test_waiting_ends() -> None:
    with pytest.raises(Failed, match="after 0 s: no moon"):
        until(lambda: None, "no moon", 0)


class _NoQemu:
    """Stands in for a QEMU where none is started."""

    def under(self, accel: str) -> _NoQemu:
        return self


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (None, "passed", ""),
        (Failed("not seen"), "failed", "not seen"),
        (Skipped("no moon"), "skipped", "no moon"),
        (RuntimeError("two\nlines"), "failed", "RuntimeError: two"),
    ],
)
def test_what_becomes_of_a_scenario(
    tmp_path: Path, error: Exception | None, state: str, reason: str
) -> None:
    def play(stage: Stage) -> None:
        stage.file("trace").write_text("here", encoding="ascii")
        if error:
            raise error

    one = Promised(Scenario("some-thing", "it is seen", play), ((3, "why"),))
    run = Run(_NoQemu(), tmp_path, False, ("patchgen", "check"), _NoQemu)  # type: ignore[arg-type]
    record = run_one(run, one, "tcg")
    assert (record.state, record.reason, record.patches) == (state, reason, (3,))
    if state == "failed":
        assert record.place
        assert (record.place / "trace").is_file()
        assert "Traceback" in (record.place / "failure.txt").read_text(encoding="utf-8")
        assert record.alone == "patchgen check --only some-thing"
    else:
        assert record.place is None
        assert not (tmp_path / "some-thing").exists()


def test_the_list_of_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["result"]["scenarios"]
    assert {one["name"] for one in listed} == set(all_scenarios())
    assert all(one["asked"] for one in listed)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["check"], "TAG is missing"),
        (["check", "v5.2.0", "--only", "no-such-thing"], "no scenario is called that"),
        (["check", "v5.2.0", "--upto", "99"], "no patch 99"),
    ],
)
def test_wrong_use(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv) == 2
    assert message in capsys.readouterr().err
