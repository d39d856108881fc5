"""The options that say where QEMU's sources are taken from, the same for every command."""

from __future__ import annotations

import argparse
from pathlib import Path

SOURCES = ("repo", "cache", "upstream", "distro")


def given(text: str) -> str:
    """The value of an option that must not be empty, as that of a variable that is not set is."""
    if not text:
        raise argparse.ArgumentTypeError("the value is empty")
    return text


def given_path(text: str) -> Path:
    """The same for a path."""
    return Path(given(text))


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--repo`` and ``--source``, as ``args.repo`` and ``args.source``."""
    group = parser.add_argument_group("where the sources are taken from")
    group.add_argument(
        "--repo",
        type=given,
        metavar="DIR|URL",
        help="a git repository of QEMU (also bare, shallow, a work tree), a QEMU directory "
        "without git, or a URL; default: a repository in patchgen's cache",
    )
    group.add_argument(
        "--source",
        choices=SOURCES,
        help="take them from this place alone: the repository of the configuration, the cache, "
        "upstream's git, the distribution's source package; default: in that order",
    )
