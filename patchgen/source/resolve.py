"""From a tag, branch or commit id to a commit of QEMU: the places, their order, the errors.

The order is: ``--repo``; the repository of the configuration; the cache; upstream's git; the
distribution's source package. ``--repo`` is the user's choice of where to work, so nothing takes
its place; the others are tried in turn, each said aloud.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from patchgen.config import Config
from patchgen.errors import (
    BadArchive,
    GitMissing,
    NotARepo,
    NotQemu,
    PatchgenError,
    RepoError,
    SourceUnavailable,
    UnknownTag,
    UsageError,
)
from patchgen.git.failure import damaged
from patchgen.git.repo import Repo
from patchgen.paths import cache_dir
from patchgen.source.cache import cache_path, cached_repo
from patchgen.source.tags import (
    KnownTag,
    file_version,
    known_commit,
    known_tags,
    release_key,
    tag_of,
)
from patchgen.ui import Ui

_MAIN_FILES = ("vl.c", "softmmu/vl.c", "system/vl.c")
_SCP_LIKE = re.compile(r"[^/\s:]+:[^\s]+")


@dataclass(frozen=True)
class Base:
    """The commit that the series is put on.

    :ivar repo: the repository that holds it, where results go as well
    :ivar tag: as the user gave it
    :ivar commit: full id
    :ivar tree: full id of its tree
    :ivar date: seconds since 1970, UTC: qemu-ref's for a known release, else the committer date
    :ivar version: contents of the file VERSION, ``5.2.0``
    :ivar origin: ``repo``, ``cache``, ``upstream``, ``distro`` or ``directory``
    :ivar place: the same in words: a path, a URL, a source package
    """

    repo: Repo
    tag: str
    commit: str
    tree: str
    date: int
    version: str
    origin: str
    place: str


class _Miss(Exception):
    """A place does not have it. *answered*: the place was reached, and said so."""

    def __init__(self, place: str, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason
        self.answered = answered


def resolve(tag: str, *, repo: str | None, source: str | None, config: Config, ui: Ui) -> Base:
    """Find *tag* and make sure that it is QEMU.

    :param tag: a tag, a branch or a commit id
    :param repo: ``--repo``, a directory or a URL
    :param source: ``--source``, one of :data:`patchgen.source.options.SOURCES`
    :raise UnknownTag: every place was asked, none has it
    :raise SourceUnavailable: none has it among those that could be asked
    :raise NotQemu: the commit is not of QEMU
    :raise BadArchive: a source package is damaged
    :raise PatchgenError: others of the tree in :mod:`patchgen.errors`, for repositories and cache
    """
    if not tag or tag.startswith("-") or any(ord(x) <= 32 or x == "\x7f" for x in tag):
        raise UnknownTag(f"{tag!r} is no tag, branch or commit id", "give one such as v5.2.0")
    if ".." in tag:
        raise UnknownTag(
            f"{tag} is a range, not one commit", "`patchgen matrix` takes tags and patterns: 'v6.*'"
        )
    if repo is not None and source not in (None, "repo"):
        raise UsageError(
            f"--repo and --source {source} name two places", "give one of the two options"
        )
    if repo is not None:
        try:
            return _from_repo(tag, repo, ui)
        except _Miss as miss:
            raise _unavailable(tag, [miss], repo=repo) from None
    steps: dict[str, Callable[[], Base]] = {
        "cache": lambda: _from_cache(tag, ui, alone=source == "cache"),
        "upstream": lambda: _from_upstream(tag, config.upstream, ui),
        "distro": lambda: _from_distro(tag, ui),
    }
    if config.repo:
        steps = {"repo": lambda: _from_repo(tag, config.repo, ui), **steps}
    if source is not None:
        if source not in steps:
            raise UsageError(
                f"--source {source}: no repository is configured",
                "give --repo, or set PATCHGEN_QEMU_REPO or repo in the configuration file",
            )
        steps = {source: steps[source]}
    missed: list[_Miss] = []
    for name, step in steps.items():
        try:
            return step()
        except GitMissing:
            raise
        except _Miss as miss:
            missed.append(miss)
        except (RepoError, BadArchive) as exc:
            # The repository of the configuration, or a package, is unusable; others may do.
            if len(steps) == 1 or isinstance(exc, NotQemu):
                raise
            place = f"repository {config.repo}" if name == "repo" else name
            missed.append(_Miss(place, exc.message, answered=False))
        if len(steps) > 1:
            ui.step(f"{missed[-1].place}: {missed[-1].reason}")
    raise _unavailable(tag, missed, repo=None)


def _unavailable(tag: str, missed: list[_Miss], *, repo: str | None) -> PatchgenError:
    """The one line that names every place tried and why it has nothing."""
    spelled = tag_of(tag.lower().removeprefix("v"))
    tried = "; ".join(f"{miss.place}: {miss.reason}" for miss in missed)
    kind = UnknownTag if all(miss.answered for miss in missed) else SourceUnavailable
    if spelled in known_tags() and spelled != tag:
        fix = f"the tag is spelled {spelled}"
    elif repo is not None:
        fix = f"fetch {tag} into that repository, or leave out --repo to take it from elsewhere"
    elif kind is UnknownTag:
        fix = "`patchgen sources` lists the versions that can be had here"
    else:
        fix = "give --repo a QEMU repository or directory; `patchgen sources` lists what there is"
    return kind(f"{tag} cannot be had: {tried}", fix)


# --- repositories -----------------------------------------------------------------------------


def _find(repo: Repo, revisions: list[str]) -> tuple[str, str] | None:
    """The first of *revisions* that names a commit in *repo*, with that commit's id."""
    names = "".join(f"{x}^{{commit}}\n" for x in revisions)
    out = repo.git("cat-file", "--batch-check", stdin=names.encode("utf-8", "surrogateescape"))
    for revision, line in zip(revisions, out.stdout.decode("utf-8").splitlines(), strict=True):
        words = line.split(" ")
        if len(words) == 3 and words[1] == "commit":
            return revision, words[0]
    return None


