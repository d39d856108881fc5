"""How many processors are used: what the scheduler allows, and what control groups leave of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patchgen.processors import processors, shares


def put(place: Path, **files: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text + "\n", encoding="ascii")


def test_second_version_all_levels_count(tmp_path: Path) -> None:
    put(tmp_path / "a/b", cpu__max="max 100000")
    put(tmp_path / "a", cpu__max="150000 100000")
    put(tmp_path, cpu__max="400000 100000")
    assert list(shares("0::/a/b\n", tmp_path)) == [1.5, 4.0]


def test_first_version(tmp_path: Path) -> None:
    both = tmp_path / "cpu,cpuacct"
    put(both / "job", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    put(both, cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    own = "4:memory:/job\n3:cpuset:/job\n2:cpu,cpuacct:/job\n0::/\n"
    assert list(shares(own, tmp_path)) == [0.5]


def test_a_container_whose_mount_is_its_group(tmp_path: Path) -> None:
    put(tmp_path, cpu__max="200000 100000")
    assert list(shares("0::/docker/0123\n", tmp_path)) == [2.0]


@pytest.mark.parametrize("text", ["", "what", "1 2 3", "x y", "\xff"])
def test_what_cannot_be_understood_is_no_limit(text: str, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text, encoding="latin-1")
    assert list(shares("0::/\n", tmp_path)) == []
    assert list(shares("nonsense\n\n7\n", tmp_path)) == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_that_may_use_one_processor() -> None:
    assert 1 <= processors() <= len(os.sched_getaffinity(0))
    code = (
        "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from patchgen.processors import processors\nprint(processors())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
