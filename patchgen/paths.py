"""Where patchgen keeps things: its own data (in the checkout or the wheel) and the user's cache."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from patchgen.errors import CacheError

_PACKAGE = Path(__file__).resolve().parent


@cache
def data_dir(name: str) -> Path:
    """The directory of package data called *name*: ``series``, ``templates`` or ``qemu-ref``.

    In a checkout these stand beside the package, in an installed wheel below ``patchgen/data``.
    """
    checkout = _PACKAGE.parent / name
    if (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return _PACKAGE / "data" / name


def cache_dir() -> Path:
    """The cache directory: ``PATCHGEN_CACHE``, else the platform's user cache; made if missing.

    :raise CacheError: if it cannot be made
    """
    override = os.environ.get("PATCHGEN_CACHE")
    if override:
        path = Path(override).expanduser().absolute()
    else:
        from platformdirs import user_cache_path

        path = user_cache_path("patchgen", appauthor=False)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CacheError(
            f"the cache directory {path} cannot be made: {exc.strerror}",
            "set PATCHGEN_CACHE to a directory that can be written",
        ) from exc
    return path


def reviews_files() -> tuple[Path, Path]:
    """Where review trailers are kept: what came with the series, and what is written to.

    In a checkout both are ``series/reviews.toml``, so that they are committed with the series. An
    installed package is not to be written to: there the second is in the user's data directory.
    ``PATCHGEN_REVIEWS`` names another file for it.
    """
    shipped = data_dir("series") / "reviews.toml"
    override = os.environ.get("PATCHGEN_REVIEWS")
    if override:
        return shipped, Path(override).expanduser().absolute()
    if shipped.parent.parent != _PACKAGE / "data":
        return shipped, shipped
    from platformdirs import user_data_path

    return shipped, user_data_path("patchgen", appauthor=False) / "reviews.toml"


def config_file() -> Path:
    """The configuration file: ``PATCHGEN_CONFIG``, else ``config.toml`` in the user's directory."""
    override = os.environ.get("PATCHGEN_CONFIG")
    if override:
        return Path(override).expanduser().absolute()
    from platformdirs import user_config_path

    return user_config_path("patchgen", appauthor=False) / "config.toml"
