"""File systems that are full or read-only, and a cache that somebody or something has damaged."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from patchgen.cli import run
from tests.minirepo import git
from tests.unit import build_helpers
from tests.unit.fault_help import (
    BUILD_TAG,
    TAG,
    build_repo,
    fake_repo,
    fill,
    fsck,
    patchgen,
    read_only,
    refs,
    said,
    tmpfs,
    told,
    with_mounts,
)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return fake_repo(tmp_path / "qemu")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Where a small file system is mounted."""
    return tmp_path / "small disk"


# --- full -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 120, 260])
def test_cache_is_full(left: int, repo: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the repository is made, in the fetch, when the branch is written."""
    monkeypatch.setenv("PATCHGEN_CACHE", str(small / "cache"))
    setup = f"{tmpfs(small, '2m')}; {fill(small, left)}"
    url = f"file://{repo}"
    full = told(with_mounts(setup, "apply", TAG, "--repo", url), "PG104")
    assert "No space left on device" in full


def test_cache_is_full_in_a_build(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_helpers.seal(tmp_path, monkeypatch)
    builds = build_repo(tmp_path / "qemu")
    monkeypatch.setenv("PATCHGEN_CACHE", str(small / "cache"))
    setup = f"{tmpfs(small, '1m')}; {fill(small, 60)}"
    done = with_mounts(setup, "build", BUILD_TAG, "--repo", str(builds), "--pristine", "-q")
    assert "No space left on device" in told(done, "PG104")


def test_repository_is_full(repo: Path, small: Path) -> None:
    place = shlex.quote(str(small / "qemu"))
    setup = f"{tmpfs(small, '2m')}; cp -r {shlex.quote(str(repo))} {place}; {fill(small, 8)}"
    after = f"git -C {place} for-each-ref >&2; git -C {place} fsck --strict >&2"
    done = with_mounts(setup, "apply", TAG, "--repo", str(small / "qemu"), after=after)
    assert done.returncode == 2
    assert "patchgen: PG104: " in done.stderr and "No space left on device" in done.stderr
    assert "patchgen: fix: " in done.stderr and "Traceback" not in done.stderr
    assert "refs/heads/cpr" not in done.stderr and "refs/tags" in done.stderr


def test_tmpdir_is_full(repo: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TMPDIR without any room is passed over; one with little room is told."""
    monkeypatch.setenv("TMPDIR", str(small))
    before = refs(repo)
    setup = f"{tmpfs(small, '1m')}; {fill(small, 16)}"
    done = with_mounts(setup, "apply", TAG, "--repo", str(repo))
    assert "No space left on device" in told(done, "PG104")
    assert refs(repo) == before
    fsck(repo)
    setup = f"{tmpfs(small, '1m')}; {fill(small, 0)}"
    assert with_mounts(setup, "apply", TAG, "--repo", str(repo)).returncode == 0


def test_output_is_full(repo: Path, small: Path) -> None:
    setup = f"{tmpfs(small, '1m')}; {fill(small, 16)}"
    after = f"ls -A {shlex.quote(str(small))} >&2"
    words = ("export", TAG, "--no-gate", "all", "--repo", str(repo), "-o", str(small / "out"))
    done = with_mounts(setup, *words, after=after)
    assert done.returncode == 2 and "patchgen: PG130: " in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1] == "fill"


# --- read-only ------------------------------------------------------------------------------------


def test_read_only_repository(repo: Path, tmp_path: Path) -> None:
    before = refs(repo)
    done = with_mounts(read_only(repo), "apply", TAG, "--repo", str(repo))
    assert "Read-only file system" in told(done, "PG104")
    assert refs(repo) == before
    # Looking needs no writing.
    done = with_mounts(read_only(repo), "apply", TAG, "--repo", str(repo), "--dry-run")
    assert done.returncode == 0, done.stderr


