"""A list of tags as a user gives it, with patterns: which tags it means, and their commits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from patchgen.config import Config
from patchgen.errors import SourceUnavailable, UnknownTag
from patchgen.source.offers import OLDEST, Sources, collect
from patchgen.source.resolve import Base, is_url, resolve
from patchgen.source.tags import release_key
from patchgen.ui import Ui

_PATTERN = re.compile(r"[*?\[]")  # git allows none of these in a tag


def pick(
    words: Sequence[str], *, repo: str | None, source: str | None, config: Config, ui: Ui
) -> list[Base]:
    """The commits of tags and of patterns over release tags, in the order of *words*.

    A pattern's tags come by release, those named before are not repeated. It means the releases
    from 4.2 on; candidates as well where it has ``rc``. Without *repo* and *source* it is over what
    is at hand: the repository of the configuration, else the cache.

    :raise UnknownTag: no place has the tag, or a pattern fits none
    :raise PatchgenError: whatever :func:`patchgen.source.resolve.resolve` raises
    """
    offered: Sources | None = None
    tags: list[str] = []
    for word in words:
        if not _PATTERN.search(word):
            tags.append(word)
            continue
        if offered is None:
            place = source or ("repo" if repo or config.repo else "cache")
            offered = collect(repo=repo, source=place, everything=True, config=config, ui=ui)
        tags += _matching(word, offered)
    tags = list(dict.fromkeys(tags))
    # On this machine nothing is fetched, so a line for each tag would say nothing.
    local = repo is not None and not is_url(repo)
    quiet = Ui(quiet=True) if local else ui
    bases = [resolve(tag, repo=repo, source=source, config=config, ui=quiet) for tag in tags]
    if local:
        ui.step(f"repository {bases[0].place}: {len(bases)} tags")
    return bases


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
