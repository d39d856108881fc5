"""The gates of `export`: each notices what it is for, can be named off, and writes nothing else."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patchgen.branch import BranchRecord
from patchgen.build.record import EachCommit, EachRecord
from patchgen.cli import run
from patchgen.commits import Credit
from patchgen.engine.series import load_default_series
from patchgen.errors import PatchBroken
from patchgen.gates.record import Gate, GateState
from patchgen.gates.run import gates_off
from patchgen.gates.texts import (
    Message,
    check_dco,
    check_diffstat,
    check_subjects,
    check_tree,
    check_whitespace,
)
from patchgen.git.repo import Identity, Repo
from patchgen.mails import Mail
from tests.fakeqemu import ERAS, fake_tree
from tests.minirepo import git, make_repo
from tests.unit.test_cli import checked

ERA = ERAS["meson"]
SERIES = load_default_series()
COUNT = len(SERIES.entries)
NAMES = [gate.value for gate in Gate]

# Ours, of the shape of QEMU's: what they answer stands in the tree.
CHECKPATCH = rb"""#!/usr/bin/perl
my $mail = pop @ARGV;
die "options: @ARGV\n" if "@ARGV" ne "--no-tree --no-color --no-signoff";
open(my $in, '<', $mail) or die; my $text = join('', <$in>);
if ($text =~ /^\+.*SAVEVM_FORALL_SAFE/m) {
    print "WARNING: long line\n#12: FILE: migration/savevm.c:7:\n+code\n\n";
}
print "total: 0 errors, 1 warnings, 9 lines checked\n";
"""
MAINTAINER = rb"""#!/usr/bin/perl
-f "MAINTAINERS" && -f "VERSION" && -d "migration" or die "not the top\n";
die "no\n" if grep { $_ eq '--git' } @ARGV;
my %them = ("Zo\xc3\xab One <one\@example.com>" => 1, "\"Q. Two\" <two\@example.com>" => 1,
            "list\@example.com" => 1);
print "$_\n" for keys %them;
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    files = {
        **fake_tree(ERA),
        "scripts/checkpatch.pl": CHECKPATCH,
        "scripts/get_maintainer.pl": MAINTAINER,
    }
    return make_repo(tmp_path / "qemu", files, ERA.tag)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def export(
    capsys: pytest.CaptureFixture[str], repo: Path, out: Path, *more: str, code: int = 0
) -> dict[str, Any]:
    """The result of `export`; the compile gate is off unless it is asked about."""
    argv = ["export", ERA.tag, "--repo", str(repo), "-o", str(out), "--json", *more]
    assert run(argv) == code
    result = checked("export", capsys.readouterr().out)["result"]
    assert isinstance(result, dict)
    return result


def states(result: dict[str, Any]) -> dict[str, str]:
    return {gate["gate"]: gate["state"] for gate in result["gates"]}