def test_read_only_home(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "ro home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("PATCHGEN_CACHE")
    done = with_mounts(read_only(home), "apply", TAG, "--repo", str(repo))
    assert done.returncode == 0, done.stderr
    done = with_mounts(read_only(home), "apply", TAG, "--repo", f"file://{repo}")
    assert "PATCHGEN_CACHE" in told(done, "PG103")


def test_read_only_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_helpers.seal(tmp_path, monkeypatch)
    builds = build_repo(tmp_path / "qemu")
    cache = tmp_path / "cache"
    words = ["build", BUILD_TAG, "--repo", str(builds), "--pristine"]
    assert "Read-only" in told(with_mounts(read_only(cache), *words), "PG104")
    words = ["apply", TAG, "--repo", f"file://{builds}"]
    assert "Read-only" in told(with_mounts(read_only(cache), *words), "PG103")


def test_read_only_output(repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = with_mounts(
        read_only(out), "export", TAG, "--no-gate", "all", "--repo", str(repo), "-o", str(out)
    )
    assert "Read-only" in told(done, "PG130")


# --- a damaged cache ------------------------------------------------------------------------------


def _cache() -> Path:
    return Path(os.environ["PATCHGEN_CACHE"])


def _truncate(cache: Path) -> None:
    (pack,) = cache.glob("qemu.git/objects/pack/*.pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:3000])


def _scribble(cache: Path) -> None:
    (pack,) = cache.glob("qemu.git/objects/pack/*.pack")
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[100:-100] = bytes(len(data) - 200)
    pack.write_bytes(bytes(data))


def _head(cache: Path) -> None:
    (cache / "qemu.git/HEAD").write_text("garbage\n", encoding="ascii")


def _config(cache: Path) -> None:
    (cache / "qemu.git/config").write_text("[garbage\n", encoding="ascii")


def _no_refs(cache: Path) -> None:
    shutil.rmtree(cache / "qemu.git/refs")
    (cache / "qemu.git/packed-refs").unlink()


def _file(cache: Path) -> None:
    shutil.rmtree(cache / "qemu.git")
    (cache / "qemu.git").touch()


def _empty(cache: Path) -> None:
    shutil.rmtree(cache / "qemu.git")
    (cache / "qemu.git").mkdir()


@pytest.mark.parametrize("damage", [_truncate, _scribble, _head, _config, _no_refs, _file, _empty])
def test_damaged_repository_in_the_cache(
    damage: object, repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATCHGEN_UPSTREAM", f"file://{repo}")
    assert run(["apply", TAG, "--source", "upstream", "--upto", "1"]) == 0
    there = _cache() / "qemu.git"
    git(there, "repack", "-adq")
    git(there, "pack-refs", "--all")
    capsys.readouterr()
    assert callable(damage)
    damage(_cache())
    assert run(["apply", TAG, "--source", "cache", "--upto", "1"]) == 2
    assert f"rm -r {there}" in said(capsys, "PG103")
    # The fix is one.
    (there.unlink if there.is_file() else lambda: shutil.rmtree(there))()
    assert run(["apply", TAG, "--source", "upstream", "--upto", "1"]) == 0


def test_cache_is_a_file(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _cache().parent.mkdir(exist_ok=True)
    _cache().write_text("mine", encoding="ascii")
    assert run(["apply", TAG, "--repo", f"file://{repo}"]) == 2
    said(capsys, "PG103")
    assert _cache().read_text(encoding="ascii") == "mine"


def test_lock_that_cannot_be_used(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_cache() / "qemu.lock").mkdir(parents=True)
    assert run(["apply", TAG, "--repo", f"file://{repo}"]) == 2
    assert f"remove {_cache()}/qemu.lock" in said(capsys, "PG103")


# --- a damaged build ------------------------------------------------------------------------------


@pytest.fixture
def built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], Path]:
    """The command line of a finished build, and its directory in the cache."""
    build_helpers.seal(tmp_path, monkeypatch)
    argv = ["build", BUILD_TAG, "--repo", str(build_repo(tmp_path / "qemu")), "--pristine", "-q"]
    assert run(argv) == 0
    capsys.readouterr()
    (home,) = (tmp_path / "cache/build").iterdir()
    return argv, home


@pytest.mark.parametrize("name", ["metadata.json", "configured.json"])
@pytest.mark.parametrize("text", ["garbage", "{}"])
def test_garbage_in_metadata(
    name: str, text: str, built: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    argv, home = built
    (home / "metadata.json").unlink()
    (home / name).write_text(text, encoding="ascii")
    assert run(argv) == 0
    assert "pristine: built" in capsys.readouterr().out
    assert run(argv) == 0
    assert "pristine: unchanged" in capsys.readouterr().out


@pytest.mark.parametrize("cut", ["missing", "short"])
def test_half_unpacked_tree(
    cut: str, built: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    argv, home = built
    (home / "metadata.json").unlink()
    (home / "src.partial").mkdir()
    if cut == "missing":
        shutil.rmtree(home / "src/migration")
    else:
        (home / "src/VERSION").write_bytes(b"")
    assert run(argv) == 0
    said = capsys.readouterr()
    assert "is not whole any more" in said.err and "pristine: built" in said.out
    assert (home / "src/migration/savevm.c").is_file()
    assert (home / "src/VERSION").read_bytes() and not (home / "src.partial").exists()


@pytest.mark.parametrize("name", ["lock", "build.log", "metadata.json", "build", "."])
def test_something_else_is_in_the_place(
    name: str, built: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    argv, home = built
    shutil.rmtree(home)
    if name in ("build", "."):
        if name == "build":
            home.mkdir()
        (home / name if name == "build" else home).touch()
    else:
        (home / name).mkdir(parents=True)
    assert run(argv) == 2
    assert str(home) in said(capsys, "PG104")
    assert not list(home.glob("metadata.json.*"))


def test_fault_of_a_process(repo: Path) -> None:
    """The two lines and the exit code are those of a real process."""
    assert "--repo" in told(patchgen("apply", "v9.9.9", "--repo", str(repo)), "PG113")
