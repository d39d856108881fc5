"""Command lines that run QEMU with fewer rights, or in a place with other file systems."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from patchgen.live.waiting import LIMIT, Skipped


def _works(words: list[str]) -> bool:
    try:
        done = subprocess.run(words, capture_output=True, check=False, timeout=LIMIT)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def unprivileged(argv: list[str]) -> list[str]:
    """A command line whose process may do no more to files than their modes allow.

    :raise Skipped: we are root and cannot give up its rights
    """
    if os.geteuid() != 0:
        return argv
    words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if not _works([*words, "true"]):
        raise Skipped("root may write to any directory, and setpriv cannot take that from it")
    return [*words, *argv]


def with_tmpfs(argv: list[str], **mounts: str) -> list[str]:
    """A command line whose process sees a tmpfs in each directory: name -> mount options.

    The mounts are in a name space of the process and end with it; see :func:`seen_by`.

    :raise Skipped: nothing may be mounted here
    """
    return _mounted(
        argv, *(f"mount -t tmpfs -o {options} none ./{name}" for name, options in mounts.items())
    )


def with_program(argv: list[str], program: str) -> list[str]:
    """A command line whose process finds the file *program* of its directory in ``/usr/bin``.

    Whatever else is there is still there, as links.

    :raise Skipped: nothing may be mounted here
    """
    return _mounted(
        argv,
        "mkdir -p usr-bin more-bin",
        "mount --bind /usr/bin usr-bin",
        "mount -t tmpfs none more-bin",
        'ln -s "$PWD"/usr-bin/* more-bin/',
        f"cp ./{program} more-bin/",
        "mount --bind more-bin /usr/bin",
    )


def _mounted(argv: list[str], *commands: str) -> list[str]:
    script = "; ".join(["set -e", *commands, 'exec "$@"'])
    for words in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        if _works([*words, "mount", "-t", "tmpfs", "none", "/tmp"]):
            return [*words, "sh", "-c", script, "sh", *argv]
    raise Skipped("nothing may be mounted, neither as this user nor in a user name space")


def seen_by(pid: int, path: Path) -> Path:
    """The file or directory that process *pid* calls *path*."""
    return Path(f"/proc/{pid}/root") / path.absolute().relative_to("/")
