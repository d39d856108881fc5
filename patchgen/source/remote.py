"""Other people's git repositories: what they have, and one tag of it fetched into the cache.

This is where GitPython serves: reading git's progress. It is imported only when a network is about
to be used.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from patchgen.children import child, end
from patchgen.git.failure import git_failure
from patchgen.git.repo import Repo, git_environment
from patchgen.ui import Meter, Ui

if TYPE_CHECKING:
    from git.remote import RemoteProgress

LIST_TIMEOUT = 60.0
"""Seconds until a server that does not answer counts as unreachable."""

# What git accepts in a ref that a server could have; keeps globs and refspec syntax out.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]*")
_FULL_ID = re.compile(r"[0-9a-f]{40}")


class RemoteFailed(Exception):
    """git could not talk to a server: *reason*, one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def shown(url: str) -> str:
    """The URL without a user's name and password, for messages."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def namespace(url: str) -> str:
    """The part of the cache's refs that belongs to a ``--repo URL``: ``url-`` and a digest."""
    return f"url-{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def _reason(said: str, url: str) -> str:
    """The one line of git's messages that says why."""
    lines = [x.strip() for x in said.splitlines() if x.strip()]
    fatal = [x for x in lines if x.startswith(("fatal:", "error:", "ssh:", "ERROR:"))]
    line = (fatal or lines or ["git failed"])[0]
    return line.partition(": ")[2].replace(url, shown(url)) if ": " in line else line


def _environment() -> dict[str, str]:
    # Never ask on the terminal; give up on a transfer that stands still for a minute.
    return {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": os.environ.get("GIT_ASKPASS", "true"),
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
        "GIT_HTTP_LOW_SPEED_TIME": "60",
        "LC_ALL": "C.UTF-8",
    }


def _git(*words: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A git process that talks to a server, its helpers with it."""
    return child(
        ["git", *words],
        env=git_environment(_environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )


def list_refs(url: str, *patterns: str) -> dict[str, str]:
    """What a server has: ref -> id (an annotated tag's commit, not the tag object).

    :raise RemoteFailed: the server cannot be reached, or is no repository
    """
    with _git("ls-remote", "--", url, *patterns) as process:
        try:
            out, said = process.communicate(timeout=LIST_TIMEOUT)
        except subprocess.TimeoutExpired:
            end(process)
            raise RemoteFailed(f"no answer within {LIST_TIMEOUT:.0f} s") from None
    if process.returncode != 0:
        raise RemoteFailed(_reason(said, url))
    refs: dict[str, str] = {}
    for line in out.splitlines():
        commit, _, ref = line.partition("\t")
        # The peeled entry follows its tag and overwrites it.
        refs[ref.removesuffix("^{}")] = commit
    return refs


def _watcher(meter: Meter) -> RemoteProgress:
    from git.remote import RemoteProgress

    class _Watcher(RemoteProgress):  # type: ignore[misc, unused-ignore]
        def update(
            self,
            op_code: int,
            cur_count: str | float,
            max_count: str | float | None = None,
            message: str = "",
        ) -> None:
            total = float(max_count) if max_count else None
            meter.update(float(cur_count or 0), total, message)

    return _Watcher()


def fetch(repo: Repo, url: str, refspec: str, ui: Ui) -> None:
    """Fetch one refspec, its newest commit alone, into *repo*; to be called under the lock.

    :raise RemoteFailed: the transfer failed; no ref was changed
    :raise StorageError: there is no room for it
    """
    from git.cmd import handle_process_output

    with ui.progress(f"fetching from {shown(url)}") as meter:
        watcher = _watcher(meter)
        with _git(
            *("--git-dir", str(repo.git_dir), "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
            *("fetch", "--depth=1", "--no-tags", "--no-write-fetch-head", "--progress"),
            *("--", url, refspec),
        ) as process:
            # git rewrites its progress line with carriage returns, so text mode and its newlines.
            handle_process_output(
                process, None, watcher.new_message_handler(), decode_streams=False
            )
    if process.returncode != 0:
        said = "\n".join(watcher.error_lines) or f"git fetch ended with {process.returncode}"
        if "No space left on device" in said:
            raise git_failure("fetch", said, process.returncode, str(repo.git_dir))
        raise RemoteFailed(_reason(said, url))


def fetch_name(repo: Repo, url: str, space: str, name: str, known: str, ui: Ui) -> str | None:
    """Fetch the tag, branch or full commit id *name*; ``None`` if the server has none such.

    :param space: the cache's part for this server
    :param known: the commit that the tag has upstream, ``""`` if unknown; it is asked for by id
        where the server lacks the tag
    :return: the ref that now holds it
    :raise RemoteFailed: the server cannot be reached, or the transfer failed
    """
    if not _NAME.fullmatch(name) or ".." in name:
        return None
    by_id = name if _FULL_ID.fullmatch(name) else ""
    refs = list_refs(url, f"refs/tags/{name}", f"refs/tags/{name}^{{}}", f"refs/heads/{name}")
    for kind in ("tags", "heads"):
        if f"refs/{kind}/{name}" in refs:
            target = f"refs/patchgen/{space}/{kind}/{name}"
            fetch(repo, url, f"+refs/{kind}/{name}:{target}", ui)
            return target
    by_id = by_id or known
    if not by_id:
        return None
    target = f"refs/patchgen/{space}/ids/{by_id}"
    try:
        fetch(repo, url, f"+{by_id}:{target}", ui)
    except RemoteFailed as exc:
        # What servers say of an id that they do not have, or that no ref of theirs reaches.
        if re.search("not our ref|unadvertised object|couldn't find remote ref", exc.reason):
            return None
        raise
    return target


def release_tags(url: str) -> list[str]:
    """The names of a server's tags.

    :raise RemoteFailed: the server cannot be reached
    """
    return [x.removeprefix("refs/tags/") for x in list_refs(url, "refs/tags/v*")]


def local_tags(repo: Repo) -> list[str]:
    """The names of the tags of a repository on this machine, by GitPython."""
    from git import Repo as GitRepo

    with GitRepo(str(repo.git_dir)) as opened:
        return [tag.name for tag in opened.tags]
