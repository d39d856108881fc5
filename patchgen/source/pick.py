"""A list of tags as a user gives it, with patterns: which tags it means, and their commits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from patchgen.config import Config
from patchgen.errors import PatchgenError, SourceUnavailable, UnknownTag
from patchgen.source.offers import OLDEST, Sources, collect
from patchgen.source.resolve import Base, is_url, resolve
from patchgen.source.tags import release_key
from patchgen.ui import Ui

_PATTERN = re.compile(r"[*?\[]")  # git allows none of these in a tag


@dataclass(frozen=True)
class Missing:
    """A tag that a pattern means, and that could not be had after all."""

    tag: str
    error: PatchgenError


def pick(
    words: Sequence[str], *, repo: str | None, source: str | None, config: Config, ui: Ui
) -> list[Base | Missing]:
    """The commits of tags and of patterns over release tags, in the order of *words*.

    A pattern's tags come by release, those named before are not repeated. It means the releases
    from 4.2 on; candidates as well where it has ``rc``. Without *repo* and *source* it is over what
    is at hand: the repository of the configuration, else the cache.

    :raise UnknownTag: no place has the tag, or a pattern fits none
    :raise PatchgenError: whatever :func:`patchgen.source.resolve.resolve` raises
    """
    offered: Sources | None = None
    tags: dict[str, bool] = {}  # tag -> whether it was named, not only meant by a pattern
    for word in words:
        if not _PATTERN.search(word):
            tags[word] = True
            continue
        if offered is None:
            place = source or ("repo" if repo or config.repo else "cache")
            offered = collect(repo=repo, source=place, everything=True, config=config, ui=ui)
        for tag in _matching(word, offered):
            tags.setdefault(tag, False)
    # On this machine nothing is fetched, so a line for each of many tags would say nothing.
    many = repo is not None and not is_url(repo) and len(tags) > 1
    quiet = Ui(quiet=True) if many else ui
    found: list[Base | Missing] = []
    for tag, named in tags.items():
        try:
            found.append(resolve(tag, repo=repo, source=source, config=config, ui=quiet))
        except PatchgenError as exc:
            # One release that a mirror has lost is no reason to say nothing of the others.
            if named:
                raise
            ui.warn(exc.message)
            found.append(Missing(tag, exc))
    if many:
        ui.step(f"repository {repo}: {len(found)} tags")
    return found


def _matching(pattern: str, offered: Sources) -> list[str]:
    """The release tags that *pattern* means."""
    every = [version.tag for version in offered.versions if fnmatchcase(version.tag, pattern)]
    keys = {tag: release_key(tag) or OLDEST for tag in every}
    found = [tag for tag in every if keys[tag] >= OLDEST]
    if "rc" not in pattern:
        found = [tag for tag in found if keys[tag][3] == 1000]
    if found:
        return found
    places = ", ".join(f"{place.source} {place.place}" for place in offered.places)
    reasons = "; ".join(f"{x.place}: {x.reason}" for x in offered.places if x.reason)
    if reasons:
        raise SourceUnavailable(
            f"{pattern} fits no tag: {reasons}", "give --repo a git repository of QEMU"
        )
    if every:
        raise UnknownTag(
            f"{pattern} fits only candidates, or releases before 4.2, in {places}",
            "name them, one by one, or say rc in the pattern",
        )
    raise UnknownTag(
        f"{pattern} fits no release tag in {places}",
        "`patchgen sources` lists what can be had; --repo and --source say where to look",
    )
