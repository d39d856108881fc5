"""Mails: what git makes of them again, what they say, and what stays in their directory."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from patchgen import __version__
from patchgen.cli import run
from patchgen.cover import numbers_text
from patchgen.engine.series import load_default_series
from patchgen.export import LIST
from tests.fakeqemu import ERAS, fake_tree
from tests.minirepo import git, make_repo
from tests.unit.test_cli import checked

ERA = ERAS["meson"]
SERIES = load_default_series()
COUNT = len(SERIES.entries)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repo(tmp_path / "qemu", fake_tree(ERA), ERA.tag)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "a new" / "directory"


def export(repo: Path, out: Path, *more: str) -> int:
    return run(["export", ERA.tag, "--repo", str(repo), "-o", str(out), "--no-gate=all", *more])


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def mail(path: Path) -> EmailMessage:
    parsed = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def refused(capsys: pytest.CaptureFixture[str], code: str) -> str:
    """What was said: one line with the code and one with the fix."""
    said = capsys.readouterr()
    lines = [x for x in said.err.splitlines() if re.match("patchgen: (PG|fix)", x)]
    assert said.out == ""
    assert [line.split(": ")[1] for line in lines] == [code, "fix"], said.err
    return "\n".join(lines)


@pytest.mark.parametrize("era", ERAS.values(), ids=ERAS)
def test_git_am_of_the_files_gives_the_same_tree(era: Any, tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "qemu", fake_tree(era), era.tag)
    out = tmp_path / "out"
    argv = ["export", era.tag, "--repo", str(repo), "-o", str(out)]
    assert run([*argv, "--no-gate", "compile,dco,checkpatch,maintainers"]) == 0
    mails = sorted(out.glob("*.patch"))
    assert [path.name[:5] for path in mails] == [f"{n:04}-" for n in range(COUNT + 1)]
    git(repo, "checkout", "-q", "--detach", era.tag)
    git(repo, "am", "-q", "--empty=drop", *map(str, mails))
    branch = f"cpr/{era.tag}"
    assert git(repo, "rev-parse", "HEAD^{tree}") == git(repo, "rev-parse", f"{branch}^{{tree}}")
    assert git(repo, "rev-list", "--count", f"{era.tag}..HEAD") == str(COUNT)


def test_the_missing_branch_is_made_and_all_is_told(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(repo, out, "--json") == 0
    result = checked("export", capsys.readouterr().out)["result"]
    assert (result["state"], result["branch"]) == ("created", f"cpr/{ERA.tag}")
    assert git(repo, "rev-parse", result["branch"]) == result["head"]
    subjects = [entry.patch.subject for entry in SERIES.entries]
    assert [m["subject"] for m in result["mails"]] == ["Live Update", *subjects]
    assert [m["number"] for m in result["mails"]] == list(range(COUNT + 1))
    assert {m["file"] for m in result["mails"]} == set(contents(out)) - {LIST, "series.mbox"}
    assert [m["change"] for m in result["mails"]] == ["", *(e.change_id for e in SERIES.entries)]
    assert {gate["state"] for gate in result["gates"]} == {"off"}
    assert export(repo, out) == 0
    said = capsys.readouterr().out
    assert said.count("unchanged ") == COUNT + 1
    assert said.splitlines()[-1] == f"git am --empty=drop '{out}'/[0-9]*.patch"


def test_the_cover_letter(repo: Path, out: Path) -> None:
    assert export(repo, out) == 0
    cover = mail(out / "0000-cover-letter.patch")
    width = len(str(COUNT))
    assert cover["Subject"] == f"[PATCH {0:0{width}}/{COUNT}] Live Update"
    assert cover["From"] == "Test User <test@example.org>"
    text = cover.get_content()
    base = git(repo, "rev-parse", ERA.tag)
    said = f"QEMU {ERA.version} ({ERA.tag}) from\nthe sender's repository, commit\n{base}."
    assert said in text
    assert "\nbase-commit: " not in text
    assert "on the sender's wish:\nsubject, whitespace, dco, diffstat" in text
    for line in text.partition("After the series by")[0].splitlines():
        assert len(line) <= 80, line
    assert f"generated for this tree by patchgen {__version__}" in text
    assert f"Test User ({COUNT}):" in text
    sent = {e.patch.subject for e in SERIES.entries}
    for author, count in (("Mark Kanda", 5), ("Steve Sistare", 27)):
        assert f"\n{author} ({count}):\n" in text
        for subject in SERIES.about.shortlog[author]:
            assert f"\n  {subject}{'' if subject in sent else ' [not here]'}\n" in text
    # Both transcripts, as tables that are not torn.
    assert text.count("window 1") == text.count("VM status: paused (prelaunch)") == 2
    assert "cprsave /tmp/qemu.sav reboot" in text and "cprsave /tmp/qemu.sav restart" in text
    assert {line.index(" |") for line in text.splitlines() if line.count(" |") == 1} >= {46}
    if SERIES.about.total > COUNT:
        assert "This is a part of the series" in text
    stat = git(repo, "diff", "--shortstat", ERA.tag, f"cpr/{ERA.tag}")
    assert stat in text
    assert "*** " not in text and "@" not in text.replace("test@example.org", "")
    assert text.rstrip().endswith(f"patchgen {__version__}")


def test_the_authors_have_32_patches() -> None:
    shortlog = SERIES.about.shortlog
    assert {name: len(subjects) for name, subjects in shortlog.items()} == {
        "Mark Kanda": 5,
        "Steve Sistare": 27,
    }
    assert SERIES.about.total == 32 and set(shortlog) == set(SERIES.about.authors)
    for entry in SERIES.entries:
        assert entry.patch.subject in shortlog[entry.patch.series_author]


def test_the_cover_letter_of_a_part(repo: Path, out: Path) -> None:
    assert export(repo, out, "--upto", "3") == 0
    text = mail(out / "0000-cover-letter.patch").get_content()
    assert "these are here:\n1 to 3.\n" in text
    assert "with reboot mode (patches 1 to 9, without 4 to 9)" in text
    assert "restart mode, not here." in text
    assert len(list(out.glob("*.patch"))) == 4


def test_what_a_tree_has_already(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", ERA.tag, "--repo", str(repo), "--upto", "2"]) == 0
    at = ["--repo", str(repo), "-o", str(tmp_path / "out")]
    at += ["--no-gate", "all"]
    assert run(["export", f"cpr/{ERA.tag}", *at]) == 0
    text = mail(tmp_path / "out" / "0000-cover-letter.patch").get_content()
    assert "so there is no mail for them: 1, 2." in text
    assert len(list((tmp_path / "out").glob("*.patch"))) == COUNT - 1
    capsys.readouterr()
    none = ["-o", str(tmp_path / "none"), "--upto=2"]
    assert run(["export", f"cpr/{ERA.tag}", *at[:2], *none]) == 2
    refused(capsys, "PG132")
    assert not (tmp_path / "none").exists()


def test_the_same_bytes_whatever_the_repository_and_its_configuration(
    repo: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(repo, out) == 0
    other = make_repo(tmp_path / "öther repo", fake_tree(ERA), ERA.tag)
    odd = tmp_path / "gitconfig"
    odd.write_text(
        "[format]\nthread = deep\nattach = x\nsubjectPrefix = RFC\nsuffix = .eml\nfrom = a@b.c\n"
        "to = list@example.org\nsignature = me\ncoverLetter = false\noutputDirectory = nowhere\n"
        "[diff]\nnoprefix = true\ncontext = 9\nalgorithm = patience\nstatGraphWidth = 9\n"
        "[core]\nabbrev = 40\nquotePath = false\n[i18n]\nlogOutputEncoding = latin1\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(odd))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "format.signature")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "x")
    monkeypatch.setenv("GIT_DIFF_OPTS", "-u0")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1500000000 +0900")
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    monkeypatch.setenv("COLUMNS", "40")
    (other / ".git/info/attributes").write_text("*.c -diff\n", encoding="ascii")
    assert export(other, tmp_path / "2") == 0
    assert contents(tmp_path / "2") == contents(out)
    assert (tmp_path / "2" / LIST).is_file()


def test_the_list_is_one_for_sha256sum(repo: Path, out: Path) -> None:
    assert export(repo, out) == 0
    lines = (out / LIST).read_text(encoding="ascii").splitlines()
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert len(lines) == COUNT + 2  # the cover letter, the mbox


def test_signoff_is_the_users(repo: Path, out: Path) -> None:
    assert export(repo, out, "--signoff") == 0
    for path in sorted(out.glob("*.patch"))[1:]:
        assert "\nSigned-off-by: Test User <test@example.org>\n---\n" in mail(path).get_content()


def test_an_author_who_is_not_ascii(repo: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Zoë Müller")
    assert export(repo, out, "--signoff") == 0
    for path in sorted(out.glob("*.patch")):
        assert mail(path)["From"] == "Zoë Müller <test@example.org>"
    git(repo, "checkout", "-q", "--detach", ERA.tag)
    git(repo, "am", "-q", "--empty=drop", *map(str, sorted(out.glob("*.patch"))))
    assert git(repo, "log", "-1", "--format=%an") == "Zoë Müller"


# --- the directory ------------------------------------------------------------------------------


def test_other_files_stay_and_stale_mails_go(repo: Path, out: Path) -> None:
    assert export(repo, out) == 0
    (out / "notes.txt").write_text("mine", encoding="ascii")
    (out / "sub").mkdir()
    (out / "0077-mine.patch").write_text("mine", encoding="ascii")
    last = sorted(out.glob("000*.patch"))
    last[-1].write_text("changed by me", encoding="ascii")
    assert export(repo, out, "--upto", "2") == 0
    left = {path.name for path in out.iterdir()}
    mails = {path.name for path in last[:3]}
    more = {"notes.txt", "sub", "0077-mine.patch", "series.mbox"}
    assert left == {LIST, last[-1].name, *more, *mails}
    assert last[-1].read_text(encoding="ascii") == "changed by me"
    assert (out / "0077-mine.patch").read_text(encoding="ascii") == "mine"


@pytest.mark.parametrize("what", ["foreign", "changed", "link", "folder"])
def test_what_patchgen_did_not_write_needs_force(
    what: str, repo: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "changed":
        assert export(repo, out) == 0
    out.mkdir(parents=True, exist_ok=True)
    place = out / "0001-savevm-add-vmstate-handler-iterators.patch"
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("mine", encoding="ascii")
    if what == "folder":
        place.mkdir()
    elif what == "link":
        place.symlink_to(elsewhere)
    else:
        place.write_text("mine", encoding="ascii")
    before = {path.name for path in out.iterdir()}
    capsys.readouterr()
    assert export(repo, out) == 2
    assert place.name in refused(capsys, "PG131")
    assert {path.name for path in out.iterdir()} == before
    if what == "folder":
        assert export(repo, out, "--force") == 2
        refused(capsys, "PG130")
        assert place.is_dir()
        return
    assert place.read_text(encoding="ascii") == "mine"
    assert export(repo, out, "--force") == 0
    assert not place.is_symlink()
    assert "handler iterators" in mail(place)["Subject"]
    assert elsewhere.read_text(encoding="ascii") == "mine"


def test_a_directory_that_is_a_file(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="ascii")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert export(repo, place) == 2
        refused(capsys, "PG130")
    assert (tmp_path / "file").read_text(encoding="ascii") == "mine"


def test_drift_makes_no_directory(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**fake_tree(ERA), "migration/savevm.c": b"int nothing;\n"}
    repo = make_repo(tmp_path / "qemu", files, ERA.tag)
    assert export(repo, out) == 3
    refused(capsys, "PG350")
    assert not out.exists()


def test_killed_while_it_moves_mails_into_place(repo: Path, out: Path) -> None:
    """Killed at one of its renames; the next run takes it for its own work, not a user's."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom patchgen.cli import run\n"
        "left, real = int(sys.argv[1]), Path.replace\n"
        "def replace(self, target):\n"
        "    global left\n    left -= 1\n"
        "    if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(self, target)\n"
        "Path.replace = replace\nsys.exit(run(sys.argv[2:]))\n"
    )
    argv = ["export", ERA.tag, "--repo", str(repo), "-o", str(out), "--no-gate=all"]
    for after in (2, 5, COUNT + 2):
        # Each time all mails are other ones than before, and more or fewer.
        more = ["--signoff"] if after % 2 else ["--upto", "2"]
        words = [sys.executable, "-c", code, str(after), *argv, *more]
        done = subprocess.run(words, env=dict(os.environ), capture_output=True, check=False)
        assert done.returncode in (-9, 0), done.stderr
        upto = ["--upto", "3"] if after % 2 else []
        assert run([*argv, *upto]) == 0
        wanted = 4 if after % 2 else COUNT + 1
        assert len(list(out.glob("*.patch"))) == wanted
        left = sorted(x.name for x in out.iterdir() if x.suffix != ".patch")
        assert left == [LIST, "series.mbox"]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([3], "3"),
        ([1, 2], "1, 2"),
        ([1, 2, 3], "1 to 3"),
        ([1, 3, 4, 5, 9], "1, 3 to 5, 9"),
    ],
)
def test_numbers(numbers: list[int], text: str) -> None:
    assert numbers_text(numbers) == text
