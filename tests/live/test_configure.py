"""What QEMU's own configure says where something is missing, and what patchgen makes of it."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import msgspec
import pytest

from patchgen.build.features import Features, load_features
from patchgen.cli import run
from patchgen.config import Config
from patchgen.errors import PatchgenError
from patchgen.source.resolve import resolve
from patchgen.ui import Ui
from tests.unit.fault_help import said, stub

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000), pytest.mark.xdist_group("live")]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of a build of the distribution's 5.2 in a cache of the test's own."""
    try:
        base = resolve("v5.2.0", repo=None, source="distro", config=Config(), ui=Ui(quiet=True))
    except PatchgenError as exc:
        pytest.skip(f"the distribution's 5.2 cannot be had: {exc.message}")
    monkeypatch.setenv("PATCHGEN_CACHE", str(tmp_path / "cache"))
    return ["build", base.commit, "--repo", str(base.repo.git_dir), "--pristine", "--quiet"]


@pytest.mark.parametrize(
    ("library", "package", "more"),
    [
        ("libseccomp", "libseccomp-dev", []),
        ("gnutls", "libgnutls28-dev", []),
        ("gthread-2.0", "libglib2.0-dev", ["--minimal"]),
        ("pixman-1", "libpixman-1-dev", ["--minimal"]),
    ],
)
def test_library_that_is_missing(
    library: str,
    package: str,
    more: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """pkg-config does not know it, as if its package were removed."""
    real = shutil.which("pkg-config")
    if real is None:
        pytest.skip("pkg-config is not installed")
    script = f'case " $* " in *{library}*) exit 1;; esac\nexec {shlex.quote(real)} "$@"'
    with stub(tmp_path / "without", "pkg-config", script, monkeypatch):
        assert run([*words, *more]) == 4
    assert f"apt install {package}" in said(capsys, "PG402")


def test_option_that_configure_does_not_know(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = load_features()
    flags = (*known.common.flags, "--enable-frobnication")

    def more() -> Features:
        return msgspec.structs.replace(
            known, common=msgspec.structs.replace(known.common, flags=flags)
        )

    monkeypatch.setattr("patchgen.build.features.load_features", more)
    assert run([*words, "--minimal"]) == 4
    captured = capsys.readouterr()
    assert "unknown option --enable-frobnication" in captured.err
    assert "patchgen: PG404: " in captured.err and "patchgen: fix: " in captured.err
