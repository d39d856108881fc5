"""Commits: made from the engine's results while it still works, and read back as git has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

from patchgen.background import Background
from patchgen.engine.fragment import warm_up
from patchgen.engine.generate import PatchResult, State, generate_each
from patchgen.engine.series import Entry, Series
from patchgen.engine.tree import Tree
from patchgen.errors import InternalError
from patchgen.git.fastimport import FastImport, NewCommit
from patchgen.git.objects import CommitFiles
from patchgen.git.repo import Identity, Repo
from patchgen.git.scratch import scratch_repo
from patchgen.source.resolve import Base

TRAILER = "Patchgen"
CHANGE = "Change-Id"


@dataclass(frozen=True)
class FileStat:
    """One file of a patch's diff, as unidiff read it back."""

    path: str
    added: int
    removed: int


@dataclass(frozen=True)
class MadeCommit:
    """A commit as git tells it: ids, and the files of its diff."""

    commit: str
    tree: str
    files: tuple[FileStat, ...]


@dataclass(frozen=True)
class Credit:
    """Who is named in the commits beside the person who makes them.

    :ivar signoff: add the Signed-off-by of that person, never of anybody else
    :ivar by_series: the commits' authors are the authors of the series
    :ivar reviews: change id -> trailers that reviewers gave
    """

    signoff: bool = False
    by_series: bool = False
    reviews: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def series_author(entry: Entry, series: Series) -> Identity:
    """The author of the patch of that subject in the original series."""
    name = entry.patch.series_author
    return Identity(name, series.about.authors[name])


def commit_message(entry: Entry, series: Series, maker: Identity, credit: Credit) -> str:
    """The whole commit message of a patch: subject, body, trailers.

    A sign-off is only ever written for *maker*, who runs the tool.
    """
    trailers = []
    if not credit.by_series:
        trailers.append(f"Based-on-patch-by: {series_author(entry, series)}")
    trailers += [f"{CHANGE}: {entry.change_id}", f"{TRAILER}: {entry.name}"]
    trailers += credit.reviews.get(entry.change_id, ())
    if credit.signoff:
        # Last, as the list wants it: it vouches for all above.
        trailers.append(f"Signed-off-by: {maker}")
    body = entry.patch.message.strip("\n")
    return "\n".join([entry.patch.subject, "", body, "", *trailers]) + "\n"


class CommitMaker:
    """Turns a patch's result into a commit to be made.

    :param date: the base's date; patch n is n seconds later
    :param modes: git modes of files of the base, as far as they are known yet
    """

    def __init__(
        self,
        date: int,
        series: Series,
        maker: Identity,
        credit: Credit,
        files: CommitFiles,
        modes: Mapping[str, str],
    ) -> None:
        self._date = date
        self._series = series
        self._maker = maker
        self._credit = credit
        self._files = files
        self._modes = dict(modes)

    def commit(self, entry: Entry, result: PatchResult) -> NewCommit:
        """The commit of one patch."""
        unknown = [path for path in result.files if path not in self._modes]
        if unknown:
            self._modes.update(dict.fromkeys(unknown, "100644"), **self._files.modes(unknown))
        message = commit_message(entry, self._series, self._maker, self._credit)
        author = series_author(entry, self._series) if self._credit.by_series else None
        return NewCommit(message, self._date + entry.number, result.files, self._modes, author)


