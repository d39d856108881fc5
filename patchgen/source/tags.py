"""What qemu-ref knows of QEMU's releases: commit ids, dates, and how versions are spelled.

The facts are in ``qemu-ref/tags.toml``; how they were taken is told at its head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from patchgen.errors import SeriesError
from patchgen.paths import data_dir

# Debian repacks a release to drop what it may not ship, and says so behind the version.
_REPACKED = re.compile(r"[+~](?:dfsg|ds)[0-9.]*$")
_UPSTREAM = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:~?-?(rc\d+))?")
_RELEASE_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?:-rc(\d+))?")


@dataclass(frozen=True)
class KnownTag:
    """A release that qemu-ref lists.

    :ivar name: the tag, ``v5.2.0``
    :ivar commit: its commit in upstream's git, ``""`` where only the date is known
    :ivar date: seconds since 1970; the commits of the series are dated from it
    """

    name: str
    commit: str
    date: int


@cache
def known_tags() -> dict[str, KnownTag]:
    """The releases of ``qemu-ref/tags.toml`` by tag, in the file's order (oldest first).

    :raise SeriesError: the file is missing or malformed
    """
    import tomllib

    path = data_dir("qemu-ref") / "tags.toml"
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8"))
        return {
            str(name): KnownTag(str(name), str(entry.get("commit", "")), int(entry["date"]))
            for name, entry in data["tags"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise SeriesError(
            f"{path} cannot be used: {exc}", "restore the file from patchgen's sources"
        ) from exc


def known_commit(commit: str) -> KnownTag | None:
    """The release whose commit in upstream's git is *commit* (a full id)."""
    return next((known for known in known_tags().values() if known.commit == commit), None)


def upstream_version(package_version: str) -> str:
    """The upstream part of a Debian version: ``1:5.2+dfsg-11+deb11u3`` -> ``5.2+dfsg``.

    The form is Debian Policy's section 5.6.12: ``[epoch:]upstream[-revision]``.
    """
    without_epoch = package_version.partition(":")[2] or package_version
    return without_epoch.rpartition("-")[0] or without_epoch


def tag_of(version: str) -> str | None:
    """The tag of a distribution's upstream version, ``None`` if it is none of a release.

    ``5.2+dfsg`` -> ``v5.2.0``, ``10.0.13+ds`` -> ``v10.0.13``, ``11.0~rc2+ds`` -> ``v11.0.0-rc2``.
    """
    found = _UPSTREAM.fullmatch(_REPACKED.sub("", version))
    if not found:
        return None
    major, minor, micro, candidate = found.groups()
    return f"v{major}.{minor}.{micro or 0}" + (f"-{candidate}" if candidate else "")


def release_key(tag: str) -> tuple[int, int, int, int] | None:
    """Sorts release tags (a candidate before its release); ``None`` for any other name."""
    found = _RELEASE_TAG.fullmatch(tag)
    if not found:
        return None
    major, minor, micro, candidate = found.groups()
    return int(major), int(minor), int(micro), int(candidate) if candidate else 1000


def file_version(tag: str) -> str | None:
    """What the file ``VERSION`` of a final release says, ``None`` if the tag does not tell."""
    key = release_key(tag)
    return tag[1:] if key and key[3] == 1000 else None
