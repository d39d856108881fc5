"""Repositories that are odd, locked, incomplete or in use; files and paths with odd bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patchgen.cli import run
from patchgen.errors import RepoDamaged
from patchgen.git.objects import CommitFiles
from patchgen.git.repo import Repo
from tests.fakeqemu import fake_tree
from tests.minirepo import git, make_repo
from tests.unit.fault_help import (
    ERA,
    TAG,
    environment,
    fake_repo,
    fsck,
    patchgen,
    refs,
    said,
    told,
)
from tests.unit.test_cli import checked

BRANCH = f"cpr/{TAG}"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return fake_repo(tmp_path / "qemu")


def apply(repo: Path | str, *more: str) -> int:
    return run(["apply", TAG, "--repo", str(repo), *more])


def test_unknown_tag_and_a_repository_that_is_not_qemu(repo: Path, tmp_path: Path) -> None:
    done = patchgen("apply", "v9.9.9", "--repo", str(repo))
    assert "no tag, branch or commit v9.9.9" in told(done, "PG113")
    other = make_repo(tmp_path / "other", {"VERSION": b"5.2.0\n"}, TAG)
    told(patchgen("apply", TAG, "--repo", str(other)), "PG112")
    assert set(refs(other)) == {"refs/heads/master", f"refs/tags/{TAG}"}


# --- partial clones and submodules ----------------------------------------------------------------


@pytest.fixture
def partial(repo: Path, tmp_path: Path) -> Path:
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(repo, "config", "uploadpack.allowAnySHA1InWant", "true")
    clone = ("clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo}", "partial")
    git(tmp_path, *clone)
    return tmp_path / "partial"


def test_partial_clone_fetches_what_it_lacks(repo: Path, partial: Path, tmp_path: Path) -> None:
    assert apply(repo) == 0
    assert apply(partial) == 0
    assert refs(partial)[f"refs/heads/{BRANCH}"] == refs(repo)[f"refs/heads/{BRANCH}"]
    assert (
        run(
            ["export", TAG, "--no-gate", "all", "--repo", str(partial), "-o", str(tmp_path / "out")]
        )
        == 0
    )
    fsck(partial)


def test_partial_clone_whose_remote_is_gone(
    repo: Path, partial: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = refs(partial)
    repo.rename(repo.with_name("gone"))
    assert apply(partial) == 2
    assert "partial clone" in said(capsys, "PG122")
    assert refs(partial) == before


def test_clone_that_lacks_objects(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = git(repo, "rev-parse", f"{TAG}:migration/savevm.c")
    path = repo / ".git/objects" / name[:2] / name[2:]
    path.chmod(0o644)
    for code, content in (("PG123", b"garbage"), ("PG122", b"")):
        if content:
            path.write_bytes(content)
        else:
            path.unlink()
        assert apply(repo) == 2
        captured = capsys.readouterr().err
        assert f"patchgen: {code}: " in captured or "patchgen: PG122: " in captured, captured
        assert "patchgen: fix: " in captured and "Traceback" not in captured
    assert f"refs/heads/{BRANCH}" not in refs(repo)


def test_search_through_a_clone_that_lacks_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What git grep finds, what it finds nothing of, and what it cannot read are told apart."""
    files = fake_tree(ERA)
    # What vl.c held has gone to a file that only a search finds; nothing but that reads the other.
    moved = {ERA.vl: b"int nothing;\n", "new/main.c": files[ERA.vl]}
    repo = make_repo(tmp_path / "qemu", {**files, **moved, "other/ü b.c": b"int other;\n"}, TAG)
    with CommitFiles(Repo.discover(repo), "HEAD") as there:
        assert there.grep("other") == ("other/ü b.c",)
        assert there.grep("is_nowhere") == there.grep("othe") == ()
    assert apply(repo) == 0
    assert "new/main.c" in git(repo, "diff", "--name-only", TAG, BRANCH)
    git(repo, "update-ref", "-d", f"refs/heads/{BRANCH}")
    capsys.readouterr()
    name = git(repo, "rev-parse", "HEAD:other/ü b.c")
    path = repo / ".git/objects" / name[:2] / name[2:]
    path.unlink()
    with CommitFiles(Repo.discover(repo), "HEAD") as there, pytest.raises(RepoDamaged) as caught:
        there.grep("is_nowhere")
    assert name in caught.value.message
    assert apply(repo) == 2
    assert name in said(capsys, "PG123")
    assert BRANCH not in git(repo, "branch", "--list")
    assert run(["matrix", TAG, "--repo", str(repo), "--json"]) == 1
    cells = checked("matrix", capsys.readouterr().out)["result"]["cells"]
    codes = {cell["error"]["code"] for cell in cells if cell["error"]}
    assert codes == {"PG123"}