class Committer:
    """Makes commits in a thread, as many at a time as have come up, and reads each diff back.

    git is as busy as the engine, and so they work side by side.

    :param ref: a ref of *scratch*
    """

    def __init__(self, scratch: Repo, ref: str, base: str, author: Identity) -> None:
        self._scratch = scratch
        self._ref = ref
        self._base = base
        self._author = author
        self._queue: SimpleQueue[NewCommit | None] = SimpleQueue()
        self._importer: FastImport | None = None
        self._finished = False
        self._unwanted = False
        self._work = Background(self._run)

    def close(self) -> None:
        """End the thread, however far it got: what was not finished is not wanted."""
        # Either this thread sees the importer, or the other sees that it is not wanted.
        self._unwanted = not self._finished
        if self._unwanted and self._importer is not None:
            self._importer.kill()
        self._queue.put(None)
        self._work.wait()

    def add(self, commit: NewCommit) -> None:
        """Make this commit next."""
        self._queue.put(commit)

    def finish(self) -> list[MadeCommit]:
        """All commits, once they are made.

        :raise GitFailed: they could not be made
        """
        self._queue.put(None)
        made = self._work.result()
        self._finished = True
        return made

    def _run(self) -> list[MadeCommit]:
        import unidiff.patch  # noqa: F401  (now, while there is nothing to do yet)

        with closing(FastImport(self._scratch, self._ref, self._base, self._author)) as importer:
            self._importer = importer
            if self._unwanted:
                importer.kill()
            return self._feed(importer)

    def _feed(self, importer: FastImport) -> list[MadeCommit]:
        made: list[MadeCommit] = []
        more = True
        while more:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            commits = [commit for commit in batch if commit is not None]
            more = len(commits) == len(batch)
            if commits:
                below = made[-1].commit if made else self._base
                top = importer.add(commits)[-1]
                made.extend(_read_back(self._scratch, below, top, commits))
        return made


def _read_back(repo: Repo, below: str, top: str, commits: Sequence[NewCommit]) -> list[MadeCommit]:
    """The commits ``below..top``, whose diffs must touch what they were meant to touch."""
    from unidiff.patch import PatchSet

    log = repo.git(
        "log", "--reverse", "--no-color", "--no-ext-diff", "--no-renames", "--full-index", "-p",
        "--format=%x01%H %T", f"{below}..{top}",
    ).stdout  # fmt: skip
    # Latin-1 keeps every byte apart, whatever the encoding of a source file.
    texts = log.decode("latin-1").split("\x01")[1:]
    made = []
    for commit, text in zip(commits, texts, strict=True):
        ids, _, diff = text.partition("\n")
        patch = PatchSet(diff.strip("\n") + "\n", metadata_only=True)
        files = tuple(FileStat(f.path, f.added, f.removed) for f in patch)
        if {f.path for f in files} != set(commit.files):
            raise InternalError(
                f"{commit.message.splitlines()[0]!r} changes other files than it should",
                "please report it with the output of `patchgen apply --dry-run --diff`",
            )
        name, _, tree = ids.partition(" ")
        made.append(MadeCommit(name, tree, files))
    return made


@dataclass(frozen=True)
class Making:
    """The series, generated on a base; its commits are being made in a scratch repository.

    :ivar results: of all patches
    :ivar tree: the base with the edits of those that fit
    :ivar committed: names of the patches that have a commit: those before the first drift that
        change something
    :ivar committer: has their commits, in this order
    """

    scratch: Repo
    results: tuple[PatchResult, ...]
    tree: Tree
    committed: tuple[str, ...]
    committer: Committer

    @property
    def drifted(self) -> bool:
        """Whether a patch does not fit; behind it no commit is made."""
        return any(result.state is State.DRIFTED for result in self.results)


@contextmanager
def making(
    base: Base, series: Series, author: Identity, ref: str, credit: Credit | None = None
) -> Iterator[Making]:
    """Generate *series* on *base*, and make commits beside that; in the block they can be read.

    :param ref: a ref of the scratch repository
    :raise SeriesError: the series itself is wrong
    :raise GitFailed: the repository cannot be read
    """
    results: list[PatchResult] = []
    committed: list[str] = []
    with (
        CommitFiles(base.repo, base.commit) as files,
        scratch_repo(base.repo) as scratch,
        closing(Committer(scratch, ref, base.commit, author)) as committer,
    ):
        fetched = Background(lambda: files.prefetch(["VERSION", *series.paths()]))
        modes = Background(lambda: files.modes(series.paths()))
        warm_up()
        fetched.result()
        files.require(modes.result())
        maker = CommitMaker(base.date, series, author, credit or Credit(), files, modes.result())
        tree = Tree(files)
        drifted = False
        for entry, result in zip(series.entries, generate_each(series, tree), strict=True):
            results.append(result)
            drifted = drifted or result.state is State.DRIFTED
            if not drifted and result.state is not State.ALREADY_THERE:
                committed.append(result.name)
                committer.add(maker.commit(entry, result))
        yield Making(scratch, tuple(results), tree, tuple(committed), committer)
