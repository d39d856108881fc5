"""The directory in which mutants are built: only changes are written, and a kill does no harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patchgen.build.record import Workdir
from patchgen.config import Config
from patchgen.engine.series import Series, load_series
from patchgen.live.record import ScenarioRecord
from patchgen.live.runner import Run
from patchgen.live.scenario import Promised
from patchgen.source.resolve import Base
from tests.mutants import bench as module
from tests.mutants.bench import Bench, NotBuilt
from tests.mutants.mutant import Mutant, TextEdit, Told
from tests.unit.build_helpers import QuietUi, Work, meson_tree, seal

_FACTS = ""
_ABOUT = 'title = "T"\ntotal = 1\n\n[authors]\n"A" = "a@example.org"\n'


def _series(place: Path, text: str) -> Series:
    """A series of one patch that puts *text* into vl.c, and makes new.c."""
    folder = place / "series"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "facts.toml").write_text(_FACTS, encoding="utf-8")
    (folder / "series.toml").write_text(_ABOUT, encoding="utf-8")
    (folder / "01-one.toml").write_text(
        'subject = "one"\nseries_author = "A"\nmessage = "m"\n'
        '[[edit]]\nwhy = "w"\nfile = "vl.c"\nat = { declaration = "main" }\n'
        f'insert = {{ after = "{text}" }}\n'
        '[[edit]]\nwhy = "w"\nfile = "new.c"\ncreate = "int fresh;"\n',
        encoding="utf-8",
    )
    return load_series(folder, place / "templates")


class _Tried(Bench):
    """A bench whose steps are called one by one."""

    def __init__(self, tmp_path: Path) -> None:
        work = Work(tmp_path / "qemu")
        commit = work.commit(meson_tree())
        tree = work.repo.tree_id(commit) or ""
        base = Base(work.repo, "v5.2.0", commit, tree, 0, "5.2.0", "repo", str(work.path))
        super().__init__(base, Config(), 2, QuietUi())
        self.place = tmp_path

    def build(self, text: str) -> Workdir:
        self._build(_series(self.place / "data", text))
        return self.work

    def times(self) -> dict[str, int]:
        return {
            path.name: path.stat().st_mtime_ns
            for path in (*self.work.build.glob("lib.p/*"), *self.work.source.glob("*.c"))
        }


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Tried:
    seal(tmp_path, monkeypatch)
    return _Tried(tmp_path)


def _changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_only_what_changes_is_written_and_compiled(tried: _Tried) -> None:
    work = tried.build("int one;")
    assert (work.source / "vl.c").read_text(encoding="utf-8").count("int one;") == 1
    assert work.binary.is_file()
    before = tried.times()
    tried.build("int one;")
    assert _changed(before, tried.times()) == set()
    tried.build("int two;")
    assert _changed(before, tried.times()) == {"vl.c", "vl.c.o"}
    assert "int two;" in (work.build / "lib.p/vl.c.o").read_text(encoding="utf-8")


def test_what_does_not_compile_is_forgotten(tried: _Tried) -> None:
    tried.build("int one;")
    with pytest.raises(NotBuilt, match=r"vl.c:3:5: error: broken"):
        tried.build("int BROKEN;")
    assert tried.build("int one;").binary.is_file()


SCENARIO = "reboot-round-trip-qmp"


def _mutant(reason: str = "lost") -> Mutant:
    edit = TextEdit("series/series.toml", "a", "b")
    return Mutant("a-bug", Told("a bug", "03", 3, (SCENARIO,), reason, (edit,)))


@pytest.mark.parametrize(
    ("state", "reason", "verdict"),
    [
        ("failed", "the guest is lost", "killed"),
        ("failed", "the host is on fire", "survived"),
        ("passed", "", "survived"),
        ("skipped", "the guest is lost, or no KVM", "survived"),
    ],
)
def test_what_becomes_of_a_mutant(
    tried: _Tried, monkeypatch: pytest.MonkeyPatch, state: str, reason: str, verdict: str
) -> None:
    def applied(self: Mutant, place: Path) -> Series:
        return _series(tried.place / "data", "int mutant;")

    def played(run: Run, one: Promised, accel: str) -> ScenarioRecord:
        assert "int mutant;" in (tried.work.build / "lib.p/vl.c.o").read_text(encoding="utf-8")
        (run.place / SCENARIO).mkdir(parents=True)
        return ScenarioRecord(one.scenario.name, "", (), accel, state, reason, 0.0, None, "")

    monkeypatch.setattr(Mutant, "applied", applied)
    monkeypatch.setattr(module, "run_one", played)
    found = tried.judge(_mutant())
    assert found.state == verdict
    assert found.said == {SCENARIO: reason if state == "failed" else state}


_SAID = "test_values: assertion failed (1 == 2)"


@pytest.mark.parametrize(
    ("script", "verdict", "said"),
    [
        (f"echo 'ERROR:../src/tests/test-a.c:25:{_SAID}'; kill -ABRT $$", "killed", _SAID),
        ("exit 77", "survived", "exit code 77"),
        ("echo 'ok 1 /a'", "survived", "passed"),
    ],
)
def test_what_a_unit_test_of_qemu_says_of_a_mutant(
    tried: _Tried, monkeypatch: pytest.MonkeyPatch, script: str, verdict: str, said: str
) -> None:
    def applied(self: Mutant, place: Path) -> Series:
        return _series(tried.place / "data", "int mutant;")

    def made(self: Bench, path: Path, *targets: str) -> None:
        if targets != ("tests/test-a",):
            make(self, path, *targets)
            return
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    make = Bench._make
    monkeypatch.setattr(Mutant, "applied", applied)
    monkeypatch.setattr(Bench, "_make", made)
    edit = TextEdit("series/series.toml", "a", "b")
    told = Told("a bug", "17", 17, (), "assertion failed", (edit,), ("test-a",))
    mutant = Mutant("a-bug", told)
    found = tried.judge(mutant)
    assert (found.state, found.said) == (verdict, {"test-a": said})
    tried._clean = _series(tried.place / "data", "int one;")
    failed = {} if said == "passed" else {"test-a": f"failed: {said}"}
    assert tried.control([mutant]).said == failed


@pytest.mark.parametrize(("kvm", "verdict"), [(True, "not tried"), (False, "survived")])
def test_where_kvm_does_not_work(
    tried: _Tried, monkeypatch: pytest.MonkeyPatch, kvm: bool, verdict: str
) -> None:
    def applied(self: Mutant, place: Path) -> Series:
        return _series(tried.place / "data", "int mutant;")

    def played(run: Run, one: Promised, accel: str) -> ScenarioRecord:
        (run.place / SCENARIO).mkdir(parents=True, exist_ok=True)
        return ScenarioRecord(SCENARIO, "", (), accel, "skipped", "no KVM", 0.0, None, "")

    monkeypatch.setattr(Mutant, "applied", applied)
    monkeypatch.setattr(module, "run_one", played)
    edit = TextEdit("series/series.toml", "a", "b")
    mutant = Mutant("a-bug", Told("a bug", "10", 10, (SCENARIO,), "clock", (edit,), kvm=kvm))
    assert tried.judge(mutant).state == verdict
    tried._clean = _series(tried.place / "data", "int one;")
    passed = tried.control([mutant])
    assert (passed.state, passed.said) == (
        ("passed", {}) if kvm else ("failed", {SCENARIO: "skipped: no KVM"})
    )


def test_a_mutant_that_does_not_build_is_not_one_that_is_noticed(
    tried: _Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    def applied(self: Mutant, place: Path) -> Series:
        return _series(tried.place / "data", "int BROKEN;")

    monkeypatch.setattr(Mutant, "applied", applied)
    found = tried.judge(_mutant())
    assert (found.state, found.said) == (
        "does not build",
        {"a-bug": "../src/vl.c:3:5: error: broken"},
    )


def test_nor_is_one_that_does_not_apply(tried: _Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tried.judge(_mutant())
    assert found.state == "does not apply"
    assert "times, not once" in found.said["a-bug"]

    def applied(self: Mutant, place: Path) -> Series:
        _series(tried.place / "data", "int one;")
        (tried.place / "data/series/01-one.toml").write_text(
            'subject = "one"\nseries_author = "A"\nmessage = "m"\n'
            '[[edit]]\nwhy = "w"\nfile = "vl.c"\nat = { declaration = "none" }\nremove = true\n',
            encoding="utf-8",
        )
        return load_series(tried.place / "data/series", tried.place / "templates")

    monkeypatch.setattr(Mutant, "applied", applied)
    found = tried.judge(_mutant())
    assert found.state == "does not apply"
    assert "patch 1 drifts" in found.said["a-bug"]


def test_the_control_is_built_again_from_nothing_if_it_fails(tried: _Tried) -> None:
    tried._clean = _series(tried.place / "data", "int one;")
    assert tried.control([]).state == "passed"
    (tried.work.build / "build.ninja").write_text("garbage\n", encoding="utf-8")
    assert tried.control([]).state == "passed"
    tried._clean = _series(tried.place / "data", "int BROKEN;")
    with pytest.raises(NotBuilt, match="broken"):
        tried.control([])


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("files", range(2))
def test_a_kill_while_files_are_written(
    tried: _Tried, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    work = tried.build("int one;")
    put, done = Bench._put, []

    def killed(self: Bench, path: str, content: bytes | None) -> None:
        if len(done) == files:
            raise _Killed
        done.append(path)
        put(self, path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Bench, "_put", killed)
        with pytest.raises(_Killed):
            tried.build("int two;")
    # A base without the series: what was laid goes, though nobody finished laying it.
    tried._lay({})
    assert (work.source / "vl.c").read_text(encoding="utf-8") == meson_tree()["vl.c"]
    assert not (work.source / "new.c").exists()
    tried.build("int one;")
    assert "int one;" in (work.build / "lib.p/vl.c.o").read_text(encoding="utf-8")


def test_a_kill_between_writing_and_remembering(
    tried: _Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tried.build("int one;")
    tried._lay({})
    write, calls = module.write_json, []

    def killed(path: Path, value: object) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise _Killed
        write(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_json", killed)
        with pytest.raises(_Killed):
            tried.build("int two;")
    tried._lay({})
    assert (work.source / "vl.c").read_text(encoding="utf-8") == meson_tree()["vl.c"]
    assert not (work.source / "new.c").exists()


def test_a_kill_during_export_or_configure(tried: _Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise _Killed

    for name in ("export_source", "configure"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(_Killed):
                tried.build("int one;")
    assert tried.build("int one;").binary.is_file()


def test_modes_of_files_stay(tried: _Tried) -> None:
    work = tried.build("int one;")
    (work.source / "vl.c").chmod(0o755)
    tried.build("int two;")
    assert os.access(work.source / "vl.c", os.X_OK)
