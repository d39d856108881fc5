"""The parts of the live harness that need no QEMU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pexpect
import pytest

from patchgen.cli import run
from patchgen.engine.series import load_default_series
from patchgen.live.console import Console
from patchgen.live.image import DISK_SIZE, counter_guest
from patchgen.live.monitor import PROMPT, Monitor
from patchgen.live.observer import STATUS, Observer
from patchgen.live.refusal import check_reasons
from patchgen.live.runner import Run, run_one
from patchgen.live.scenario import Promised, Scenario, all_scenarios, promised
from patchgen.live.stage import Stage
from patchgen.live.stream import Section, description, difference, opening, sections
from patchgen.live.transcript import rendered
from patchgen.live.waiting import Failed, Skipped, until
from patchgen.ui import Ui


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


@pytest.mark.parametrize(
    ("said", "expected", "message"),
    [
        ("b is c; a", ("a", "b"), ""),
        ("a", ("a", "b"), "not refused for 'b', but for: a"),
        ("a; b; c", ("a",), "refused for more than expected: b; c"),
        ("a b", ("a", "b"), "not refused for 'b', but for: a b"),
    ],
)
def test_reasons_of_a_refusal(said: str, expected: tuple[str, ...], message: str) -> None:
    """Each expected part is another reason, and there are no others."""
    if not message:
        check_reasons(said, expected)
        return
    with pytest.raises(Failed) as caught:
        check_reasons(said, expected)
    assert str(caught.value) == message


def test_waiting_ends() -> None:
    with pytest.raises(Failed, match="after 0 s: no moon"):
        until(lambda: None, "no moon", 0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("", "300.0"), ("20", "20.0"), ("0", ""), ("x", ""), ("inf", "")]
)
def test_the_limit_of_waiting(text: str, seconds: str) -> None:
    code = "from patchgen.live.waiting import LIMIT; print(LIMIT)"
    env = {**os.environ, "PATCHGEN_LIMIT": text}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == seconds
    if not seconds:
        assert f"ConfigError: PATCHGEN_LIMIT is '{text}'" in done.stderr


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
        stage.leave_out("device", "not built")
        if error:
            raise error

    one = Promised(Scenario("some-thing", "it is seen", play), ((3, "why"),))
    run = Run(_NoQemu(), tmp_path, False, ("patchgen", "check"), _NoQemu)  # type: ignore[arg-type]
    record = run_one(run, one, "tcg")
    assert (record.state, record.reason, record.patches) == (state, reason, (3,))
    assert record.left_out == (() if state == "skipped" else ("device: not built",))
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


def test_long_scenarios_are_run_by_their_whole_name(capsys: pytest.CaptureFixture[str]) -> None:
    def chosen(*only: str) -> set[str]:
        words = [word for name in only for word in ("--only", name)]
        assert run(["check", "--list", "--json", *words]) == 0
        return {one["name"] for one in json.loads(capsys.readouterr().out)["result"]["scenarios"]}

    long = "restart-fifty-times"
    assert all_scenarios()[long].long
    assert chosen(long) == {long}
    assert long not in chosen("restart-*")
    assert chosen("restart-round-trip-qmp", long) == {"restart-round-trip-qmp", long}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["check", "v5.2.0", "--only", "restart-fifty-*"], "no scenario is called that"),
        (["check"], "TAG is missing"),
        (["check", "v5.2.0", "--only", "no-such-thing"], "no scenario is called that"),
        (["check", "v5.2.0", "--upto", "99"], "no patch 99"),
    ],
)
def test_wrong_use(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv) == 2
    assert message in capsys.readouterr().err


def _stream(version: int, **fields: object) -> bytes:
    """A stream with RAM and one device, as QEMU lays it out."""
    said = json.dumps({"page_size": 4096, "devices": [{"name": "pit", "instance_id": 1, **fields}]})
    number, instance = (7).to_bytes(4, "big"), (1).to_bytes(4, "big")
    ram = b"\x01" + number + b"\x03ram" + bytes(8) + b"blocks" + b"\x7e" + number
    # A page of the guest's looks like the end.
    page = b"\x03pit" + instance + b"\x00\x06" + bytes(4) + b"{}"
    device = b"\x04" + number + b"\x03pit" + instance + version.to_bytes(4, "big") + b"state"
    return b"QEVM" + ram + page + device + b"\0\x06" + len(said).to_bytes(4, "big") + said.encode()


def test_streams_are_read() -> None:
    one = _stream(3, size=5)
    assert description(one)["devices"][0]["size"] == 5
    assert sections(one) == [Section(4, 7, "pit", 1, 3)]
    assert opening(one).endswith(b"blocks")
    for wrong, what in ((one[:-1], "no description"), (b"", "no description")):
        with pytest.raises(Failed, match=what):
            description(wrong)
    with pytest.raises(Failed, match="no section tip 1"):
        sections(_stream(3, name="tip"))
    with pytest.raises(Failed, match="does not begin with RAM"):
        opening(b"QEVM")


def test_descriptions_are_compared() -> None:
    one: dict[str, list[dict[str, object]]] = {"devices": [{"name": "pit", "version": 3}]}
    assert difference(one, one, "pc") == ""
    for other, said in (
        ({"devices": [{"name": "pit", "version": 4}]}, "pc/devices/pit/version: 3 became 4"),
        ({"devices": [{"name": "pit"}]}, "pc/devices/pit: version is gone"),
        ({"devices": []}, 'pc/devices/pit: {"name": "pit", "version": 3} became null'),
        ({"devices": one["devices"], "more": 1}, "pc: more is new"),
    ):
        assert difference(one, other, "pc") == said


def test_work_within_work_shows_one_display(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ui = Ui()
    with ui.progress("outer", 2) as outer:
        with ui.progress("inner", 100) as inner:
            inner.update(50, 100, "half")
            shown = ui._shown
            assert shown
            assert [task.description for task in shown.tasks] == ["outer", "inner half"]
        outer.update(1, 2, "on")
        assert [task.description for task in shown.tasks] == ["outer on"]
    assert ui._shown is None


def test_console(tmp_path: Path) -> None:
    """A shell behind the console's terminal, as in a guest but without QEMU."""
    with closing(Console(tmp_path / "raw")) as console:
        at = f"exec <{console.path} >{console.path} 2>&1; stty sane; kept=1; echo ready"
        shell = pexpect.spawn("sh", ["-c", f"{at}; . /dev/stdin"])
        try:
            console.wait("ready")
            assert console.run("echo $kept; echo two") == "1\ntwo"
            with pytest.raises(Failed, match="'echo no; false' ended with 1: no"):
                console.run("echo no; false")
            console.alive = lambda: False
            console.type("echo last words")
            with pytest.raises(Failed, match=r"not print 'moon': QEMU has ended; .*last words"):
                console.wait("moon")
        finally:
            shell.close(force=True)
    assert b"two" in (tmp_path / "raw").read_bytes()


def test_a_process_that_takes_its_time_to_end_is_waited_for(tmp_path: Path) -> None:
    """On a busy host it is still there when the terminal's library has killed it and looks."""
    script = f"trap '' HUP INT; printf '{PROMPT.decode()}'; while :; do sleep 1; done"
    for _ in range(5):
        monitor = Monitor(["/bin/sh", "-c", script], tmp_path, dict(os.environ), tmp_path / "raw")
        monitor.wait_prompt()
        monitor.process.ptyproc.delayafterclose = 0
        monitor.process.ptyproc.delayafterterminate = 0
        monitor.close()
        assert not monitor.alive()
        monitor.close()