def test_submodule_checkout(repo: Path, tmp_path: Path) -> None:
    """QEMU as a submodule of another repository: `.git` is a file there."""
    top = tmp_path / "super"
    top.mkdir()
    git(top, "init", "-q")
    git(top, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo), "qemu")
    place = top / "qemu"
    assert (place / ".git").is_file()
    assert apply(place) == 0
    assert git(place, "rev-parse", f"{BRANCH}^{{tree}}")
    assert BRANCH not in git(top, "branch", "--list", "--all")
    assert git(place, "status", "--porcelain") == ""
    fsck(place)
    assert (
        run(["export", TAG, "--no-gate", "all", "--repo", str(place), "-o", str(tmp_path / "out")])
        == 0
    )


# --- locks, and who else is at work ---------------------------------------------------------------


def test_lock_that_is_not_in_the_way(repo: Path) -> None:
    locks = [
        repo / ".git" / name
        for name in ("index.lock", "packed-refs.lock", "HEAD.lock", "config.lock")
    ]
    for lock in locks:
        lock.touch()
    assert apply(repo, "--upto", "1") == 0
    assert apply(repo) == 0
    assert all(lock.exists() for lock in locks)


@pytest.mark.parametrize("before", [False, True])
def test_lock_of_the_branch(before: bool, repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if before:
        assert apply(repo, "--upto", "1") == 0
    lock = repo / f".git/refs/heads/{BRANCH}.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    old = refs(repo)
    capsys.readouterr()
    assert apply(repo) == 2
    assert str(lock) in said(capsys, "PG121")
    assert refs(repo) == old and lock.exists()
    lock.unlink()
    assert apply(repo) == 0


def test_branch_checked_out_in_another_work_tree(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply(repo, "--upto", "1") == 0
    place = tmp_path / "other tree"
    git(repo, "worktree", "add", "-q", str(place), BRANCH)
    old = refs(repo)
    capsys.readouterr()
    for more in ((), ("--force",)):
        assert apply(repo, *more) == 2
        assert str(place) in said(capsys, "PG116")
    assert refs(repo) == old
    assert git(place, "status", "--porcelain") == ""


def test_two_at_once(repo: Path) -> None:
    """Both end well, and the result is that of one."""
    alone = fake_repo(repo.with_name("alone"))
    assert apply(alone) == 0
    words = [sys.executable, "-m", "patchgen", "apply", TAG, "--repo", str(repo), "-q"]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(words, env=environment(), stdout=pipe, stderr=pipe) for _ in range(2)]
    results = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert refs(repo) == refs(alone)
    fsck(repo)


# --- odd bytes ------------------------------------------------------------------------------------


def test_paths_with_spaces_and_more_than_ascii(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "übung: 'eins' zwei"
    odd.mkdir()
    monkeypatch.setenv("PATCHGEN_CACHE", str(odd / "der cache"))
    monkeypatch.setenv("TMPDIR", str(odd))
    repo = fake_repo(odd / "qemu ☃")
    out = odd / "aus gabe"
    for words in (["--repo", str(repo)], ["--repo", f"file://{repo}"]):
        done = patchgen("export", TAG, "--no-gate", "all", *words, "-o", str(out))
        assert done.returncode == 0, done.stderr
    git(repo, "checkout", "-q", "--detach", TAG)
    git(repo, "am", "-q", "--empty=drop", *map(str, sorted(out.glob("*.patch"))))
    assert git(repo, "rev-parse", "HEAD^{tree}") == git(repo, "rev-parse", f"{BRANCH}^{{tree}}")
    assert (odd / "der cache/qemu.git").is_dir()
    directory = odd / "dir ohne git"
    shutil.copytree(repo, directory, ignore=shutil.ignore_patterns(".git"))
    assert patchgen("apply", TAG, "--repo", str(directory)).returncode == 0


def test_bytes_that_are_no_utf8_in_touched_files(tmp_path: Path) -> None:
    files = fake_tree(ERA)
    plain = make_repo(tmp_path / "plain", files, TAG)
    mark = b"/* caf\xe9 \xff\xfe */\n"
    touched = ("migration/savevm.c", ERA.vl, "qapi/migration.json", "hmp-commands.hx")
    comment = {name: b"# " + mark if name.endswith((".json", ".hx")) else mark for name in touched}
    odd = make_repo(
        tmp_path / "odd", {n: comment.get(n, b"") + text for n, text in files.items()}, TAG
    )
    assert apply(plain) == 0
    assert apply(odd) == 0
    for name, line in comment.items():
        show = ["git", "show", f"{BRANCH}:{name}"]
        old, new = (subprocess.check_output(show, cwd=place) for place in (plain, odd))
        assert new == line + old, name
    out = tmp_path / "out"
    assert run(["export", TAG, "--no-gate", "all", "--repo", str(odd), "-o", str(out)]) == 0
    git(odd, "checkout", "-q", "--detach", TAG)
    git(odd, "am", "-q", "--empty=drop", *map(str, sorted(out.glob("*.patch"))))
    assert git(odd, "rev-parse", "HEAD^{tree}") == git(odd, "rev-parse", f"{BRANCH}^{{tree}}")


def test_lines_that_end_in_crlf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is put into such a file ends in CR LF as well; a file that mixes them stays so."""
    files = fake_tree(ERA)
    names = (
        "migration/savevm.c",
        "qapi/migration.json",
        "hmp-commands.hx",
        "include/monitor/hmp.h",
    )
    crlf = {name: files[name].replace(b"\n", b"\r\n") for name in names}
    mixed = {ERA.vl: files[ERA.vl] + b"/* the end */\r\n"}
    plain = make_repo(tmp_path / "plain", files, TAG)
    odd = make_repo(tmp_path / "odd", {**files, **crlf, **mixed}, TAG)
    assert apply(plain) == 0
    assert apply(odd) == 0
    for name in (*names, ERA.vl):
        show = ["git", "show", f"{BRANCH}:{name}"]
        old, new = (subprocess.check_output(show, cwd=place) for place in (plain, odd))
        expected = old + b"/* the end */\r\n" if name == ERA.vl else old.replace(b"\n", b"\r\n")
        assert new == expected, name
    assert apply(odd) == 0
    # The mails: the command that is printed gives the tree, and without --keep-cr it would not.
    capsys.readouterr()
    for repo, out in ((plain, tmp_path / "plain out"), (odd, tmp_path / "odd out")):
        words = ["--no-gate", "all", "--repo", str(repo), "-o", str(out)]
        assert run(["export", TAG, *words]) == 0
        command = capsys.readouterr().out.splitlines()[-1]
        assert ("--keep-cr" in command) == (repo is odd)
        git(repo, "checkout", "-q", "--detach", TAG)
        if repo is odd:
            without = command.replace(" --keep-cr", "")
            assert subprocess.run(without, shell=True, cwd=repo, check=False).returncode != 0
            git(repo, "am", "--abort")
        subprocess.run(command, shell=True, cwd=repo, check=True)
        assert git(repo, "rev-parse", "HEAD^{tree}") == git(repo, "rev-parse", f"{BRANCH}^{{tree}}")


def test_no_network_and_no_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for url in (f"file://{tmp_path}/nowhere", "http://127.0.0.1:1/qemu.git", "/nowhere"):
        monkeypatch.setenv("PATCHGEN_UPSTREAM", url)
        assert run(["apply", TAG, "--source", "upstream"]) == 2
        assert url in said(capsys, "PG201")
    left = {x.name for x in Path(os.environ["PATCHGEN_CACHE"]).iterdir()}
    assert left == {"qemu.git", "qemu.lock"}


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt-get is not installed")
def test_apt_whose_mirror_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    etc = tmp_path / "etc"
    for name in ("sources.list.d", "apt.conf.d", "preferences.d", "trusted.gpg.d"):
        (etc / name).mkdir(parents=True)
    # Nothing listens on port 1: refused at once, wherever the tests run.
    entry = "deb [trusted=yes] http://127.0.0.1:1/debian bookworm main\n"
    (etc / "sources.list.d/host.list").write_text(entry, encoding="ascii")
    conf = f'Dir::Etc "{etc}";\nDir::State "{etc}/state";\nAcquire::Retries "0";\n'
    (etc / "host.conf").write_text(conf, encoding="ascii")
    monkeypatch.setenv("APT_CONFIG", str(etc / "host.conf"))
    assert run(["apply", TAG, "--source", "distro"]) == 2
    told_of = said(capsys, "PG201")
    assert "bookworm: " in told_of and "127.0.0.1" in told_of
