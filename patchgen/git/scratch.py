"""A scratch repository: refs and objects of its own, on top of the user's."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchgen.errors import GitFailed
from patchgen.git.repo import Repo


@contextmanager
def scratch_repo(repo: Repo) -> Iterator[Repo]:
    """A bare repository that sees all of *repo*'s objects and none of its refs.

    What is made in it vanishes with it, unless :func:`publish_objects` takes it over: until then
    the user's repository is not written to at all.
    """
    common = repo.common_dir()
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
        env = {**repo.env, "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(common / "objects")}
        yield Repo(scratch, env)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def publish_objects(scratch: Repo, repo: Repo) -> None:
    """Put the objects of a scratch repository into *repo*'s store.

    As git itself does it: each file under a temporary name first, and a pack before its index,
    without which it is not seen. The names are digests, so what is there already is the same.

    :raise GitFailed: the store cannot be written
    """
    source = scratch.git_dir / "objects"
    store = repo.common_dir() / "objects"
    files = [path for path in source.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: (path.suffix == ".idx", path)):
        target = store / path.relative_to(source)
        if target.exists():
            continue
        passing = target.with_name(f"tmp_patchgen_{os.getpid()}_{target.name}")
        try:
            target.parent.mkdir(exist_ok=True)
            with path.open("rb") as content, passing.open("xb") as copy:
                shutil.copyfileobj(content, copy)
                copy.flush()
                os.fsync(copy.fileno())
            passing.chmod(0o444)
            passing.replace(target)
        except OSError as exc:
            passing.unlink(missing_ok=True)
            raise GitFailed(
                f"{store} cannot be written: {exc.strerror}",
                "mend its permissions or make room; the repository was left as it was",
            ) from exc


def _quoted(path: Path) -> str:
    """A path for GIT_ALTERNATE_OBJECT_DIRECTORIES, which splits at colons unless quoted."""
    text = str(path)
    if ":" not in text and not text.startswith('"'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
