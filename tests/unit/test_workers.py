"""Worker processes: an interrupted or killed patchgen leaves none of them, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakeqemu import ERAS, fake_tree
from tests.minirepo import git, make_repo

TOP = Path(__file__).parents[2]
LIMIT = 120.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def members(session: int) -> dict[int, str]:
    """The living processes of a session: id -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, _, its = (entry / "stat").read_text("utf-8").rpartition(")")[2].split()[:4]
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if int(its) == session and state != "Z":
            found[int(entry.name)] = words.replace("\0", " ")
    return found


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """So many different trees that the work goes on for a while."""
    path = make_repo(tmp_path / "qemu", fake_tree(ERAS["meson"]), "v5.2.0")
    stream = []
    for number in range(1, 150):
        text = f"tree {number}\n"
        stream.append(
            f"commit refs/heads/many\nmark :{number}\n"
            f"committer Test <test@example.org> 1607442920 +0000\ndata 1\nm\n"
            f"from {'refs/heads/master^0' if number == 1 else f':{number - 1}'}\n"
            f"M 100644 inline README\ndata {len(text)}\n{text}\n"
            f"reset refs/tags/v5.2.{number}\nfrom :{number}\n"
        )
    subprocess.run(
        ["git", "fast-import", "--quiet"], cwd=path, input="".join(stream).encode(), check=True
    )
    return path


@pytest.fixture
def running(repo: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A matrix at work in a session of its own, with both workers and their git."""
    argv = [sys.executable, "-m", "patchgen", "matrix", "v*", "--repo", str(repo), "--jobs", "2"]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            argv,
            cwd=TOP,
            stdout=said,
            stderr=said,
            start_new_session=True,
            # A shell that started the tests in the background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    def at_work() -> bool:
        assert process.poll() is None, (tmp_path / "said").read_text("utf-8")
        words = members(process.pid).values()
        return (
            sum("cat-file" in x for x in words) == 2 and sum("-m patchgen" in x for x in words) == 3
        )

    try:
        until(at_work, "the workers did not start")
        yield process
    finally:
        if members(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def kept(repo: Path) -> tuple[str, str, str]:
    """What a repository holds."""
    packs = "\n".join(sorted(p.name for p in (repo / ".git").rglob("*") if "tmp" in p.name))
    return git(repo, "count-objects", "-v"), git(repo, "for-each-ref"), packs


def test_ctrl_c_ends_the_workers(
    repo: Path, running: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    before = kept(repo)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(LIMIT) == 130
    until(lambda: not members(running.pid), "processes are left")
    said = (tmp_path / "said").read_text("utf-8")
    assert "patchgen: interrupted" in said
    assert "Traceback" not in said
    assert kept(repo) == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_without_their_parent_the_workers_end(
    how: signal.Signals, repo: Path, running: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    before = kept(repo)
    running.send_signal(how)
    running.wait(LIMIT)
    until(lambda: not members(running.pid), "processes are left")
    assert "Traceback" not in (tmp_path / "said").read_text("utf-8")
    assert kept(repo) == before
