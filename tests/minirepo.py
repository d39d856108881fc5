"""A git repository with a few files where QEMU has them, and a series that fits it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from patchgen.engine.facts import Fact
from patchgen.engine.series import About, Entry, Series
from patchgen.engine.spec import At, Edit, Insert, Patch

FILES: Mapping[str, bytes] = {
    "VERSION": b"5.2.0\n",
    "qapi/migration.json": b"##\n# @one:\n#\n# Since: 1.0\n##\n{ 'command': 'one' }\n",
    "softmmu/vl.c": b"int main_loop(void)\n{\n    run();\n    return 0;\n}\n",
    "util/odd.c": b"/* caf\xe9, not UTF-8 */\nvoid odd(void)\n{\n}\n",
}


def git(path: Path, *args: str, date: int = 1607442920) -> str:
    """Run git in *path* with fixed dates; returns its output."""
    env = {
        **os.environ,
        "GIT_AUTHOR_DATE": f"{date} +0000",
        "GIT_COMMITTER_DATE": f"{date} +0000",
    }
    done = subprocess.run(
        ["git", *args], cwd=path, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def make_repo(path: Path, files: Mapping[str, bytes] = FILES, tag: str = "v5.2.0") -> Path:
    """A repository at *path* whose only commit holds *files* and is called *tag*."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "master")
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "base")
    git(path, "tag", tag)
    return path


def patch(number: int, *edits: Edit, name: str = "patch") -> Entry:
    """A patch of a test's own series."""
    about = Patch(f"test: patch {number}", "Steve Sistare", "Why it is there.", edits)
    return Entry(number, f"{number:02}-{name}", about, {}, "")


def series(*entries: Entry, facts: Mapping[str, Fact] | None = None) -> Series:
    """A series of a test's own."""
    authors = {"Steve Sistare": "steven.sistare@oracle.com"}
    return Series(About("Test", 32, authors), entries, facts or {})


def two_patches() -> Series:
    """A series of two patches that fits :data:`FILES`."""
    return series(
        patch(
            1,
            Edit(
                why="call it",
                file="softmmu/vl.c",
                at=At(function="main_loop", call="run"),
                insert=Insert(before="prepare();"),
            ),
        ),
        patch(
            2,
            Edit(
                why="the command",
                file="qapi/migration.json",
                at=At(file="end"),
                insert=Insert(after="##\n# @two:\n##\n{ 'command': 'two' }\n"),
            ),
            Edit(
                why="more bytes than UTF-8 has",
                file="util/odd.c",
                at=At(function="odd"),
                insert=Insert(first="two();"),
            ),
            Edit(why="a file", file="util/new.c", create="int new_file;\n"),
        ),
    )
