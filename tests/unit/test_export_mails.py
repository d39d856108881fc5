"""What `export` writes around the patches: versions, ids, threads, base, authors, range-diff."""

from __future__ import annotations

import mailbox
import re
import shutil
import subprocess
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from patchgen.baseline import BaseKind, baseline
from patchgen.cli import run
from patchgen.config import Config
from patchgen.engine.series import load_default_series
from patchgen.mails import OURS, key, split_address
from patchgen.source import tags
from patchgen.source.resolve import Base, resolve
from patchgen.source.tags import KnownTag
from patchgen.ui import Ui
from tests.fakeqemu import ERAS, fake_tree
from tests.minirepo import git, make_repo
from tests.unit.test_export import refused

ERA = ERAS["meson"]
SERIES = load_default_series()
COUNT = len(SERIES.entries)
STEVE = ("Steve Sistare", "steven.sistare@oracle.com")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repo(tmp_path / "qemu", fake_tree(ERA), ERA.tag)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def export(repo: Path, out: Path, *more: str, tag: str = ERA.tag, off: str = "all") -> int:
    return run(["export", tag, "--repo", str(repo), "-o", str(out), f"--no-gate={off}", *more])


def mails(out: Path, prefix: str = "0") -> list[Any]:
    paths = sorted(out.glob(f"{prefix}*.patch"))
    return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in paths]


def test_threading_and_ids_that_say_what_they_are(repo: Path, out: Path, tmp_path: Path) -> None:
    assert export(repo, out) == 0
    cover, *rest = mails(out)
    names = [mail["Message-ID"] for mail in (cover, *rest)]
    assert len(set(names)) == COUNT + 1
    assert cover["In-Reply-To"] is None and cover["References"] is None
    for entry, mail in zip(SERIES.entries, rest, strict=True):
        assert mail["In-Reply-To"] == mail["References"] == cover["Message-ID"]
        found = OURS.fullmatch(mail["Message-ID"])
        assert found and found["change"] == entry.change_id[1:13]
        assert found["version"] == "1" and int(found["number"]) == entry.number
        assert found["content"] == entry.content[:12]
        assert f"\nChange-Id: {entry.change_id}\nPatchgen: {entry.name}\n" in mail.get_content()
    # What is sent anew as another version, or with another text, has another id.
    assert export(repo, tmp_path / "2", "-v", "2") == 0
    assert not {mail["Message-ID"] for mail in mails(tmp_path / "2", "v2-0")} & set(names)


def test_change_ids_are_the_same_on_every_tag(tmp_path: Path) -> None:
    said = []
    for era in ERAS.values():
        repo = make_repo(tmp_path / era.name, fake_tree(era), era.tag)
        assert export(repo, tmp_path / "out" / era.name, tag=era.tag) == 0
        log = git(repo, "log", "--format=%(trailers:key=Change-Id,valueonly)", f"cpr/{era.tag}")
        said.append(log.split())
    assert said[0] == said[1] == said[2]
    assert len(set(said[0])) == COUNT
    assert all(re.fullmatch("I[0-9a-f]{40}", one) for one in said[0])


def test_the_mbox_is_the_mails(repo: Path, out: Path) -> None:
    assert export(repo, out) == 0
    box = mailbox.mbox(out / "series.mbox", create=False)
    assert len(box) == COUNT + 1
    git(repo, "checkout", "-q", "--detach", ERA.tag)
    git(repo, "am", "-q", "--empty=drop", str(out / "series.mbox"))
    assert git(repo, "rev-parse", "HEAD^{tree}") == git(
        repo, "rev-parse", f"cpr/{ERA.tag}^{{tree}}"
    )


