"""The files of one commit, read without a checkout: what the era and its flags are decided by."""

from __future__ import annotations

from dataclasses import dataclass

from patchgen.git.repo import Repo


@dataclass(frozen=True)
class TreeFiles:
    """Read-only view of a tree object.

    :ivar tree: id of a commit or tree
    """

    repo: Repo
    tree: str

    def exists(self, path: str) -> bool:
        """Whether *path* is a file or directory with content here (a submodule is neither)."""
        kind = self.repo.git("cat-file", "-t", f"{self.tree}:{path}", check=False)
        return kind.stdout.strip() in {b"blob", b"tree"}

    def read(self, path: str) -> str:
        """The text of *path*; empty if there is no such file."""
        done = self.repo.git("cat-file", "blob", f"{self.tree}:{path}", check=False)
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""

    def gitlink(self, path: str) -> str | None:
        """The commit id of the submodule at *path*, ``None`` if it is not one."""
        fields = self.repo.line("ls-tree", self.tree, "--", path).split()
        return fields[2] if len(fields) > 2 and fields[1] == "commit" else None
