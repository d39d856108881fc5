"""Which QEMU versions can be had here, and from where: every place is asked what it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from patchgen.config import Config
from patchgen.errors import PatchgenError, UsageError
from patchgen.git.repo import Repo
from patchgen.paths import cache_dir
from patchgen.source.cache import cache_path, cached_repo
from patchgen.source.resolve import is_url
from patchgen.source.tags import known_tags, release_key
from patchgen.ui import Ui

OLDEST = (4, 2, 0, 0)
"""The first release that the series is for."""


@dataclass(frozen=True)
class Offer:
    """One version in one place.

    :ivar source: ``repo``, ``cache``, ``upstream`` or ``distro``
    :ivar place: a path, a URL, a source package
    """

    source: str
    place: str


@dataclass(frozen=True)
class Version:
    """A QEMU version and the places that have it; *cached*: no network is needed."""

    tag: str
    cached: bool
    offers: tuple[Offer, ...]


@dataclass(frozen=True)
class Place:
    """A place that was asked; *reason* says why it could not answer, ``""`` if it did."""

    source: str
    place: str
    versions: int
    reason: str


@dataclass(frozen=True)
class Sources:
    """What all places that were asked said.

    :ivar cache: the repository that fetched and imported versions are kept in
    """

    cache: str
    places: tuple[Place, ...]
    versions: tuple[Version, ...]


class _Collector:
    """Gathers what the places say; one that fails is noted and does not stop the others."""

    def __init__(self, ui: Ui, *, everything: bool) -> None:
        self._ui = ui
        self._everything = everything
        self.offers: dict[str, list[Offer]] = {}
        self.places: list[Place] = []

    def _shown(self, tag: str) -> bool:
        key = release_key(tag)
        return key is not None and (self._everything or (key >= OLDEST and key[3] == 1000))

    def add(self, source: str, place: str, tags: list[str], *, reason: str = "") -> None:
        """Note the release *tags* that *place* has."""
        kept = [tag for tag in dict.fromkeys(tags) if self._shown(tag)]
        for tag in kept:
            self.offers.setdefault(tag, []).append(Offer(source, place))
        self.places.append(Place(source, place, len(kept), reason))

    def ask(self, source: str, place: str, question: Callable[[], list[str]]) -> None:
        """Ask one place for its tags."""
        from patchgen.source.remote import RemoteFailed

        try:
            self.add(source, place, question())
        except RemoteFailed as exc:
            self.add(source, place, [], reason=exc.reason)
        except PatchgenError as exc:
            self.add(source, place, [], reason=exc.message)


def collect(
    *, repo: str | None, source: str | None, everything: bool, config: Config, ui: Ui
) -> Sources:
    """Ask every place (or the one that *repo* or *source* names).

    :param everything: release candidates, and versions before 4.2, as well
    :raise UsageError: source ``repo`` without a repository
    """
    found = _Collector(ui, everything=everything)
    only = source or ("repo" if repo else None)
    place = repo or config.repo
    if only == "repo" and not place:
        raise UsageError(
            "--source repo: no repository is configured",
            "give --repo, or set PATCHGEN_QEMU_REPO or repo in the configuration file",
        )
    if place and only in (None, "repo"):
        _ask_repo(found, place)
    if only in (None, "cache"):
        found.ask("cache", str(cache_path()), _cached_tags)
    if only in (None, "upstream"):
        _ask_upstream(found, config, ui)
    if only in (None, "distro"):
        _ask_distribution(found, ui)
    at_hand = {*_cached_tags(), *_repo_tags(found)}
    order = sorted(found.offers, key=lambda tag: release_key(tag) or OLDEST)
    versions = (Version(tag, tag in at_hand, tuple(found.offers[tag])) for tag in order)
    return Sources(str(cache_path()), tuple(found.places), tuple(versions))


def _repo_tags(found: _Collector) -> list[str]:
    """Tags of a repository on this machine need no network either."""
    local = [x for x in found.places if x.source == "repo" and not is_url(x.place)]
    places = {x.place for x in local}
    return [tag for tag, offers in found.offers.items() if places & {x.place for x in offers}]


def _cached_tags() -> list[str]:
    """The releases that the cache has, by whichever way they came."""
    repo = cached_repo()
    if repo is None:
        return []
    spaces = ("refs/patchgen/upstream/tags/", "refs/patchgen/distro/", "refs/tags/")
    out = repo.git("for-each-ref", "--format=%(refname)", *spaces).stdout.decode()
    return [
        ref.removeprefix(space) for ref in out.split() for space in spaces if ref.startswith(space)
    ]


def _ask_repo(found: _Collector, place: str) -> None:
    from patchgen.source.remote import local_tags, release_tags, shown

    if is_url(place):
        found.ask("repo", shown(place), lambda: release_tags(place))
        return

    path = Path(place).expanduser().absolute()

    def tags() -> list[str]:
        if not (path / ".git").exists() and (path / "VERSION").is_file():
            return [f"v{(path / 'VERSION').read_text(encoding='utf-8', errors='replace').strip()}"]
        repo = Repo.discover(path)
        # A repository without tags has the releases whose commits it has.
        known = [x for x in known_tags().values() if x.commit]
        asked = "".join(f"{x.commit}\n" for x in known).encode()
        lines = repo.git("cat-file", "--batch-check", stdin=asked).stdout.decode().splitlines()
        there = [x.name for x, line in zip(known, lines, strict=True) if " commit " in line]
        return [*local_tags(repo), *there]

    found.ask("repo", str(path), tags)


def _ask_upstream(found: _Collector, config: Config, ui: Ui) -> None:
    from patchgen.source.remote import release_tags, shown

    ui.step(f"upstream {shown(config.upstream)}: asking for its tags")
    found.ask("upstream", shown(config.upstream), lambda: release_tags(config.upstream))


def _ask_distribution(found: _Collector, ui: Ui) -> None:
    from patchgen.source.apt import AptFailed, Distribution
    from patchgen.source.cache import locked

    try:
        with locked(ui):
            suites = Distribution(cache_dir() / "apt", ui).suites()
    except AptFailed as exc:
        found.add("distro", "distribution", [], reason=exc.reason)
        return
    for suite in suites:
        if not suite.packages:
            found.add("distro", suite.name, [], reason=suite.reason or "has no QEMU")
        for package in suite.packages:
            found.add("distro", str(package), [package.tag], reason=suite.reason)
