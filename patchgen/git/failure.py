"""From what git says to an error of ours: what is wrong in one line, and what to do about it."""

from __future__ import annotations

import re

from patchgen.errors import (
    CacheError,
    GitFailed,
    ObjectsMissing,
    PatchgenError,
    RepoDamaged,
    RepoLocked,
    StorageError,
)
from patchgen.paths import cache_dir
from patchgen.storage import full_places

_LOCK = re.compile(r"Unable to create '(.*\.lock)': File exists")
_LEFT = "the repository was left as it was"
_FIXES = {
    "No space left on device": "make room on the file system of {where}",
    "Disk quota exceeded": "make room on the file system of {where}",
    "Read-only file system": "make {where} writable, or use another place",
    "Permission denied": "mend the permissions of {where}, or use a place of your own",
}
_DAMAGE = re.compile(
    r"does not match index|is corrupt|inflate: |not a git repository"
    r"|unable to read (?:tree|sha1|[0-9a-f]{40})|bad object|bad config"
    r"|packfile .* (?:cannot be|is far too|claims)|object file .* is empty"
    r"|hash mismatch|missing (?:blob|tree|commit)|could not parse|Invalid revision range"
)


def git_failure(verb: str, said: str, code: int, where: str) -> PatchgenError:
    """The error for a git command that failed.

    :param verb: the command, such as ``update-ref``
    :param said: its standard error
    :param where: the directory that it worked in
    """
    lines = said.strip().splitlines()
    detail = "\n".join(lines) if lines[1:] else ""
    if lock := _LOCK.search(said):
        return RepoLocked(
            f"git {verb} failed: {lock[1]} exists",
            "wait for the git that is at work there; if none is, remove that file",
            detail,
        )
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    short = (fatal or lines[-1:] or [f"exit code {code}"])[0]
    fixes = [fix.format(where=where) for words, fix in _FIXES.items() if words in said]
    if not lines and (full := full_places()):
        # There was no room even for what git had to say.
        short, fixes = "No space left on device", [f"make room in {full}"]
    if fixes:
        return StorageError(f"git {verb} failed: {short}", f"{fixes[0]}; {_LEFT}", detail)
    if "promisor remote" in said:
        return ObjectsMissing(
            f"this is a partial clone, and its remote does not give the rest: {short}",
            "make its remote reachable, or use a clone that was made without --filter",
            detail,
        )
    if _DAMAGE.search(said):
        return damaged(f"git {verb} failed: {short}", where, said)
    return GitFailed(f"git {verb} failed: {short}", f"see what git says; {_LEFT}", detail)


def damaged(why: str, where: str, said: str = "") -> PatchgenError:
    """The error for a repository at *where* that git cannot read; *said*, if it names another."""
    inside = re.search(
        rf"{re.escape(str(cache_dir()))}/(?:modules/)?[^/\s']+\.git", f"{where} {said}"
    )
    if inside:
        place = inside[0]
        return CacheError(
            f"the cache {place} is damaged: {why}", f"remove it (rm -r {place}), it is only a cache"
        )
    return RepoDamaged(
        f"{where} is damaged: {why}", "git fsck tells more; fetch anew, or use another clone", said
    )
