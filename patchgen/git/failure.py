"""From what git says to an error of ours: what is wrong in one line, and what to do about it."""

from __future__ import annotations

import re

from patchgen.errors import GitFailed, ObjectsMissing, RepoLocked

_LOCK = re.compile(r"Unable to create '(.*\.lock)': File exists")
_LEFT = "the repository was left as it was"
_FIXES = {
    "No space left on device": f"make room on that file system; {_LEFT}",
    "Disk quota exceeded": f"make room on that file system; {_LEFT}",
    "Read-only file system": f"use a clone that can be written; {_LEFT}",
    "Permission denied": f"mend the permissions, or use a clone of your own; {_LEFT}",
}


def git_failure(verb: str, said: str, code: int) -> GitFailed:
    """The error for a git command that failed.

    :param verb: the command, such as ``update-ref``
    :param said: its standard error
    """
    lines = said.strip().splitlines()
    if lock := _LOCK.search(said):
        return RepoLocked(
            f"git {verb} failed: {lock[1]} exists",
            "wait for the git that is at work there; if none is, remove that file",
            "\n".join(lines),
        )
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    short = (fatal or lines[-1:] or [f"exit code {code}"])[0]
    if "promisor remote" in said:
        return ObjectsMissing(
            f"this is a partial clone, and its remote does not give the rest: {short}",
            "make its remote reachable, or use a clone that was made without --filter",
            "\n".join(lines),
        )
    fix = next(
        (fix for words, fix in _FIXES.items() if words in said), f"see git's message; {_LEFT}"
    )
    return GitFailed(f"git {verb} failed: {short}", fix, "\n".join(lines))
