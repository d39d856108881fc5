"""A source directory that is moved from commit to commit, rewriting only what differs."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from patchgen.build.plan import Plan
from patchgen.build.prepare import complete_source, configure, export_source
from patchgen.build.record import Workdir
from patchgen.build.whole import write_json
from patchgen.git.repo import Repo
from patchgen.ui import Ui

_GITLINK = b"160000"
_SYMLINK = b"120000"


class _State(msgspec.Struct, frozen=True):
    """Which tree the source directory holds, and where a move that was cut off was going."""

    tree: str
    moving: str = ""


def _changes(repo: Repo, old: str, new: str) -> list[tuple[bytes, str, str]]:
    """What differs between two trees: (new mode, new blob, path); mode 000000 if it is gone."""
    out = repo.git("diff-tree", "-r", "-z", "--no-renames", old, new).stdout.split(b"\0")
    found = []
    for head, path in zip(out[0::2], out[1::2], strict=False):
        fields = head.split(b" ")
        name = path.decode("utf-8", "surrogateescape")
        found.append((fields[1], fields[3].decode("ascii"), name))
    return found


class Walk:
    """A work directory for ``--each``; survives being killed at any point."""

    def __init__(self, plan: Plan, repo: Repo, work: Workdir, ui: Ui) -> None:
        self.plan = plan
        self.work = work
        self._repo = repo
        self._ui = ui

    @property
    def _mark(self) -> Path:
        return self.work.home / "walk.json"

    def _state(self) -> _State | None:
        try:
            state = msgspec.json.decode(self._mark.read_bytes(), type=_State)
        except (OSError, msgspec.MsgspecError):
            return None
        known = self._repo.git("cat-file", "-e", state.tree, check=False).returncode == 0
        return state if known and self.work.source.is_dir() else None

    def _write(self, mode: bytes, blob: str, name: str) -> None:
        path = self.work.source / name
        if mode == _GITLINK:
            return
        if path.is_symlink() or path.is_file():
            path.unlink()
        if mode == b"000000":
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        data = self._repo.git("cat-file", "blob", blob).stdout
        if mode == _SYMLINK:
            path.symlink_to(data.decode("utf-8", "surrogateescape"))
        else:
            path.write_bytes(data)
            path.chmod(0o755 if mode == b"100755" else 0o644)

    def move_to(self, tree: str) -> None:
        """Make the source directory hold *tree*; files that are the same keep their times."""
        state = self._state()
        self.work.home.mkdir(parents=True, exist_ok=True)
        if state is None:
            self._mark.unlink(missing_ok=True)
            shutil.rmtree(self.work.build, ignore_errors=True)
            export_source(self.plan, self._repo, tree, self.work.source)
        else:
            write_json(self._mark, _State(state.tree, tree))
            names = {name for _, _, name in _changes(self._repo, state.tree, tree)}
            changes = _changes(self._repo, state.tree, tree)
            if state.moving and state.moving != tree:
                # Some of that move's files may be there: put them back or forward as well.
                cut = {name for _, _, name in _changes(self._repo, state.tree, state.moving)}
                both = _changes(self._repo, state.moving, tree)
                changes += [one for one in both if one[2] in cut - names]
            for change in changes:
                self._write(*change)
            complete_source(self.plan, self.work.source)
        write_json(self._mark, _State(tree))

    def configured(self) -> None:
        """Configure unless that was done here before.

        :raise BuildError: configure failed
        """
        mark = self.work.build / ".patchgen-configured"
        if not mark.is_file():
            configure(self.plan, self.work, self._ui)
            mark.touch()

    def clean(self) -> None:
        """Forget the build directory and the source directory."""
        self._mark.unlink(missing_ok=True)
        shutil.rmtree(self.work.build, ignore_errors=True)
