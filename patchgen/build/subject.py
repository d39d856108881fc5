"""What is built: a commit of QEMU's, with or without the series on top of it."""

from __future__ import annotations

from dataclasses import dataclass

from patchgen.git.repo import Repo


@dataclass(frozen=True)
class SubjectPatch:
    """One commit of the series as it stands in the repository.

    :ivar number: 1-based number in the series
    :ivar files: paths it touches, relative to the top of the tree
    """

    number: int
    subject: str
    commit: str
    tree: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class BuildSubject:
    """A commit to be built.

    :ivar tag: the tag as the user gave it
    :ivar version: content of the tree's VERSION file
    :ivar base_commit: the commit under the series; *commit* itself for a pristine build
    :ivar patches: the series from the base to *commit*, empty for a pristine build
    """

    repo: Repo
    tag: str
    version: str
    base_commit: str
    commit: str
    tree: str
    patches: tuple[SubjectPatch, ...] = ()

    @property
    def pristine(self) -> bool:
        """Whether this is the tree without the series."""
        return not self.patches


def touched(repo: Repo, commit: str) -> tuple[str, ...]:
    """The paths that *commit* changes against its parent."""
    out = repo.git("diff-tree", "-r", "-z", "--name-only", "--no-renames", f"{commit}^", commit)
    return tuple(
        name.decode("utf-8", "surrogateescape") for name in out.stdout.split(b"\0") if name
    )


def subject_of(
    repo: Repo, tag: str, base: str, commit: str | None = None, first: int = 1
) -> BuildSubject:
    """The subject of the commits ``base..commit``, numbered from *first*.

    :param base: commit id under the series
    :param commit: commit id of its last patch; ``None`` for the pristine tree
    """
    top = commit or base
    version = repo.git("show", f"{top}:VERSION", check=False).stdout.decode("utf-8", "replace")
    patches = []
    ids = repo.line("rev-list", "--reverse", "--first-parent", f"{base}..{top}").split()
    for number, one in enumerate(ids, first):
        tree, _, subject = repo.line("log", "-1", "--format=%T %s", one).partition(" ")
        patches.append(SubjectPatch(number, subject, one, tree, touched(repo, one)))
    tree = repo.line("rev-parse", f"{top}^{{tree}}")
    return BuildSubject(repo, tag, version.strip(), base, top, tree, tuple(patches))
