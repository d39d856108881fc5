"""A scratch repository: refs of its own, objects in the user's store or thrown away with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchgen.git.repo import Repo


@contextmanager
def scratch_repo(repo: Repo, *, keep_objects: bool) -> Iterator[Repo]:
    """A bare repository that sees all of *repo*'s objects and none of its refs.

    With *keep_objects* new objects go into *repo*'s store, where nothing refers to them until a
    ref of *repo* is set: a kill in between leaves the user's repository as it was. Without, they
    vanish with the scratch repository.
    """
    common = Path(repo.line("rev-parse", "--path-format=absolute", "--git-common-dir"))
    objects = common / "objects"
    scratch = Path(tempfile.mkdtemp(prefix="patchgen-git-"))
    try:
        (scratch / "refs").mkdir()
        (scratch / "objects").mkdir()
        (scratch / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
        (scratch / "config").write_text(
            "[core]\n\trepositoryformatversion = 0\n\tbare = true\n", encoding="ascii"
        )
        if (common / "shallow").is_file():
            shutil.copyfile(common / "shallow", scratch / "shallow")
        env = dict(repo.env)
        if keep_objects:
            env["GIT_OBJECT_DIRECTORY"] = str(objects)
        else:
            env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _quoted(objects)
        yield Repo(scratch, env)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _quoted(path: Path) -> str:
    """A path for GIT_ALTERNATE_OBJECT_DIRECTORIES, which splits at colons unless quoted."""
    text = str(path)
    if ":" not in text and not text.startswith('"'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
