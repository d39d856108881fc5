"""Gates that look at nothing but the mails and the commits' messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patchgen.branch import BranchRecord
from patchgen.commits import Credit
from patchgen.gates.record import Finding, Gate, GateResult, judged
from patchgen.git.repo import Identity, Repo
from patchgen.mails import Mail

_WIDTH = 76
_SUBJECT = re.compile(r"[a-z0-9][\w/.+-]*(, [\w/.+-]+)*: \S.*[^\s.]")
_TRAILER = re.compile(r"[A-Z][A-Za-z-]+: \S")
# git am would take these for the end of the message.
_CUTS = ("---", "diff -", "Index: ", "From ")
_FILES = re.compile(
    r"^ (\d+) files? changed(?:, (\d+) insertions?\(\+\))?(?:, (\d+) deletions?\(-\))?$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Message:
    """The message of a commit.

    :ivar author: as ``Name <address>``
    """

    number: int
    subject: str
    lines: tuple[str, ...]
    author: str


def messages(repo: Repo, record: BranchRecord) -> list[Message]:
    """The messages of the record's commits, as git has them."""
    found = []
    for patch in record.patches:
        if patch.commit:
            shown = repo.git(
                "log", "-1", "--encoding=UTF-8", "--format=%an <%ae>%n%B", patch.commit
            )
            author, subject, *lines = shown.stdout.decode("utf-8", "replace").split("\n")
            found.append(Message(patch.number, subject, tuple(lines), author))
    return found


def check_subjects(them: Sequence[Message]) -> GateResult:
    """Form of the subjects and messages: what the list and ``git am`` expect."""
    findings = []
    for one in them:
        if not _SUBJECT.fullmatch(one.subject):
            findings.append(Finding(one.number, f"not of the form 'area: what': {one.subject}"))
        if len(one.subject) > _WIDTH:
            findings.append(Finding(one.number, f"the subject is longer than {_WIDTH}"))
        body = [line for line in one.lines if not _TRAILER.match(line)]
        if not any(line.strip() for line in body):
            findings.append(Finding(one.number, "the message says nothing but its subject"))
        if one.lines and one.lines[0]:
            findings.append(Finding(one.number, "no empty line behind the subject"))
        findings += [
            Finding(one.number, f"a line is longer than {_WIDTH}: {line}")
            for line in body
            if len(line) > _WIDTH
        ]
        findings += [
            Finding(one.number, f"a line cuts the message off: {line}")
            for line in one.lines
            if line.startswith(_CUTS)
        ]
    return judged(Gate.SUBJECT, f"{len(them)} messages", tuple(findings))


def check_whitespace(them: Sequence[Message], mails: Sequence[Mail]) -> GateResult:
    """No line that is added, and none of a message, ends in white space."""
    findings = [
        Finding(one.number, f"the message has white space at the end of: {line}")
        for one in them
        for line in (one.subject, *one.lines)
        if line != line.rstrip()
    ]
    count = 0
    for mail in mails:
        if mail.number:
            for file, line, text in added_lines(mail):
                count += 1
                if text != text.rstrip():
                    what = f"{file}:{line}: white space at the end"
                    findings.append(Finding(mail.number, what))
    return judged(Gate.WHITESPACE, f"{count} added lines", tuple(findings))


def diff_of(mail: Mail) -> str:
    """The diff of a mail, without what is around it; Latin-1 keeps every byte apart."""
    text = mail.body.decode("latin-1")
    start = text.find("\ndiff --git ")
    return text[start + 1 :].rstrip("\n") + "\n" if start >= 0 else ""


def added_lines(mail: Mail) -> list[tuple[str, int, str]]:
    """File, number and text of each line that a mail adds."""
    from unidiff.patch import PatchSet

    return [
        (file.path, line.target_line_no or 0, line.value.rstrip("\n"))
        for file in PatchSet(diff_of(mail))
        for hunk in file
        for line in hunk
        if line.is_added
    ]


def check_dco(them: Sequence[Message], sender: Identity, credit: Credit) -> GateResult:
    """Each patch is signed off by who sends it, and by its author where that is somebody else."""
    findings = []
    for one in them:
        for who in dict.fromkeys((one.author, str(sender))):
            if f"Signed-off-by: {who}" not in one.lines:
                what = f"no Signed-off-by of {who}"
                if who == str(sender) and not credit.signoff:
                    what += "; --signoff adds it"
                findings.append(Finding(one.number, what))
    return judged(Gate.DCO, f"{len(them)} patches of {sender}", tuple(findings))


Totals = tuple[int, int, int]
"""Files, lines added, lines removed."""


def stated(mail: Mail) -> Totals | None:
    """What a mail's own diffstat says in its last line."""
    found = _FILES.findall(mail.body.decode("latin-1"))
    if not found:
        return None
    files, added, removed = found[0] if mail.number else found[-1]
    return int(files), int(added or 0), int(removed or 0)


def counted(diff: str) -> Totals:
    """What unidiff counts."""
    from unidiff.patch import PatchSet

    patch = PatchSet(diff, metadata_only=True)
    return len(patch), patch.added, patch.removed


def check_diffstat(mails: Sequence[Mail], whole: str) -> GateResult:
    """unidiff's totals of each mail and of the *whole* diff are what the diffstats say.

    :param whole: the diff from the base to the last patch
    """
    findings = []
    for mail in mails:
        wanted = counted(diff_of(mail)) if mail.number else counted(whole)
        said = stated(mail)
        if said != wanted:
            what = f"the diffstat says {_say(said)}, the diff has {_say(wanted)}"
            findings.append(Finding(mail.number, what))
    return judged(Gate.DIFFSTAT, _say(counted(whole)), tuple(findings))


def _say(totals: Totals | None) -> str:
    return "{} files, +{} -{}".format(*totals) if totals else "nothing"


def check_tree(scratch: Repo, record: BranchRecord, mails: Sequence[Mail]) -> GateResult:
    """The mails, applied to the base one after the other, give the tree of the branch."""
    index = scratch.git_dir / "index-of-mails"
    repo = Repo(scratch.git_dir, {**scratch.env, "GIT_INDEX_FILE": str(index)})
    repo.git("read-tree", record.base)
    trees: Mapping[int, str] = {patch.number: patch.tree for patch in record.patches}
    for mail in mails:
        if mail.number:
            words = ("apply", "--cached", "--whitespace=nowarn", "-")
            done = repo.git(*words, stdin=mail.content, check=False)
            if done.returncode != 0:
                said = done.stderr.decode("utf-8", "replace").partition("\n")[0]
                return judged(Gate.TREE, "", (Finding(mail.number, f"does not apply: {said}"),))
            if repo.line("write-tree") != trees[mail.number]:
                what = "applied, it gives another tree than its commit has"
                return judged(Gate.TREE, "", (Finding(mail.number, what),))
    return judged(Gate.TREE, f"tree {record.tree[:12]}")
