"""What the tests of faults have in common: patchgen as a process, namespaces, marked processes.

Which fault is tested where is told by a table in docs/development.md.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.fakeqemu import ERAS, fake_tree
from tests.minirepo import git, make_repo
from tests.unit.build_helpers import make_tree

TOP = Path(__file__).parents[2]
ERA = ERAS["meson"]
TAG = ERA.tag
BUILD_TAG = ERAS["make-texinfo"].tag
LIMIT = 120.0
"""Seconds until something that must happen counts as not happening; no measure of speed."""
_MARK = "PATCHGEN_TEST_MARK"


def fake_repo(path: Path) -> Path:
    """A repository that the whole series fits."""
    return make_repo(path, fake_tree(ERA), TAG)


def build_repo(path: Path, compiler: str = "cp ../src/vl.c $@") -> Path:
    """A repository that the whole series fits and that can be "built" in milliseconds.

    :param compiler: the shell line that makes ``$@``, the emulator
    """
    era = ERAS["make-texinfo"]
    files = {name: text.encode() for name, text in make_tree().items() if name != "vl.c"}
    files["configure"] = files["configure"].replace(b"cp ../src/vl.c $@", compiler.encode())
    make_repo(path, {**fake_tree(era), **files}, era.tag)
    (path / "configure").chmod(0o755)
    git(path, "commit", "-q", "-a", "--amend", "--no-edit")
    git(path, "tag", "-f", era.tag)
    return path


def patchgen(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run patchgen as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "patchgen", *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )


def environment(**more: str) -> dict[str, str]:
    """This process's environment, in which the package under test is found from anywhere."""
    return {**os.environ, "PYTHONPATH": str(TOP), **more}


def told(done: subprocess.CompletedProcess[str], code: str, exit_code: int = 2) -> str:
    """The error's two lines: one with *code*, one with the fix; no traceback anywhere."""
    assert done.returncode == exit_code, (done.returncode, done.stderr)
    assert done.stdout == "" and "Traceback" not in done.stderr, done.stderr
    return _two_lines(done.stderr, code)


def said(capsys: pytest.CaptureFixture[str], code: str) -> str:
    """The same of a command that was run in this process."""
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    return _two_lines(captured.err, code)


def _two_lines(err: str, code: str) -> str:
    lines = [x for x in err.splitlines() if re.match(r"patchgen: (PG\d|fix)", x)]
    assert [x.split(": ")[1] for x in lines] == [code, "fix"], err
    assert err.splitlines()[-1] == lines[-1]
    return "\n".join(lines)


def refs(repo: Path) -> dict[str, str]:
    """Ref -> id."""
    lines = git(repo, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return {ref: name for ref, _, name in (line.partition(" ") for line in lines)}


def fsck(repo: Path) -> None:
    """Fail unless git finds nothing wrong."""
    done = subprocess.run(
        ["git", "fsck", "--strict", "--no-dangling"],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.01)


# --- processes ------------------------------------------------------------------------------------


class Marked:
    """Processes that this test started, however deep: they have inherited a variable."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._mark = f"{_MARK}={uuid.uuid4().hex}".encode()
        monkeypatch.setenv(_MARK, self._mark.decode().partition("=")[2])

    def running(self) -> list[str]:
        """Their command lines."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark in (process / "environ").read_bytes().split(b"\0"):
                    words = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(words.decode("utf-8", "replace"))
            except OSError:
                continue
        return found

    def gone(self) -> None:
        """Wait for the last of them."""
        until(lambda: not self.running())


def dice(what: str) -> random.Random:
    """Random numbers whose seed is printed; PATCHGEN_FAULT_SEED gives those of an earlier run."""
    seed = os.environ.get("PATCHGEN_FAULT_SEED") or str(random.randrange(10**9))
    print(f"{what}: PATCHGEN_FAULT_SEED={seed}")
    return random.Random(f"{seed} {what}")


# --- file systems of a test's own -----------------------------------------------------------------


@cache
def _unshare() -> tuple[str, ...]:
    """The command that gives a process mounts of its own; empty if that is not possible."""
    words = ["unshare", "--mount"]
    if os.geteuid() != 0:
        words += ["--user", "--map-root-user"]
    try:
        probe = "mount -t tmpfs tmpfs /mnt"
        done = subprocess.run([*words, "sh", "-c", probe], capture_output=True, check=False)
    except OSError:
        return ()
    return tuple(words) if done.returncode == 0 else ()


def with_mounts(setup: str, *words: str, after: str = "") -> subprocess.CompletedProcess[str]:
    """Run patchgen where the shell lines *setup* have mounted something; then the lines *after*.

    The mounts end with the process, so that nothing can be left. Skips where they are not allowed.
    """
    if not _unshare():
        pytest.skip("needs mounts of its own: root, or user namespaces (unshare, util-linux)")
    run = shlex.join([sys.executable, "-m", "patchgen", *words])
    script = f"set -e\n{setup}\ncode=0\n{run} || code=$?\n{after}\nexit $code\n"
    return subprocess.run(
        [*_unshare(), "sh", "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )


def tmpfs(place: Path, size: str) -> str:
    """Shell lines that mount a small file system."""
    name = shlex.quote(str(place))
    return f"mkdir -p {name}; mount -t tmpfs -o size={size} tmpfs {name}"


def fill(place: Path, left: int) -> str:
    """Shell lines that leave *left* KiB of room at *place*."""
    file = shlex.quote(str(place / "fill"))
    return (
        f"dd if=/dev/zero of={file} bs=4k 2>/dev/null || true; sync {file}; "
        f"truncate -s -{left}K {file}"
    )


def read_only(place: Path) -> str:
    """Shell lines that make *place* read-only, for root as well."""
    name = shlex.quote(str(place))
    return f"mount --bind {name} {name}; mount -o remount,bind,ro {name}"


@contextmanager
def stub(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program *name* in front of the real one, for the block."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield
