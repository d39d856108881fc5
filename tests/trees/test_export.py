"""`export` of the distribution's 5.2, its own gates on; what the list's tools make of the mails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchgen.cli import run
from patchgen.engine.series import load_default_series
from tests.trees.test_series import base
from tests.unit.test_cli import checked

pytestmark = [pytest.mark.trees, pytest.mark.timeout(900), pytest.mark.xdist_group("trees")]

COUNT = len(load_default_series().entries)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture
def exported(home: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[dict[str, Any]]:
    """The record of `export` with all gates but the one that compiles; the mails are in home/out.

    What the user's repository holds besides is a clone of the distribution's tree.
    """
    repo = base("v5.2.0").repo
    clone, out = home / "clone", home / "out"
    if not clone.exists():
        clone.mkdir()
        git(clone, "clone", "-q", "--shared", "--no-checkout", str(repo.git_dir), ".")
    words = ["--to=qemu-devel@nongnu.org", "--signoff", "--no-gate=compile", "--json"]
    code = run(["export", base("v5.2.0").commit, "--repo", str(clone), "-o", str(out), *words])
    said = capsys.readouterr().out
    assert code == 0, said
    yield checked("export", said)["result"]


def git(place: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=place, check=True, capture_output=True)
    return done.stdout.decode().strip()


def tool(home: Path, *words: str) -> str:
    """What a program says, with a HOME of its own and no terminal."""
    done = subprocess.run(
        words,
        cwd=home,
        env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def applied(clone: Path, commit: str, mbox: Path) -> str:
    """The tree that `git am` gives."""
    git(clone, "checkout", "-q", "--force", "--detach", commit)
    git(clone, "am", "-q", "--empty=drop", str(mbox))
    return git(clone, "rev-parse", "HEAD^{tree}")


def test_all_quick_gates_pass(exported: dict[str, Any]) -> None:
    states = {gate["gate"]: gate["state"] for gate in exported["gates"]}
    assert states.pop("compile") == "off"
    assert set(states.values()) == {"passed"}
    assert len(exported["mails"]) == COUNT + 1


def test_the_base_is_a_distributions(exported: dict[str, Any], home: Path) -> None:
    assert exported["baseline"]["kind"] == "other"
    text = (home / "out/0000-cover-letter.patch").read_text("utf-8")
    assert "\nbase-commit: " not in text
    assert re.search(
        r"from\nthe distribution's qemu_5\.2\+dfsg[\w.+]*, commit\n[0-9a-f]{40}\.", text
    )


def test_maintainers_of_the_tag_get_a_copy(exported: dict[str, Any], home: Path) -> None:
    head = (home / "out/0001-savevm-add-vmstate-handler-iterators.patch").read_text("utf-8")
    head = head.partition("\n\n")[0]
    copies = head.partition("\nCc: ")[2].partition("\nMessage-ID")[0]
    assert copies.count("@") >= 2
    assert "qemu-devel@nongnu.org" not in copies


def test_git_am_gives_the_same_tree(exported: dict[str, Any], home: Path) -> None:
    tree = applied(home / "clone", exported["base"], home / "out" / exported["mbox"])
    assert tree == exported["tree"]


def test_b4_takes_the_mbox(exported: dict[str, Any], home: Path) -> None:
    """b4 finds all patches, in order, and adds the trailers of replies."""
    b4 = shutil.which("b4", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if b4 is None:
        pytest.skip("b4 is not installed: pip install b4")
    mbox = home / "thread.mbox"
    to = exported["mails"][2]["message_id"]
    reply = (
        "From x Mon Sep 17 00:00:00 2001\nFrom: Ann Other <ann@example.com>\n"
        f"Date: Wed, 9 Dec 2020 15:55:19 +0000\nSubject: Re: [PATCH 02/{COUNT}] a mail\n"
        f"Message-ID: <1@example.com>\nIn-Reply-To: {to}\nReferences: {to}\n\n"
        "Reviewed-by: Ann Other <ann@example.com>\n\n"
    )
    mbox.write_bytes((home / "out" / exported["mbox"]).read_bytes() + reply.encode())
    shutil.rmtree(home / "am", ignore_errors=True)
    said = tool(home, b4, "--offline-mode", "am", "-m", str(mbox), "-o", str(home / "am"))
    assert f"Total patches: {COUNT}" in said, said
    (found,) = (home / "am").glob("*.mbx")
    text = found.read_text("utf-8")
    assert text.count("\nReviewed-by: Ann Other <ann@example.com>\n") == 1
    assert applied(home / "clone", exported["base"], found) == exported["tree"]
    # The same thread, read by ourselves, is about the same patch.
    assert run(["trailers", str(mbox), "--dry-run", "-q"]) == 0


def test_git_send_email_takes_the_mails(exported: dict[str, Any], home: Path) -> None:
    if not Path(git(home, "--exec-path"), "git-send-email").exists():
        pytest.skip("git send-email is not installed: apt install git-email libmailtools-perl")
    paths = [str(home / "out" / mail["file"]) for mail in exported["mails"]]
    words = ("--dry-run", "--smtp-server=/bin/false", "--confirm=never", "--no-validate")
    said = tool(home, "git", "send-email", *words, *paths)
    assert said.count("Dry-OK. Log says:") == COUNT + 1
    assert "8bit, but do not declare" not in said
    first, *rest = exported["mails"]
    for mail in exported["mails"]:
        assert f"Message-Id: {mail['message_id']}\n" in said
    assert said.count(f"In-Reply-To: {first['message_id']}\n") == len(rest)


def test_the_same_bytes_again(exported: dict[str, Any], home: Path) -> None:
    assert [mail["changed"] for mail in exported["mails"]].count(True) in (0, COUNT + 1)
    sums = tool(home / "out", "sha256sum", "--quiet", "-c", ".patchgen-sha256")
    assert sums == ""


def test_range_diff_between_versions(
    exported: dict[str, Any], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not signed off any more: that is all that has changed."""
    argv = ["export", exported["base"], "--repo", str(home / "clone"), "-o", str(home / "out")]
    assert run([*argv, "-v2", "--no-gate=all", "--range-diff=1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    text = (home / "out" / result["mails"][0]["file"]).read_text("utf-8")
    assert "\nRange-diff against v1:\n" in text
    assert text.count("    -    Signed-off-by: ") == COUNT