def _objects(repo: Repo, names: list[str]) -> list[bytes | None]:
    """The contents of objects, ``None`` for those that are missing; one git call."""
    out = repo.git("cat-file", "--batch", stdin="".join(f"{x}\n" for x in names).encode()).stdout
    found: list[bytes | None] = []
    start = 0
    for _ in names:
        end = out.index(b"\n", start)
        words = out[start:end].split(b" ")
        start = end + 1
        if len(words) != 3 or not words[2].isdigit():
            found.append(None)
            continue
        size = int(words[2])
        found.append(out[start : start + size])
        start += size + 1
    return found


def _base(repo: Repo, tag: str, commit: str, origin: str, place: str) -> Base:
    """Read what is to be known of *commit*.

    :raise NotQemu: it is not of QEMU
    """
    head, version, api, *mains = _objects(
        repo, [commit, *(f"{commit}:{x}" for x in ("VERSION", "qapi", *_MAIN_FILES))]
    )
    if head is None or version is None or api is None or not any(x is not None for x in mains):
        raise NotQemu(
            f"{tag} in {place} is not QEMU: it has no VERSION, vl.c or qapi/",
            "give a repository, and a tag or commit, of QEMU 4.2 or later",
        )
    fields = head.partition(b"\n\n")[0].split(b"\n")
    tree = fields[0].removeprefix(b"tree ").decode()
    committer = next(x for x in fields if x.startswith(b"committer "))
    known = known_commit(commit) or known_tags().get(tag)
    date = known.date if known else int(committer.split(b" ")[-2])
    said = version.decode("utf-8", "replace").strip()
    return Base(repo, tag, commit, tree, date, said, origin, place)


def _known_id(tag: str) -> str:
    known = known_tags().get(tag)
    return known.commit if known else ""


def _compare(tag: str, commit: str, ui: Ui) -> None:
    """Warn where somebody's tag is not the release of that name."""
    known = _known_id(tag)
    if known and known != commit:
        ui.warn(f"{tag} is {commit[:12]} here, but the release of that name is {known[:12]}")


def is_url(text: str) -> bool:
    """Whether ``--repo`` names a repository elsewhere: it has ``://``, or is scp-like."""
    if "://" in text:
        return True
    return bool(_SCP_LIKE.fullmatch(text)) and not Path(text).exists()


