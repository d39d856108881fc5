"""SIGKILL at twenty random points of apply, fetch and build: the next run recovers.

Half of the points are by an event that Python reports (a file opened or renamed, a process
started), so that each effect has its turn; the others are by time, for what happens in git and in
the compiler. ``PATCHGEN_FAULT_SEED`` repeats a run whose seed was printed.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest

from patchgen.cli import run
from patchgen.config import Config
from patchgen.source.resolve import resolve
from patchgen.ui import Ui
from tests.minirepo import git
from tests.unit import build_helpers
from tests.unit.fault_help import (
    BUILD_TAG,
    TAG,
    Marked,
    build_repo,
    dice,
    fake_repo,
    fsck,
    refs,
)

POINTS = 20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Marked:
    return Marked(monkeypatch)


def _forked(work: Callable[[], object], event: int = 0, delay: float = 0.0) -> tuple[int, int]:
    """Do *work* in a copy of this process, killed at an event or after a time if one is given.

    :return: wait status, and how many events there were
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _child(work, event, delay, write)
        finally:
            os._exit(70)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        events = int(pipe.read() or b"0")
    _, status = os.waitpid(pid, 0)
    return status, events


def _child(work: Callable[[], object], event: int, delay: float, write: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    # Nobody but the pipe's reader may wait for what a killed process left running.
    os.set_inheritable(write, False)
    count = itertools.count(1)
    last = 0

    def hook(name: str, _: object) -> None:
        nonlocal last
        if name.startswith(("open", "os.", "shutil.", "subprocess.", "tempfile.", "fcntl.")):
            last = next(count)
            if last == event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    if delay:
        timer = Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    code = work()
    os.write(write, str(last).encode())
    os._exit(0 if not code else 1)


def _kills(work: Callable[[], object], undo: Callable[[], None], what: str) -> Iterator[str]:
    """Kill *work* at random points; *undo* makes it start from the beginning again."""
    work()  # what a first run imports is no part of the others
    undo()
    begin = time.monotonic()
    status, events = _forked(work)
    length = time.monotonic() - begin
    assert status == 0 and events > 20
    points: random.Random = dice(what)
    killed = 0
    for index in range(POINTS):
        undo()
        if index % 2:
            point = points.randint(1, events)
            status, _ = _forked(work, event=point)
            name = f"event {point} of {events}"
        else:
            point_time = points.uniform(0.0, length)
            status, _ = _forked(work, delay=max(point_time, 0.001))
            name = f"{point_time:.3f} s of {length:.3f} s"
        # A process that is faster than last time ends before the point.
        assert status in (signal.SIGKILL, 0), name
        killed += status != 0
        yield name if status else f"finished before {name}"
    assert killed > POINTS / 2


def test_apply(
    tmp_path: Path,
    marked: Marked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repo = fake_repo(tmp_path / "qemu")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    # What is killed is a process, not the machine.
    monkeypatch.setattr("patchgen.git.scratch.os.fsync", lambda _: None)
    argv = ["apply", TAG, "--repo", str(repo), "--upto", "3"]
    assert run(argv) == 0
    whole = refs(repo)
    branch = f"refs/heads/cpr/{TAG}"

    def undo() -> None:
        git(repo, "update-ref", "-d", branch)
        for pack in (repo / ".git/objects/pack").iterdir():
            pack.unlink()

    for point in _kills(lambda: run(argv), undo, "apply"):
        marked.gone()
        fsck(repo)
        assert refs(repo) in (whole, {k: v for k, v in whole.items() if k != branch}), point
        for left in (*scratch.iterdir(), *(repo / ".git/objects/pack").glob("tmp_*")):
            os.utime(left, (0, 0))
        assert run(argv) == 0, point
        assert refs(repo) == whole, point
        assert not list(scratch.iterdir()), point
        assert not [x for x in (repo / ".git").rglob("*") if "tmp_" in x.name], point
        assert not list((repo / ".git").rglob("*.lock")), point
        capsys.readouterr()


def test_fetch(tmp_path: Path, marked: Marked) -> None:
    repo = fake_repo(tmp_path / "upstream")
    cache = Path(os.environ["PATCHGEN_CACHE"])
    there = cache / "qemu.git"

    def fetch() -> None:
        found = resolve(TAG, repo=f"file://{repo}", source=None, config=Config(), ui=Ui(quiet=True))
        assert found.commit == wanted

    wanted = git(repo, "rev-parse", TAG)
    count = itertools.count()

    def undo() -> None:
        if there.exists():
            there.rename(tmp_path / f"old{next(count)}")

    for point in _kills(fetch, undo, "fetch"):
        marked.gone()
        if there.exists():
            fsck(there)
        fetch()
        fsck(there)
        left = [x.name for x in cache.iterdir() if x.name not in ("qemu.git", "qemu.lock")]
        assert left == [], point
        assert not [x for x in there.rglob("*") if "tmp_" in x.name], point
        assert not list(there.rglob("*.lock")), point
        assert list(refs(there).values()) == [wanted], point


def test_build(
    tmp_path: Path,
    marked: Marked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stubs = build_helpers.seal(tmp_path, monkeypatch)
    for name, script in (("ccache", 'exec "$@"'), ("python", "echo 3.11")):
        (stubs / name).write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
        (stubs / name).chmod(0o755)
    monkeypatch.setenv("PATCHGEN_PYTHON", str(stubs / "python"))
    repo = build_repo(tmp_path / "qemu", "sleep 0.02; cp ../src/vl.c $@")
    builds = tmp_path / "cache" / "build"
    argv = ["build", BUILD_TAG, "--repo", str(repo), "--pristine", "-q"]
    count = itertools.count()

    def undo() -> None:
        if builds.exists():
            builds.rename(tmp_path / f"old{next(count)}")

    for point in _kills(lambda: run(argv), undo, "build"):
        # The compiler ends with patchgen, or it would disturb the next run.
        marked.gone()
        assert run(argv) == 0, (point, capsys.readouterr().err)
        (home,) = builds.iterdir()
        names = {path.name for path in home.iterdir()}
        assert names >= {"src", "build", "build.log", "metadata.json"}, point
        binary = home / "build/x86_64-softmmu/qemu-system-x86_64"
        assert binary.read_bytes() == (repo / "vl.c").read_bytes(), point
    fsck(repo)