def test_all_gates_are_tried_in_order_and_each_can_be_named_off(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = export(capsys, repo, out, code=5)
    assert list(states(result)) == NAMES
    failed = {"dco": "PG513", "checkpatch": "PG517"}
    assert {g["gate"]: g["code"] for g in result["gates"] if g["code"]} == failed
    # The slow one is not tried where another has failed.
    assert states(result)["compile"] == "not-run"
    assert not out.exists() and result["mails"] == [] and result["mbox"] == ""
    result = export(capsys, repo, out, "--no-gate=dco,checkpatch", "--no-gate", "compile")
    assert {name for name, state in states(result).items() if state == "off"} == {
        "dco",
        "checkpatch",
        "compile",
    }
    assert {state for name, state in states(result).items()} == {"off", "passed"}
    assert len(result["mails"]) == COUNT + 1
    cover = (out / "0000-cover-letter.patch").read_text(encoding="utf-8")
    assert "on the sender's wish:\ndco, checkpatch, compile.\n" in cover


def test_the_text_says_what_is_wrong_where(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["export", ERA.tag, "--repo", str(repo), "-o", str(out), "--signoff", "-q"]
    assert run(argv) == 5
    said = capsys.readouterr().out
    assert "gate checkpatch  failed  PG517 " in said
    assert "  patch 1: migration/savevm.c:7: WARNING: long line\n" in said
    assert said.endswith("nothing was written; mend it, or --no-gate checkpatch\n")


def test_an_accepted_finding_passes_with_its_reason(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    def accepting(patch: Any) -> Any:
        why = ("WARNING: long line | a macro cannot be broken there",)
        return msgspec.structs.replace(patch, checkpatch=why)

    entries = tuple(replace(e, patch=accepting(e.patch)) for e in SERIES.entries)
    changed = replace(SERIES, entries=entries)
    monkeypatch.setattr("patchgen.engine.series.load_default_series", lambda: changed)
    result = export(capsys, repo, out, "--signoff", "--no-gate=compile")
    accepted = next(g for g in result["gates"] if g["gate"] == "checkpatch")["accepted"]
    assert {one["reason"] for one in accepted} == {"a macro cannot be broken there"}


def test_who_maintains_gets_a_copy(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    off = "--no-gate=checkpatch,dco,compile"
    export(capsys, repo, out, off, "--to=The List <LIST@example.com>", "--cc=me@example.net")
    for path in sorted(out.glob("*.patch")):
        head = path.read_text(encoding="utf-8").partition("\n\n")[0]
        assert head.isascii()
        assert "\nTo: The List <LIST@example.com>\n" in head
        # The list is reached by To already.
        wanted = '=?utf-8?q?Zo=C3=AB_One?= <one@example.com>,\n "Q. Two" <two@example.com>'
        assert f"\nCc: me@example.net,\n {wanted}\nMessage-ID: " in head


def test_a_tree_without_the_scripts(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = make_repo(tmp_path / "bare", fake_tree(ERA), ERA.tag)
    result = export(capsys, repo, out, "--signoff", code=5)
    found = {g["gate"]: [f["text"] for f in g["findings"]] for g in result["gates"]}
    assert found["checkpatch"] == ["this tree has no scripts/checkpatch.pl"]
    assert found["maintainers"] == ["this tree has no scripts/get_maintainer.pl"]


@pytest.mark.parametrize("script", ["checkpatch", "get_maintainer"])
def test_a_script_that_dies(
    script: str, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**fake_tree(ERA), f"scripts/{script}.pl": b'die "no way\\n";\n'}
    repo = make_repo(tmp_path / "bare", files, ERA.tag)
    result = export(capsys, repo, out, "--signoff", code=5)
    said = json.dumps([g["findings"] for g in result["gates"]])
    assert said.count("no way") == COUNT


def test_no_perl(
    repo: Path,
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    real = next(p for x in os.environ["PATH"].split(":") if (p := Path(x) / "git").exists())
    (tools / "git").symlink_to(real)
    monkeypatch.setenv("PATH", str(tools))
    assert run(["export", ERA.tag, "--repo", str(repo), "-o", str(out)]) == 5
    said = capsys.readouterr().err
    assert "patchgen: PG510: the gate maintainers needs perl" in said
    assert "--no-gate maintainers" in said
    assert not out.exists()


def test_unknown_gates(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("chekpatch", "", "dco,,tree"):
        assert run(["export", "v5.2.0", "-o", "x", "--no-gate", word]) == 2
        assert "patchgen: PG101: --no-gate" in capsys.readouterr().err
    assert gates_off(["dco, tree"]) == {Gate.DCO, Gate.TREE}
    assert gates_off(["all"]) == set(Gate)


# --- compile --------------------------------------------------------------------------------------


def _each(fail: bool) -> Any:
    def build(subject: Any, options: Any, config: Any, ui: Any) -> EachRecord:
        assert [patch.number for patch in subject.patches] == list(range(1, COUNT + 1))
        if fail:
            raise PatchBroken("patch 3 does not compile", "mend the patch")
        commits = tuple(
            EachCommit(p.number, p.subject, p.commit, p.tree, "cached", 1, 0, (), (), False, 0.1)
            for p in subject.patches
        )
        nowhere = Path("none")
        base = subject.base_commit
        return EachRecord(
            "t",
            "5.2.0",
            base,
            "objects",
            "era",
            "full",
            1,
            (),
            "cc",
            commits,
            nowhere,
            nowhere,
            1.0,
        )

    return build


def test_every_commit_is_compiled_last(
    repo: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchgen.build.each.build_each", _each(fail=True))
    off = "--no-gate=checkpatch,dco"
    result = export(capsys, repo, out, off, code=5)
    last = result["gates"][-1]
    assert (last["state"], last["code"]) == ("failed", "PG518")
    assert last["findings"] == [{"number": 0, "text": "patch 3 does not compile"}]
    assert not out.exists()
    monkeypatch.setattr("patchgen.build.each.build_each", _each(fail=False))
    result = export(capsys, repo, out, off)
    assert result["gates"][-1]["summary"] == f"{COUNT} commits, {COUNT} of them known"


def test_a_directory_that_is_of_no_use_is_found_before_the_slow_gate(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr("patchgen.build.each.build_each", never)
    (tmp_path / "file").write_text("mine", encoding="ascii")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "series.mbox").write_text("mine", encoding="ascii")
    for place, code in (("file", "PG130"), ("file/below", "PG130"), ("theirs", "PG131")):
        argv = ["export", ERA.tag, "--repo", str(repo), "-o", str(tmp_path / place)]
        assert run([*argv, "--no-gate=checkpatch,dco"]) == 2
        assert f"patchgen: {code}: " in capsys.readouterr().err
    assert (theirs / "series.mbox").read_text(encoding="ascii") == "mine"


# --- what the quick ones look for -----------------------------------------------------------------

ME = Identity("Me", "me@example.org")


def message(subject: str = "savevm: do it", *lines: str, author: str = str(ME)) -> Message:
    return Message(1, subject, lines or ("", "Why.", "", f"Signed-off-by: {ME}"), author)


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (message("Do it"), "not of the form"),
        (message("savevm: do it."), "not of the form"),
        (message("savevm: " + 70 * "x"), "longer than 76"),
        (message("savevm: do it", "", f"Signed-off-by: {ME}"), "says nothing"),
        (message("savevm: do it", "Why."), "no empty line"),
        (message("savevm: do it", "", "x" * 77), "longer than 76"),
        (message("savevm: do it", "", "Why.", "---", "More."), "cuts the message off"),
        (message("savevm: do it", "", "Why.", "From here on"), "cuts the message off"),
    ],
)
def test_subject(bad: Message, what: str) -> None:
    result = check_subjects([message(), bad])
    assert result.state is GateState.FAILED and result.code == "PG511"
    assert [what in one.text for one in result.findings] == [True]
    assert check_subjects([message("exec, memory: exec(3) to restart")]).state is GateState.PASSED


def patch_mail(diff: str, stat: str = " 1 file changed, 1 insertion(+)") -> Mail:
    text = f"From 0\nSubject: x\n\nWhy.\n---\n f | 1 +\n{stat}\n\n{diff}-- \nme\n"
    return Mail(1, "0001-x.patch", text.encode())


DIFF = "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1,2 @@\n one\n+{}\n"


def test_whitespace() -> None:
    good, bad = (patch_mail(DIFF.format(line)) for line in ("two", "two \t"))
    assert check_whitespace([message()], [good]).state is GateState.PASSED
    found = check_whitespace([message()], [bad]).findings
    assert [one.text for one in found] == ["f:2: white space at the end"]
    result = check_whitespace([message("savevm: do it", "", "Why. ")], [good])
    assert result.code == "PG512"


def test_dco_is_of_the_sender_and_of_the_author() -> None:
    signed = Credit(signoff=True)
    assert check_dco([message()], ME, signed).state is GateState.PASSED
    other = message(author="Mark <m@example.com>")
    (found,) = check_dco([other], ME, signed).findings
    assert found.text == "no Signed-off-by of Mark <m@example.com>"
    (found,) = check_dco([message("a: b", "", "Why.")], ME, Credit()).findings
    assert found.text.endswith("--signoff adds it")


def test_diffstat() -> None:
    good = patch_mail(DIFF.format("two"))
    cover = Mail(0, "0000", b"From 0\n\nText\n\n 1 file changed, 1 insertion(+)\n\n-- \nme\n")
    assert check_diffstat([cover, good], DIFF.format("two")).state is GateState.PASSED
    bad = patch_mail(DIFF.format("two"), " 1 file changed, 2 insertions(+)")
    (found,) = check_diffstat([cover, bad], DIFF.format("two")).findings
    assert found.text == "the diffstat says 1 files, +2 -0, the diff has 1 files, +1 -0"
    whole = DIFF.format("two") + DIFF.format("two").replace("f\n", "g\n")
    (found,) = check_diffstat([cover, good], whole).findings
    assert found.number == 0


def test_tree(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "r", {"f": b"one\n"}, "v1")
    wanted = tmp_path / "r" / "f"
    wanted.write_bytes(b"one\ntwo\n")
    git(repo, "commit", "-qam", "more")
    base, tree = git(repo, "rev-parse", "v1"), git(repo, "rev-parse", "HEAD^{tree}")

    def record(tree: str) -> BranchRecord:
        from patchgen.branch import BranchState, PatchRecord
        from patchgen.engine.generate import State

        patch = PatchRecord(1, "01-x", "x", State.APPLIED, "c", tree)
        state = BranchState.CREATED
        return BranchRecord("t", "1", "r", "", "", "b", state, base, "", tree, "", (patch,))

    at = Repo(repo / ".git")
    good = patch_mail(DIFF.format("two"))
    assert check_tree(at, record(tree), [good]).state is GateState.PASSED
    for mail, wrong in ((patch_mail(DIFF.format("three")), tree), (good, "0" * 40)):
        (found,) = check_tree(at, record(wrong), [mail]).findings
        assert "another tree" in found.text
    torn = patch_mail(DIFF.format("two").replace(" one", " eins"))
    (found,) = check_tree(at, record(tree), [torn]).findings
    assert "does not apply" in found.text
    assert not stat.S_IMODE((repo / ".git/index").stat().st_mode) & 0o111