def _from_repo(tag: str, place: str, ui: Ui) -> Base:
    if is_url(place):
        return _from_url(tag, place, ui)
    path = Path(place).expanduser().absolute()
    try:
        repo = Repo.discover(path)
    except NotARepo as exc:
        if not (path / "VERSION").is_file():
            raise
        return _from_directory(tag, path, ui, exc)
    revisions = [f"refs/tags/{tag}", tag, f"refs/remotes/origin/{tag}"]
    if known := _known_id(tag):
        revisions.append(known)
    found = _find(repo, revisions)
    if found is None:
        raise _Miss(str(path), f"the repository has no tag, branch or commit {tag}", answered=True)
    revision, commit = found
    base = _base(repo, tag, commit, "repo", str(path))
    ui.step(f"repository {path}: {tag} is {commit[:12]}")
    if revision == f"refs/tags/{tag}":
        _compare(tag, commit, ui)
    return base


def _from_directory(tag: str, path: Path, ui: Ui, no_repo: NotARepo) -> Base:
    """Import a QEMU directory without git."""
    import hashlib

    from patchgen.source.archive import Part, directory_entries, import_parts
    from patchgen.source.cache import locked

    version = (path / "VERSION").read_text(encoding="utf-8", errors="replace").strip()
    if not (path / "qapi").is_dir() or not any((path / x).is_file() for x in _MAIN_FILES):
        raise no_repo
    if tag != f"v{version}":
        raise _Miss(str(path), f"is a directory without git, of v{version} alone", answered=True)
    known = known_tags().get(tag)
    digest = hashlib.sha256(bytes(path.resolve())).hexdigest()[:12]
    with locked(ui) as repo:
        ui.step(f"directory {path}: importing v{version} into {repo.git_dir}")
        made = import_parts(
            repo,
            f"refs/patchgen/directory/{digest}",
            [Part(str(path), directory_entries(path), archive=False)],
            what="a directory without git",
            date=known.date if known else None,
            expect=version,
        )
    return _base(repo, tag, made.commit, "directory", str(path))


# --- the cache and what fills it --------------------------------------------------------------


def _from_cache(tag: str, ui: Ui, *, alone: bool) -> Base:
    """Look in the cache.

    :param alone: the user asked for the cache, so a branch as last fetched will do as well;
        otherwise upstream is asked where a branch is now
    """
    path = cache_path()
    repo = cached_repo()
    if repo is None:
        raise _Miss(f"cache {path}", "nothing was fetched yet", answered=True)
    revisions = [f"refs/patchgen/upstream/tags/{tag}", tag]
    if known := _known_id(tag):
        revisions.append(known)
    revisions.append(f"refs/patchgen/distro/{tag}")
    if alone:
        revisions.append(f"refs/patchgen/upstream/heads/{tag}")
    found = _find(repo, revisions)
    if found is None:
        refs = [x for x in revisions if x.startswith("refs/")]
        if repo.git("for-each-ref", "--format=%(refname)", *refs).stdout:
            raise damaged(f"{tag} is listed, and cannot be read", str(path))
        raise _Miss(f"cache {path}", f"has no {tag}", answered=True)
    revision, commit = found
    note = " (from a distribution's source package)" if "/distro/" in revision else ""
    base = _base(repo, tag, commit, "cache", str(path))
    ui.step(f"cache {path}: {tag} is {commit[:12]}{note}")
    return base


def _fetch(tag: str, url: str, space: str, ui: Ui, *, label: str, origin: str) -> Base:
    """Fetch one tag, branch or commit from a server into the cache."""
    from patchgen.source.cache import locked
    from patchgen.source.remote import RemoteFailed, fetch_name, shown

    place = f"{label} {shown(url)}"
    ui.step(f"{place}: fetching {tag} into {cache_path()}")
    with locked(ui) as repo:
        try:
            ref = fetch_name(repo, url, space, tag, _known_id(tag), ui)
        except RemoteFailed as exc:
            raise _Miss(place, exc.reason, answered=False) from exc
        found = _find(repo, [ref]) if ref else None
    if found is None:
        raise _Miss(place, f"has no {tag}", answered=True)
    commit = found[1]
    base = _base(repo, tag, commit, origin, shown(url))
    ui.step(f"{place}: {tag} is {commit[:12]}")
    if "/tags/" in found[0]:
        _compare(tag, commit, ui)
    return base


