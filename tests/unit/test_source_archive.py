"""Tarballs and directories become commits: the same everywhere, all or nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from patchgen.errors import BadArchive, NotQemu
from patchgen.git.repo import Repo
from patchgen.source.archive import Imported, Part, directory_entries, import_parts, tar_entries
from patchgen.source.cache import cached_repo, locked
from patchgen.ui import Ui
from tests.unit.source_help import FILES, MTIME, member, seal, write_tar, write_tree

REF = "refs/patchgen/distro/v5.2.0"
DATE = 1607442919


@pytest.fixture(autouse=True)
def _sealed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seal(monkeypatch, tmp_path)


def take(path: Path, *, date: int | None = DATE, expect: str | None = "5.2.0") -> Imported:
    """Import one tarball into the cache."""
    with locked(Ui(quiet=True)) as repo:
        parts = [Part(path.name, tar_entries(path))]
        return import_parts(repo, REF, parts, what="a tarball", date=date, expect=expect)


def cache() -> Repo:
    repo = cached_repo()
    assert repo is not None
    return repo


def test_tree_is_what_git_would_make(tmp_path: Path) -> None:
    made = take(write_tar(tmp_path / "qemu.tar.xz"))
    work = write_tree(tmp_path / "work")
    subprocess.run(["git", "init", "-q", "."], cwd=work, check=True)
    subprocess.run(["git", "add", "-A"], cwd=work, check=True)
    tree = subprocess.run(["git", "write-tree"], cwd=work, capture_output=True, check=True).stdout
    assert cache().line("rev-parse", f"{made.commit}^{{tree}}") == tree.decode().strip()
    assert made.version == "5.2.0"
    assert cache().git("fsck", "--strict").returncode == 0


def test_id_depends_on_the_contents_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "qemu.tar.xz")
    first = take(path)
    monkeypatch.setenv("PATCHGEN_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    time.tzset()
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Somebody Else")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "1 +0000")
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    old = os.umask(0o077)
    try:
        second = take(path)
    finally:
        os.umask(old)
        monkeypatch.undo()
        time.tzset()
    assert first == second
    assert len(first.commit) == 40


def test_unknown_release_is_dated_by_its_newest_file(tmp_path: Path) -> None:
    newer = member("qemu-5.2.0/README", b"x", mtime=MTIME + 5)
    later_link = member("qemu-5.2.0/link", type=tarfile.SYMTYPE, linkname="README", mtime=MTIME + 9)
    made = take(write_tar(tmp_path / "q.tar.xz", [newer, later_link]), date=None)
    assert made.date == MTIME + 5


def test_top_directory_is_cut_only_if_there_is_one(tmp_path: Path) -> None:
    with_top = take(write_tar(tmp_path / "a.tar.xz"))
    without = take(write_tar(tmp_path / "b.tar.xz", top=""))
    dotted = take(write_tar(tmp_path / "c.tar.xz", top="./qemu/"))
    assert with_top.commit == without.commit == dotted.commit


def test_hard_link_and_component(tmp_path: Path) -> None:
    hard = member("qemu-5.2.0/again", type=tarfile.LNKTYPE, linkname="qemu-5.2.0/configure")
    path = write_tar(tmp_path / "q.tar.xz", [hard])
    part = tmp_path / "part.tar.xz"
    with tarfile.open(part, "w:xz") as tar:
        info, data = member("slirp-1.0/README", b"slirp")
        tar.addfile(info, io.BytesIO(data))
    with locked(Ui(quiet=True)) as repo:
        parts = [Part("q", tar_entries(path)), Part("p", tar_entries(part), "slirp")]
        import_parts(repo, REF, parts, what="x", date=1, expect=None)
    listed = cache().line("ls-tree", "-r", REF).splitlines()
    assert any(x.startswith("100755") and x.endswith("\tagain") for x in listed)
    assert any(x.endswith("\tslirp/README") for x in listed)


@pytest.mark.parametrize(
    "bad",
    [
        member("../escape", b"x"),
        member("qemu-5.2.0/../../escape", b"x"),
        member("qemu-5.2.0/up", type=tarfile.SYMTYPE, linkname="../../etc/passwd"),
        member("qemu-5.2.0/sibling", type=tarfile.SYMTYPE, linkname="../other"),
        member("qemu-5.2.0/abs", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("qemu-5.2.0/hard", type=tarfile.LNKTYPE, linkname="../../etc/passwd"),
        member("qemu-5.2.0/dangling", type=tarfile.LNKTYPE, linkname="qemu-5.2.0/none"),
        member("qemu-5.2.0/docs/behind-a-link", b"x"),
        member("qemu-5.2.0/fifo", type=tarfile.FIFOTYPE),
        member("qemu-5.2.0/device", type=tarfile.CHRTYPE),
        member("qemu-5.2.0/new\nline", b"x"),
    ],
    ids=lambda x: x[0].name,
)
def test_hostile_member_is_refused(
    bad: tuple[tarfile.TarInfo, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "q.tar.xz", [bad])
    with pytest.raises(BadArchive):
        take(path)
    assert cache().commit_id(REF) is None
    # Python before 3.11.4 has no filter: the checks stand alone.
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(BadArchive):
        take(path)


def test_absolute_name_stays_inside(tmp_path: Path) -> None:
    with pytest.raises(BadArchive):
        take(write_tar(tmp_path / "q.tar.xz", [member("/etc/passwd", b"x")]))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.99])
def test_truncated_tarball(tmp_path: Path, keep: float) -> None:
    filler = member("qemu-5.2.0/filler", os.urandom(100_000))
    path = write_tar(tmp_path / "q.tar.xz", [filler])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(BadArchive) as caught:
        take(path)
    assert "\n" not in caught.value.message
    assert cache().commit_id(REF) is None


def test_tar_without_end_and_flipped_bit(tmp_path: Path) -> None:
    packed = write_tar(tmp_path / "q.tar.xz", [member("qemu-5.2.0/filler", os.urandom(50_000))])
    plain = tmp_path / "q.tar"
    with tarfile.open(packed) as tar:
        end = max(x.offset_data + (x.size + 511) // 512 * 512 for x in tar.getmembers())
    import lzma

    plain.write_bytes(lzma.decompress(packed.read_bytes())[:end])
    with pytest.raises(BadArchive, match="truncated"):
        take(plain)
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 1
    packed.write_bytes(data)
    with pytest.raises(BadArchive):
        take(packed)
    packed.write_bytes(b"this is no archive")
    with pytest.raises(BadArchive):
        take(packed)


def test_wrong_version_and_not_qemu(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "q.tar.xz")
    with pytest.raises(BadArchive, match=r"5\.2\.0, not 6\.0\.0"):
        take(path, expect="6.0.0")
    other = tmp_path / "o.tar"
    with tarfile.open(other, "w") as tar:
        tar.addfile(*[io.BytesIO(x) if isinstance(x, bytes) else x for x in member("a/b", b"c")])
    with pytest.raises(NotQemu):
        take(other)
    assert cache().commit_id(REF) is None


def test_directory_leaves_out_git_and_builds(tmp_path: Path) -> None:
    top = write_tree(tmp_path / "dir")
    write_tree(
        top, {**FILES, ".git/HEAD": b"x", "build/build.ninja": b"x", "build/deep/qemu.o": b"x"}
    )
    names = [x.path for x in directory_entries(top)]
    assert sorted(names) == sorted([*FILES, "docs"])


def test_killed_import_leaves_the_cache_usable(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "q.tar.xz")
    first = take(path)
    child = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from patchgen.source import archive\n"
        "from patchgen.source.cache import locked, temporary_directory\n"
        "from patchgen.ui import Ui\n"
        "def entries():\n"
        "    for i, entry in enumerate(archive.tar_entries(Path(sys.argv[1]))):\n"
        "        yield entry\n"
        "        if i == 3:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "with locked(Ui(quiet=True)) as repo, temporary_directory() as scratch:\n"
        "    (scratch / 'orig.tar').write_bytes(b'x')\n"
        "    archive.import_parts(repo, sys.argv[2], [archive.Part('q', entries())],\n"
        "                         what='a tarball', date=1, expect=None)\n"
    )
    other = "refs/patchgen/distro/v9.9.9"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(x for x in sys.path if x)}
    done = subprocess.run([sys.executable, "-c", child, str(path), other], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    repo = cache()
    assert repo.commit_id(other) is None
    assert repo.commit_id(REF) == first.commit
    # Locks that git itself left behind, as after a power cut.
    (repo.git_dir / f"{REF}.lock").write_bytes(b"")
    (repo.git_dir / "shallow.lock").write_bytes(b"")
    again = take(path)
    assert again == first
    assert repo.git("fsck").returncode == 0
    left = [x.name for x in repo.git_dir.parent.iterdir()]
    assert not [x for x in left if x.startswith("patchgen-tmp-")]
