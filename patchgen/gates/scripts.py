"""Gates that are scripts of the tag's own: checkpatch.pl and get_maintainer.pl."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from patchgen.errors import GateUnavailable
from patchgen.gates.record import Accepted, Finding, Gate, GateResult, judged
from patchgen.git.repo import Repo
from patchgen.mails import Mail, key, split_address

_FOUND = re.compile(r"^(?:ERROR|WARNING): .*$")
_TOTAL = re.compile(r"^total: (\d+) errors, (\d+) warnings,", re.MULTILINE)
_SECONDS = 120
Tell = Callable[[float, str], None]
"""Progress: the share of the work that is done, and what is being done."""


@contextmanager
def _tree(repo: Repo, commit: str, script: str) -> Iterator[Path | None]:
    """A directory that a script takes for the top of the tree; ``None`` if it is not in the tree.

    Only the script and MAINTAINERS have contents, since nothing else is read.
    """
    with tempfile.TemporaryDirectory(prefix="patchgen-scripts-") as name:
        top = Path(name)
        if not _take(repo, commit, script, top):
            yield None
            return
        _take(repo, commit, "MAINTAINERS", top)
        listing = repo.git("ls-tree", "-z", commit).stdout.decode("utf-8", "surrogateescape")
        for line in listing.split("\0"):
            kind, _, path = line.partition("\t")
            if kind and not (top / path).exists():
                if kind.split()[1] == "blob":
                    (top / path).touch()
                else:
                    (top / path).mkdir()
        yield top


def _take(repo: Repo, commit: str, path: str, top: Path) -> bool:
    shown = repo.git("cat-file", "blob", f"{commit}:{path}", check=False)
    if shown.returncode != 0:
        return False
    (top / path).parent.mkdir(parents=True, exist_ok=True)
    (top / path).write_bytes(shown.stdout)
    return True


def _perl(
    gate: Gate, top: Path, words: Sequence[str], mail: Mail
) -> subprocess.CompletedProcess[str]:
    """Run a script on a mail in its tree; the user's own settings for it stay out."""
    path = top / ".mail"
    path.write_bytes(mail.content)
    try:
        return subprocess.run(
            ["perl", *words, path.name],
            cwd=top,
            env={**os.environ, "HOME": str(top), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise GateUnavailable(
            f"the gate {gate.value} needs perl, which is not installed",
            f"install the package perl, or name the gate off with --no-gate {gate.value}",
        ) from None
    except subprocess.TimeoutExpired:
        raise GateUnavailable(
            f"{words[0]} of this tree did not end on mail {mail.number} within {_SECONDS} s",
            f"look at it, or name the gate off with --no-gate {gate.value}",
        ) from None


def _missing(gate: Gate, script: str) -> GateResult:
    return judged(gate, script, (Finding(0, f"this tree has no {script}"),))


def check_checkpatch(
    repo: Repo,
    base: str,
    mails: Sequence[Mail],
    accepted: Mapping[int, Sequence[str]],
    tell: Tell,
) -> GateResult:
    """The base's own checkpatch.pl finds no error and no warning but what is accepted.

    :param accepted: number of a patch -> ``finding | reason``, from its file
    """
    script = "scripts/checkpatch.pl"
    findings: list[Finding] = []
    taken: list[Accepted] = []
    with _tree(repo, base, script) as top:
        if top is None:
            return _missing(Gate.CHECKPATCH, script)
        for index, mail in enumerate(mails):
            if not mail.number:
                continue
            tell(index / len(mails), f"checkpatch: {mail.name}")
            # The gate `dco` looks at sign-offs, so that each can be named off alone.
            words = (script, "--no-tree", "--no-color", "--no-signoff")
            done = _perl(Gate.CHECKPATCH, top, words, mail)
            if not _TOTAL.search(done.stdout):
                said = (done.stderr or done.stdout).strip().partition("\n")[0]
                findings.append(Finding(mail.number, f"checkpatch.pl did not finish: {said}"))
            for text in _found(done.stdout):
                reason = _reason(text, accepted.get(mail.number, ()))
                if reason is None:
                    findings.append(Finding(mail.number, text))
                else:
                    taken.append(Accepted(mail.number, text, reason))
    count = sum(1 for mail in mails if mail.number)
    return judged(Gate.CHECKPATCH, f"{count} patches", tuple(findings), tuple(taken))


def _found(output: str) -> Iterator[str]:
    """Each finding with its place, which checkpatch.pl writes into the next line."""
    lines = [*output.splitlines(), ""]
    for line, behind in pairwise(lines):
        if _FOUND.match(line):
            place = re.fullmatch(r"#\d+: FILE: (.*?):?", behind)
            yield f"{place[1]}: {line}" if place else line


def _reason(text: str, accepted: Sequence[str]) -> str | None:
    for one in accepted:
        what, _, reason = one.partition(" | ")
        if what and what in text:
            return reason
    return None


def _by_address(one: str) -> tuple[str, str]:
    return key(one), one


def find_maintainers(
    repo: Repo, head: str, mails: Sequence[Mail], tell: Tell
) -> tuple[GateResult, list[Mail]]:
    """Run get_maintainer.pl on each mail; the mails with who it names as Cc.

    The cover letter goes to all of them.

    :param head: the last commit, since the series may add itself to MAINTAINERS
    """
    script = "scripts/get_maintainer.pl"
    findings: list[Finding] = []
    copies: dict[int, tuple[str, ...]] = {}
    with _tree(repo, head, script) as top:
        if top is None:
            return _missing(Gate.MAINTAINERS, script), list(mails)
        for index, mail in enumerate(mails):
            if not mail.number:
                continue
            tell(index / len(mails), f"get_maintainer: {mail.name}")
            words = (script, "--no-git", "--no-git-fallback", "--no-rolestats", "--no-roles")
            done = _perl(Gate.MAINTAINERS, top, words, mail)
            found = [line.strip() for line in done.stdout.splitlines() if split_address(line)]
            if done.returncode != 0 or not found:
                said = done.stderr.strip().partition("\n")[0] or "it names nobody"
                findings.append(Finding(mail.number, f"get_maintainer.pl: {said}"))
            # The script's order is that of a hash, another one in each run.
            copies[mail.number] = tuple(sorted(found, key=_by_address))
    everybody = {key(one): one for them in copies.values() for one in them}
    copies[0] = tuple(sorted(everybody.values(), key=_by_address))
    result = judged(Gate.MAINTAINERS, f"{len(everybody)} addresses", tuple(findings))
    return result, [replace(mail, cc=copies[mail.number]) for mail in mails]