def _from_url(tag: str, url: str, ui: Ui) -> Base:
    """A ``--repo URL``: a tag or id fetched once is kept, a branch is asked for again."""
    from patchgen.source.remote import namespace, shown

    space = namespace(url)
    repo = cached_repo()
    kept = [f"refs/patchgen/{space}/{kind}/{tag}" for kind in ("tags", "ids")]
    if known := _known_id(tag):
        kept.append(f"refs/patchgen/{space}/ids/{known}")
    if repo is not None and (found := _find(repo, kept)):
        base = _base(repo, tag, found[1], "repo", shown(url))
        ui.step(f"repository {shown(url)}: {tag} is {found[1][:12]}, fetched before")
        return base
    return _fetch(tag, url, space, ui, label="repository", origin="repo")


def _from_upstream(tag: str, url: str, ui: Ui) -> Base:
    return _fetch(tag, url, "upstream", ui, label="upstream", origin="upstream")


def _imported(tag: str, repo: Repo | None, ui: Ui) -> Base | None:
    """A source package that is in the cache already."""
    found = _find(repo, [f"refs/patchgen/distro/{tag}"]) if repo else None
    if repo is None or found is None:
        return None
    ui.step(f"distribution: {tag} is {found[1][:12]}, imported before into {repo.git_dir}")
    return _base(repo, tag, found[1], "distro", f"{repo.git_dir} (source package)")


def _from_distro(tag: str, ui: Ui) -> Base:
    """The orig tarball of a source package whose version is the tag's."""
    from patchgen.source.apt import AptFailed, Distribution
    from patchgen.source.cache import locked, temporary_directory

    place = "distribution"
    if (base := _imported(tag, cached_repo(), ui)) is not None:
        return base
    if file_version(tag.partition("-rc")[0]) is None:
        raise _Miss(place, f"{tag} is no release, it packages releases alone", answered=True)
    with locked(ui) as repo:
        # Another patchgen may have brought it while this one waited.
        if (base := _imported(tag, repo, ui)) is not None:
            return base
        shop = Distribution(cache_dir() / "apt", ui)
        try:
            suites = shop.suites(wanted=tag)
        except AptFailed as exc:
            raise _Miss(place, exc.reason, answered=False) from exc
        failures = [f"{x.name}: {x.reason}" for x in suites if x.reason]
        packages = [x for suite in suites for x in suite.packages if x.tag == tag]
        if not packages:
            offered = {x.tag for suite in suites for x in suite.packages}
            have = sorted(offered, key=lambda x: release_key(x) or ())
            why = f"has {', '.join(have)}, not {tag}" if have else "has no QEMU"
            raise _Miss(place, ", ".join([why, *failures]), answered=not failures)
        for package in packages:
            try:
                with temporary_directory() as folder:
                    ui.step(f"distribution: fetching {package}")
                    origs = shop.download(package, folder)
                    ui.step(f"distribution: importing {origs[0][0].name} into {repo.git_dir}")
                    commit = _import_origs(repo, tag, origs, ui)
            except AptFailed as exc:
                failures.append(f"{package}: {exc.reason}")
                continue
            base = _base(repo, tag, commit, "distro", str(package))
            ui.step(f"distribution: {tag} is {commit[:12]}, from {package}")
            return base
    raise _Miss(place, ", ".join(failures), answered=False)


def _import_origs(repo: Repo, tag: str, origs: list[tuple[Path, str]], ui: Ui) -> str:
    """Import the orig tarballs of a package, as one commit; its id."""
    from patchgen.source.archive import Part, import_parts, tar_entries

    known: KnownTag | None = known_tags().get(tag)
    with ui.progress(f"importing {origs[0][0].name}") as meter:
        parts = [Part(path.name, tar_entries(path, meter.update), below) for path, below in origs]
        return import_parts(
            repo,
            f"refs/patchgen/distro/{tag}",
            parts,
            what=", ".join(path.name for path, _ in origs),
            date=known.date if known else None,
            expect=file_version(tag),
        ).commit
