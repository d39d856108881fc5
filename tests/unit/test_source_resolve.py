"""The places, their order, and what is said when none has it."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from patchgen.cli import run
from patchgen.config import Config, load_config
from patchgen.errors import (
    BadArchive,
    CacheError,
    GitMissing,
    NotARepo,
    NotQemu,
    SourceUnavailable,
    UnknownTag,
    UsageError,
)
from patchgen.source import apt, resolve, tags
from patchgen.source.cache import cache_path, cached_repo, locked
from patchgen.source.resolve import Base, is_url
from patchgen.source.tags import KnownTag, known_tags
from tests.unit.source_help import FILES, Steps, git, seal, write_repo, write_tar, write_tree

V52 = 1607442919


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return seal(monkeypatch, tmp_path)


@pytest.fixture
def no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


class Shop:
    """Stands for apt: offers 5.2 in bullseye."""

    def __init__(self, root: Path, ui: Steps) -> None:
        self.package = apt.SourcePackage("bullseye", "1:5.2+dfsg-11", "5.2+dfsg", "v5.2.0")

    def suites(self, *, wanted: str | None = None) -> list[apt.Suite]:
        return [apt.Suite("bullseye", (self.package,)), apt.Suite("sid", (), "404 not found")]

    def download(self, package: apt.SourcePackage, folder: Path) -> list[tuple[Path, str]]:
        return [(write_tar(folder / "qemu_5.2+dfsg.orig.tar.xz"), "")]


def find(
    tag: str,
    *,
    repo: str | None = None,
    source: str | None = None,
    config: Config | None = None,
    ui: Steps | None = None,
) -> Base:
    return resolve.resolve(
        tag, repo=repo, source=source, config=config or load_config(), ui=ui or Steps()
    )


def test_tag_branch_and_commit_of_a_repository(tmp_path: Path) -> None:
    top = tmp_path / "qemu"
    commit = write_repo(top, "v5.2.0")
    git(top, "branch", "topic/x")
    for name in ("v5.2.0", "topic/x", commit, commit[:10], "master"):
        base = find(name, repo=str(top))
        assert (base.commit, base.version, base.origin, base.tag) == (commit, "5.2.0", "repo", name)
        assert base.tree == git(top, "rev-parse", "HEAD^{tree}")
    # A known tag is dated by qemu-ref, anything else by its commit.
    assert find("v5.2.0", repo=str(top)).date == V52
    assert find("master", repo=str(top)).date == 1500000000
    ui = Steps()
    find("v5.2.0", repo=str(top), ui=ui)
    assert any("the release of that name is 553032db1744" in x for x in ui.said)
    assert not cache_path().exists()


def test_bare_shallow_and_work_tree(tmp_path: Path) -> None:
    top = tmp_path / "qemu"
    commit = write_repo(top, "v5.2.0")
    git(tmp_path, "clone", "-q", "--bare", str(top), "bare.git")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{top}", "shallow")
    git(top, "worktree", "add", "-q", "--detach", str(tmp_path / "wt"))
    for name in ("bare.git", "shallow", "wt"):
        assert find("v5.2.0", repo=str(tmp_path / name)).commit == commit, name


def test_commit_that_qemu_ref_knows_without_a_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = write_repo(tmp_path / "qemu")
    entry = {"v6.0.0": KnownTag("v6.0.0", commit, 1619715929)}
    for module in (tags, resolve):
        monkeypatch.setattr(module, "known_tags", lambda: entry)
    base = find("v6.0.0", repo=str(tmp_path / "qemu"))
    assert (base.commit, base.date) == (commit, 1619715929)
    assert find(commit, repo=str(tmp_path / "qemu")).date == 1619715929


def test_explicit_repository_is_never_replaced(tmp_path: Path) -> None:
    write_repo(tmp_path / "qemu", "v5.2.0")
    with pytest.raises(UnknownTag) as caught:
        find("v4.2.0", repo=str(tmp_path / "qemu"))
    assert str(tmp_path / "qemu") in caught.value.message
    with pytest.raises(UsageError):
        find("v5.2.0", repo=str(tmp_path / "qemu"), source="distro")
    with pytest.raises(UnknownTag) as caught:
        find("5.2.0", repo=str(tmp_path / "qemu"))
    assert "v5.2.0" in caught.value.fix


@pytest.mark.parametrize("name", ["", "-x", "a b", "v5.2.0\n", "\x00"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UnknownTag):
        find(name)


@pytest.mark.parametrize("name", ["v*", "a..b", "v5.2.0:VERSION", "HEAD^{tree}", "@{-1}", "é"])
def test_odd_names_have_no_traceback(name: str, tmp_path: Path, no_apt: None) -> None:
    write_repo(tmp_path / "qemu", "v5.2.0")
    with pytest.raises(UnknownTag):
        find(name, repo=str(tmp_path / "qemu"))
    with pytest.raises((UnknownTag, SourceUnavailable)):
        find(name)


def test_not_qemu(tmp_path: Path) -> None:
    top = tmp_path / "other"
    write_repo(top, "v5.2.0")
    git(top, "rm", "-q", "-r", "qapi")
    git(top, "commit", "-q", "-m", "no more")
    with pytest.raises(NotQemu):
        find("master", repo=str(top))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotARepo):
        find("v5.2.0", repo=str(tmp_path / "empty"))
    with pytest.raises(NotARepo):
        find("v5.2.0", repo=str(tmp_path / "nowhere"))


def test_directory_without_git(tmp_path: Path) -> None:
    top = write_tree(tmp_path / "qemu-5.2.0")
    base = find("v5.2.0", repo=str(top))
    assert (base.origin, base.place, base.date) == ("directory", str(top), V52)
    assert base.repo.git_dir == cache_path()
    assert find("v5.2.0", repo=str(top)).commit == base.commit
    with pytest.raises(UnknownTag, match="a directory without git"):
        find("v6.0.0", repo=str(top))
    # A release that qemu-ref does not know is dated by its newest file.
    other = write_tree(tmp_path / "other", {**FILES, "VERSION": b"5.2.99\n"})
    assert find("v5.2.99", repo=str(other)).date == 1_600_000_000


def test_order_is_said_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "Distribution", Shop)
    top = tmp_path / "configured"
    write_repo(top, "v7.7.7")
    config = Config(repo=str(top), upstream="http://127.0.0.1:1/qemu.git")
    ui = Steps()
    base = find("v5.2.0", config=config, ui=ui)
    assert (base.origin, base.place, base.date) == ("distro", "bullseye qemu 1:5.2+dfsg-11", V52)
    places = [
        next(i for i, x in enumerate(ui.said) if x.startswith(start))
        for start in (str(top), "cache ", "upstream ", "distribution")
    ]
    assert places == sorted(places)
    # Next time it is the cache, without a network.
    monkeypatch.setattr(apt, "Distribution", None)
    again = find("v5.2.0", config=config)
    assert (again.origin, again.commit) == ("cache", base.commit)
    assert find("v5.2.0", source="cache").commit == base.commit
    assert find("v5.2.0", source="distro").commit == base.commit
    assert find("v7.7.7", config=config).origin == "repo"
    assert find("v7.7.7", config=config, source="repo").origin == "repo"


def test_source_picks_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_apt: None
) -> None:
    write_repo(tmp_path / "up", "v5.2.0")
    monkeypatch.setenv("PATCHGEN_UPSTREAM", f"file://{tmp_path / 'up'}")
    with pytest.raises(UnknownTag) as unknown:
        find("v5.2.0", source="cache")
    assert "upstream" not in unknown.value.message
    with pytest.raises(SourceUnavailable, match="apt-get is not installed"):
        find("v5.2.0", source="distro")
    with pytest.raises(UsageError):
        find("v5.2.0", source="repo")
    base = find("v5.2.0", source="upstream")
    assert base.origin == "upstream"
    assert find("v5.2.0").origin == "cache"
    with pytest.raises(UnknownTag):
        find("v6.6.6", source="upstream")


def test_upstream_branch_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = tmp_path / "up"
    first = write_repo(up)
    monkeypatch.setenv("PATCHGEN_UPSTREAM", f"file://{up}")
    assert find("master").commit == first
    git(up, "commit", "-q", "--allow-empty", "-m", "next")
    second = git(up, "rev-parse", "HEAD")
    assert find("master").commit == second
    assert find("master", source="cache").commit == second
    assert find(first, source="upstream").commit == first


def test_url_has_refs_of_its_own(tmp_path: Path, no_apt: None) -> None:
    fork = tmp_path / "fork"
    commit = write_repo(fork, "v5.2.0")
    base = find("v5.2.0", repo=f"file://{fork}")
    assert (base.commit, base.origin, base.repo.git_dir) == (commit, "repo", cache_path())
    # A fork's tag is not taken for upstream's.
    with pytest.raises(UnknownTag):
        find("v5.2.0", source="cache")
    shutil.rmtree(fork)
    assert find("v5.2.0", repo=f"file://{fork}").commit == commit
    with pytest.raises(SourceUnavailable):
        find("v6.0.0", repo=f"file://{fork}")


def test_is_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:name").mkdir()
    assert is_url("https://example.org/q.git") and is_url("git@example.org:q.git")
    assert not is_url("odd:name") and not is_url("/a/b:c") and not is_url("../qemu")


def test_unreachable_is_one_line_with_every_place(
    tmp_path: Path, no_apt: None, capfd: pytest.CaptureFixture[str]
) -> None:
    config = Config(repo=str(tmp_path / "gone"), upstream="http://u:secret@127.0.0.1:1/qemu.git")
    with pytest.raises(SourceUnavailable) as caught:
        find("v5.2.0", config=config)
    message = caught.value.message
    assert "\n" not in message and caught.value.code == "PG201"
    for part in (str(tmp_path / "gone"), "cache ", "upstream http://127", "Connection refused"):
        assert part in message or part == "Connection refused"
    assert "apt-get is not installed" in message
    assert "secret" not in message + capfd.readouterr().err


def test_damaged_package_and_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(Shop):
        def download(self, package: apt.SourcePackage, folder: Path) -> list[tuple[Path, str]]:
            path = write_tar(folder / "qemu_5.2+dfsg.orig.tar.xz")
            path.write_bytes(path.read_bytes()[:100])
            return [(path, "")]

    monkeypatch.setattr(apt, "Distribution", Damaged)
    with pytest.raises(BadArchive):
        find("v5.2.0", source="distro")
    with pytest.raises(SourceUnavailable, match="damaged"):
        find("v5.2.0")
    shutil.rmtree(cache_path())
    cache_path().mkdir()
    with pytest.raises(CacheError):
        find("v5.2.0", source="cache")


def test_git_missing_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find("v5.2.0", repo=str(write_tree(tmp_path / "qemu")))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(GitMissing):
        find("v5.2.0")


def test_second_patchgen_waits_and_says_so(tmp_path: Path) -> None:
    top = write_tree(tmp_path / "qemu")
    ui = Steps()
    done: list[Base] = []
    with locked(Steps()):
        worker = threading.Thread(
            target=lambda: done.append(find("v5.2.0", repo=str(top), ui=ui)), daemon=True
        )
        worker.start()
        worker.join(0.5)
        assert not done
        assert any("waiting for another patchgen" in x for x in ui.said)
    worker.join(20)
    assert done and cached_repo() is not None


def test_no_network_needs_at_most_three_git_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    top = tmp_path / "qemu"
    write_repo(top, "v5.2.0")
    calls: list[object] = []
    real = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *args, **more: (calls.append(args), real(*args, **more))[1]
    )
    find("v5.2.0", repo=str(top))
    assert len(calls) <= 3


def test_sources_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apt, "Distribution", Shop)
    write_repo(tmp_path / "up", "v6.0.0", "v6.0.0-rc1", "v2.0.0")
    monkeypatch.setenv("PATCHGEN_UPSTREAM", f"file://{tmp_path / 'up'}")
    find("v5.2.0", source="distro")
    capsys.readouterr()
    assert run(["sources", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert [(x["tag"], x["cached"]) for x in result["versions"]] == [
        ("v5.2.0", True),
        ("v6.0.0", False),
    ]
    assert {"source": "distro", "place": "sid", "versions": 0, "reason": "404 not found"} in result[
        "places"
    ]
    assert run(["sources", "--all", "--source", "upstream"]) == 0
    out = capsys.readouterr().out
    assert "v6.0.0-rc1" in out and "v2.0.0" in out
    assert run(["sources", "--repo", str(tmp_path / "up")]) == 0
    assert "v6.0.0" in capsys.readouterr().out
    assert run(["sources", "--repo", str(write_tree(tmp_path / "dir"))]) == 0
    assert "v5.2.0" in capsys.readouterr().out
    assert run(["sources", "--source", "repo"]) == 2
    assert known_tags()["v5.2.0"].commit
