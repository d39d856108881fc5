"""The options that say where QEMU's sources are taken from, the same for every command."""

from __future__ import annotations

import argparse

SOURCES = ("repo", "cache", "upstream", "distro")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--repo`` and ``--source``, as ``args.repo`` and ``args.source``."""
    group = parser.add_argument_group("where the sources are taken from")
    group.add_argument(
        "--repo",
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
