from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from patchgen.build.record import BuildOptions, EachCommit, EachRecord
from patchgen.build.subject import subject_of, touched
from patchgen.build.whole import build_subject
from patchgen.commands import build as command
from patchgen.config import Config
from patchgen.errors import UsageError
from patchgen.processors import processors
from tests.unit.build_helpers import QuietUi, Work, make_tree, seal

DEFAULTS = {
    "tag": "v9",
    "pristine": False,
    "minimal": False,
    "each": None,
    "limit": None,
    "command": "build",
    "jobs": 0,
    "upto": None,
    "submodule": [],
    "packages": False,
    "repo": None,
    "source": None,
}


def args(**changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{**DEFAULTS, **changes})


@pytest.fixture(autouse=True)
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal(tmp_path, monkeypatch)


def test_packages_are_one_line_for_a_shell() -> None:
    out = command.text(command.run(args(packages=True, tag=None), QuietUi()))
    assert "\n" not in out and "libsasl2-dev" in out.split()
    small = command.text(command.run(args(packages=True, minimal=True), QuietUi()))
    assert set(small.split()) < set(out.split())


@pytest.mark.parametrize(
    "changes",
    [
        {"tag": None},
        {"each": "full", "pristine": True},
        {"submodule": ["ui/keycodemapdb"]},
        {"submodule": ["capstone=/tmp"]},
        {"jobs": -1},
        {"limit": -2, "each": "objects"},
        {"limit": 5},
        {"limit": 5, "each": "full"},
        {"pristine": True, "upto": 2},
    ],
)
def test_wrong_use(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        command.run(args(**changes), QuietUi())


def test_jobs_by_option_then_configuration_then_machine() -> None:
    assert command.build_options(args(jobs=3), Config(jobs=5), "full").jobs == 3
    assert command.build_options(args(), Config(jobs=5), "full").jobs == 5
    assert command.build_options(args(), Config(), "full").jobs == processors()


def test_text_of_a_build(tmp_path: Path) -> None:
    work = Work(tmp_path / "qemu")
    subject = subject_of(work.repo, "v4.2.0", work.commit(make_tree()))
    record = build_subject(subject, BuildOptions(), Config(), QuietUi())
    out = command.text(record)
    assert out.startswith("v4.2.0 (QEMU 4.2.0), pristine: built, full features, ")
    assert f"binary:    {record.binary} (0 MB)\n" in out
    assert out.splitlines()[-1] == f"reproduce: {record.reproduce}"
    assert command.exit_code(record) == 0


def test_text_of_each() -> None:
    one = EachCommit(3, "io: x", "c", "t", "built", 40, 7, ("os-win32.c",), ("a.c: odd",), False, 1)
    record = EachRecord(
        "v9", "9", "b", "objects", "make", "full", 40, (), "cc", (one,), Path("b"), Path("l"), 2.0
    )
    assert command.text(record) == (
        "  3  built    40 objects, 7 left out by --limit 40, 1 warnings  io: x"
        "; not part of this build: os-win32.c\n1 commits of v9 compile (2 s)"
    )


def test_subject_numbers_and_files(tmp_path: Path) -> None:
    work = Work(tmp_path / "qemu")
    base = work.commit({"VERSION": "5.2.0\n", "a": "1"}, "base")
    work.commit({"a": "2", "b/ü c": "x"}, "one: more")
    tip = work.commit({"a": None}, "two")
    subject = subject_of(work.repo, "v5.2.0", base, tip)
    assert not subject.pristine and subject.version == "5.2.0"
    found = [(one.number, one.subject, one.files) for one in subject.patches]
    assert found == [(1, "one: more", ("a", "b/ü c")), (2, "two", ("a",))]
    assert touched(work.repo, tip) == ("a",)
    assert subject_of(work.repo, "v5.2.0", base).pristine
