"""Compilers, ccache and the series' own files in a state that nobody wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchgen.cli import run
from patchgen.engine.series import load_series
from patchgen.errors import SeriesError
from tests.unit import build_helpers
from tests.unit.fault_help import BUILD_TAG, TAG, build_repo, fake_repo, refs, said, stub

SERIES = """
subject = "test: a patch"
series_author = "Steve Sistare"
message = "Why."

[[edit]]
why = "reason"
file = "softmmu/vl.c"
at = { function = "main_loop" }
insert = { first = "@x.c.j2" }
"""


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of a build that works."""
    build_helpers.seal(tmp_path, monkeypatch)
    return ["build", BUILD_TAG, "--repo", str(build_repo(tmp_path / "qemu")), "--pristine", "-q"]


def test_ccache_that_is_broken_is_left_out(
    builds: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with stub(tmp_path / "broken", "ccache", "exit 1", monkeypatch):
        assert run(builds) == 0
    captured = capsys.readouterr()
    assert "broken/ccache does not work, and is left out" in captured.err
    assert " CC=cc " in captured.out


def test_compiler_that_is_missing(
    builds: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-cc")
    assert run(builds) == 4
    assert "apt install gcc" in said(capsys, "PG401")


def test_option_that_configure_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_helpers.seal(tmp_path, monkeypatch)
    repo = build_repo(tmp_path / "qemu")
    body = "echo 'ERROR: unknown option --enable-kvm'; echo 'Try configure --help'; exit 1"
    script = build_helpers.configure_script("", body)
    build_helpers.Work(repo).commit({"configure": script})
    assert run(["build", "master", "--repo", str(repo), "--pristine", "-q"]) == 4
    captured = capsys.readouterr()
    assert "ERROR: unknown option --enable-kvm" in captured.err
    assert "patchgen: PG404: " in captured.err and "patchgen: fix: " in captured.err


# --- the series -----------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A series of one patch in place of the project's."""
    top = tmp_path / "data"
    (top / "series").mkdir(parents=True)
    (top / "templates/01-a").mkdir(parents=True)
    (top / "templates/01-a/x.c.j2").write_text("prepare();\n", encoding="utf-8")
    (top / "series/01-a.toml").write_text(SERIES, encoding="utf-8")
    (top / "series/facts.toml").write_text("", encoding="utf-8")
    about = 'title = "T"\ntotal = 1\n[authors]\n"Steve Sistare" = "a@example.org"\n'
    (top / "series/series.toml").write_text(about, encoding="utf-8")
    real = __import__("patchgen.paths", fromlist=["data_dir"]).data_dir
    monkeypatch.setattr(
        "patchgen.paths.data_dir", lambda name: top / name if name != "qemu-ref" else real(name)
    )
    return top


def test_fragment_with_an_undefined_variable(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = fake_repo(tmp_path / "qemu")
    before = refs(repo)
    for text in ("@< nonsense >@();\n", "@% if nonsense %@\nx();\n@% endif %@\n", "@< x\n"):
        (data / "templates/01-a/x.c.j2").write_text(text, encoding="utf-8")
        assert run(["apply", TAG, "--repo", str(repo)]) == 2
        assert "01-a, edit 1" in said(capsys, "PG302")
    assert refs(repo) == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('why = "reason"', 'why = "reason"\nwhy = "again"', "overwrite"),
        ('subject = "test: a patch"', 'subject = "a"\nsubject = "b"', "overwrite"),
        ("insert = {", "instert = {", "instert"),
        ("insert = {", "append = {", "append"),
    ],
)
def test_series_file_with_a_duplicate_key_or_an_unknown_verb(
    old: str,
    new: str,
    words: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = data / "series/01-a.toml"
    path.write_text(SERIES.replace(old, new), encoding="utf-8")
    with pytest.raises(SeriesError) as caught:
        load_series(data / "series", data / "templates")
    assert "01-a.toml" in caught.value.message and words in caught.value.message
    assert run(["apply", TAG, "--repo", str(fake_repo(tmp_path / "qemu"))]) == 2
    said(capsys, "PG300")