def test_versions_live_side_by_side(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(repo, out) == 0
    first = {path.name: path.read_bytes() for path in out.iterdir() if path.name[0] != "."}
    assert export(repo, out, "-v2", "--upto=2") == 0
    assert f"git am --empty=drop {out}/v2-*.patch\n" in capsys.readouterr().out
    second = {path.name for path in out.iterdir()} - first.keys()
    assert len(second) == 5  # the list, the mbox, three mails
    assert all((out / name).read_bytes() == data for name, data in first.items())
    assert [str(mail["Subject"])[:15] for mail in mails(out, "v2-")] == [
        "[PATCH v2 0/2] ",
        "[PATCH v2 1/2] ",
        "[PATCH v2 2/2] ",
    ]
    # An export of the first version, now shorter, removes its own mails only.
    assert export(repo, out, "--upto=1") == 0
    assert len(list(out.glob("v2-*"))) == 4
    assert len(list(out.glob("0*.patch"))) == 1
    sums = subprocess.run(
        ["sha256sum", "--quiet", "-c", ".patchgen-sha256"],
        cwd=out,
        check=False,
        capture_output=True,
    )
    assert sums.returncode == 0, sums.stderr


@pytest.mark.parametrize("number", ["0", "-1", "1000", "two"])
def test_no_version(number: str, repo: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(repo, out, f"--reroll-count={number}") == 2
    refused(capsys, "PG101")


def test_a_cover_letter_by_default_for_more_than_one_patch(repo: Path, out: Path) -> None:
    for more, wanted in (
        (("--upto=1",), [1]),
        (("--upto=1", "--cover-letter"), [0, 1]),
        (("--upto=2",), [0, 1, 2]),
        (("--upto=2", "--no-cover-letter"), [1, 2]),
    ):
        shutil.rmtree(out, ignore_errors=True)
        assert export(repo, out, *more) == 0
        assert [int(path.name[:4]) for path in sorted(out.glob("*.patch"))] == wanted
    first, second = mails(out)
    assert second["In-Reply-To"] == first["Message-ID"]


@pytest.mark.parametrize("word", ["nobody", "a@b, c@d", "Name <a@b", "a b@c", "x\n@y", "<>", ""])
def test_wrong_addresses(
    word: str, repo: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(repo, out, f"--cc={word}") == 2
    refused(capsys, "PG101")
    assert not out.exists()


def test_addresses() -> None:
    assert split_address("A. B <a@b.example>") == ("A. B", "a@b.example")
    assert split_address('"B, A" <a@b>') == ("B, A", "a@b")
    assert split_address("a@b") == ("", "a@b")
    assert key("X <A@B>") == key("a@b") == "a@b"


def test_nothing_but_the_diff_is_not_ascii(tmp_path: Path, out: Path) -> None:
    """git says nothing of an encoding then, and `git send-email` would ask."""
    files = fake_tree(ERA)
    name = "migration/savevm.c"
    lines = files[name].split(b"\n")
    files[name] = b"\n".join(
        line + b" /* \xc3\xbc */" if line.endswith(b";") else line for line in lines
    )
    repo = make_repo(tmp_path / "q", files, ERA.tag)
    assert export(repo, out, off="compile,dco,checkpatch,maintainers") == 0
    with_it = [path for path in out.glob("*.patch") if not path.read_bytes().isascii()]
    assert with_it
    for path in with_it:
        assert path.read_bytes().count(b"\nContent-Transfer-Encoding: 8bit\n") == 1
    git(repo, "checkout", "-q", "--detach", ERA.tag)
    git(repo, "am", "-q", "--empty=drop", str(out / "series.mbox"))
    assert git(repo, "rev-parse", "HEAD^{tree}") == git(
        repo, "rev-parse", f"cpr/{ERA.tag}^{{tree}}"
    )


# --- whose ----------------------------------------------------------------------------------------


def _be(monkeypatch: pytest.MonkeyPatch, who: tuple[str, str]) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", who[0])
        monkeypatch.setenv(f"GIT_{role}_EMAIL", who[1])


def test_author_series_is_for_the_authors(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(repo, out, "--author=series") == 2
    assert "Test User <test@example.org>" in refused(capsys, "PG134")
    assert not out.exists() and "cpr/" not in git(repo, "branch")
    _be(monkeypatch, STEVE)
    off = "checkpatch,maintainers,compile"
    assert export(repo, out, "--author=series", "--signoff", off=off) == 0
    for mail in mails(out)[1:]:
        assert str(mail["From"]) == f"{STEVE[0]} <{STEVE[1]}>"
        text = mail.get_content()
        assert "Based-on-patch-by" not in text
        assert text.count("Signed-off-by: ") == 1


def test_the_other_author_signs_off_himself(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _be(monkeypatch, ("Mark Kanda", "mark.kanda@oracle.com"))
    off = "checkpatch,maintainers,compile"
    assert export(repo, out, "--author=series", "--signoff", "--upto=1", off=off) == 5
    said = capsys.readouterr().out
    assert "patch 1: no Signed-off-by of Steve Sistare <steven.sistare@oracle.com>\n" in said
    assert "Mark Kanda" not in said.partition("no Signed-off-by")[2]
    assert export(repo, out, "--author=series", "--upto=1", off="all") == 0
    (mail,) = mails(out)
    assert str(mail["From"]).startswith("Mark Kanda ")
    assert mail.get_content().startswith("From: Steve Sistare <steven.sistare@oracle.com>\n\n")


def test_based_on_patch_by_and_never_a_sign_off_of_others(repo: Path, out: Path) -> None:
    assert export(repo, out, "--signoff") == 0
    for entry, mail in zip(SERIES.entries, mails(out)[1:], strict=True):
        author = entry.patch.series_author
        who = f"{author} <{SERIES.about.authors[author]}>"
        assert f"\nBased-on-patch-by: {who}\n" in mail.get_content()
        signed = re.findall("^Signed-off-by: (.*)$", mail.get_content(), re.MULTILINE)
        assert signed == ["Test User <test@example.org>"]


# --- the base -------------------------------------------------------------------------------------


def _resolved(repo: Path, tag: str = ERA.tag) -> Base:
    return resolve(tag, repo=str(repo), source=None, config=Config(), ui=Ui(quiet=True))


def test_base_commit_is_upstreams_or_none(
    repo: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = git(repo, "rev-parse", ERA.tag)
    tags.known_tags.cache_clear()
    known = {ERA.tag: KnownTag(ERA.tag, upstream, 1607442919)}
    for module in ("patchgen.source.tags", "patchgen.baseline"):
        monkeypatch.setattr(f"{module}.known_tags", lambda: known)
    assert export(repo, out, "--upto=2") == 0
    text = mails(out)[0].get_content()
    assert f"\nbase-commit: {upstream}\n" in text

    def fork(name: str, content: str) -> Base:
        git(repo, "checkout", "-q", "--detach", ERA.tag)
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text(content, encoding="ascii")
        git(repo, "add", "-A")
        git(repo, "commit", "-qm", "fork")
        git(repo, "branch", "-f", "fork")
        return _resolved(repo, "fork")

    touched = ["migration/savevm.c", "new/file.c"]
    line = baseline(fork("untouched.c", "int x;\n"), touched, "nowhere")
    assert (line.kind, line.commit) == (BaseKind.SAME_FILES, upstream)
    # The fork already has a file that the series makes: not the same.
    line = baseline(fork("new/file.c", "int x;\n"), touched, "nowhere")
    assert (line.kind, line.commit) == (BaseKind.OTHER, "")
    line = baseline(fork("migration/savevm.c", "int x;\n"), touched, "nowhere")
    assert line.kind is BaseKind.OTHER
    fork("untouched.c", "int x;\n")
    assert export(repo, out, "--upto=2", tag="fork") == 0
    text = mails(out)[0].get_content()
    assert f"\nbase-commit: {upstream}\n" in text
    assert "All files that these patches touch are there as in upstream's commit" in text


def test_a_branch_of_upstreams_is_upstream(repo: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    base = _resolved(clone)
    assert baseline(base, [], str(repo)).kind is BaseKind.UPSTREAM
    assert baseline(base, [], "elsewhere").kind is BaseKind.OTHER


def test_no_path_of_this_machine_in_a_mail(repo: Path, out: Path, tmp_path: Path) -> None:
    assert export(repo, out) == 0
    directory = tmp_path / "plain"
    shutil.copytree(repo, directory, ignore=shutil.ignore_patterns(".git"))
    assert export(directory, tmp_path / "2") == 0
    for path in (*out.iterdir(), *(tmp_path / "2").iterdir()):
        assert str(tmp_path).encode() not in path.read_bytes(), path


# --- range-diff -----------------------------------------------------------------------------------


def test_range_diff_between_versions(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(repo, out, "-v2", "--range-diff=1") == 2
    assert "no version 1 of v5.2.0" in refused(capsys, "PG133")
    assert export(repo, out) == 0
    for old in ("1", "v1", f"cpr/{ERA.tag}"):
        assert export(repo, out, "-v2", "--signoff", "--range-diff", old) == 0
        text = mails(out, "v2-")[0].get_content()
        title = "v1" if old != f"cpr/{ERA.tag}" else old
        assert f"\nRange-diff against {title}:\n 1:  " in text
        # Signed off now: each patch is another one, and that is all.
        assert len(re.findall(r"^ *\d+:  \w{12} ! +\d+:  \w{12} ", text, re.MULTILINE)) == COUNT
        assert text.count("+    Signed-off-by: Test User") == COUNT
    git(repo, "checkout", "-q", "--detach", ERA.tag)
    git(repo, "am", "-q", "--empty=drop", *map(str, sorted(out.glob("v2-*.patch"))))
    assert git(repo, "rev-parse", "HEAD^{tree}") == git(
        repo, "rev-parse", f"cpr/{ERA.tag}^{{tree}}"
    )


def test_range_diff_between_tags(tmp_path: Path, out: Path) -> None:
    old, new = ERAS["make-rst"], ERAS["meson"]
    repo = make_repo(tmp_path / "qemu", fake_tree(old), old.tag)
    for path in repo.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, data in fake_tree(new).items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(data)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "new")
    git(repo, "tag", new.tag)
    assert export(repo, out, "--range-diff", old.tag, tag=new.tag) == 0
    text = mails(out)[0].get_content()
    assert f"\nRange-diff against the same series on {old.tag}:\n" in text
    for entry in SERIES.entries:
        assert (
            len(re.findall(rf"[=!<>] .*{re.escape(entry.patch.subject)}$", text, re.MULTILINE)) >= 1
        )


def test_range_diff_of_what_is_not_there(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(repo, out, "--range-diff=v9.9.9") == 2
    refused(capsys, "PG113")
    assert export(repo, out, "--range-diff=1", "--no-cover-letter") == 2
    refused(capsys, "PG101")
    assert not out.exists()
