"""Pins: the trees that the series must give on known base trees, from ``qemu-ref/pins.toml``.

A pin is keyed by the base's *tree* id, since a distribution's orig tree is not the git tree of the
tag. A second pin, over the blobs of the touched files, is equal across sources of one release.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

import msgspec

from patchgen.errors import SeriesError


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the series gives on one base tree.

    :ivar tag: the release, for the reader
    :ivar source: where the base tree comes from, for the reader
    :ivar files: :func:`files_digest` of the files that the whole series touches
    :ivar trees: patch name -> tree id of its commit
    """

    tag: str
    source: str
    files: str
    trees: dict[str, str]


class PinState(Enum):
    """How generated trees compare with the pinned ones."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


def files_digest(blobs: Mapping[str, bytes]) -> str:
    """SHA-256, as hex, over names and git blob ids of the files, sorted by name.

    :param blobs: path -> content
    """
    whole = hashlib.sha256()
    for path, content in sorted(blobs.items()):
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        whole.update(f"{blob.hexdigest()} {path}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def load_pins(path: Path) -> dict[str, Pin]:
    """Base tree id -> pin; empty where the file does not exist.

    :raise SeriesError: the file is malformed
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SeriesError(
            f"{path.name}: {exc}", "mend the file, or install patchgen again"
        ) from exc
    try:
        return msgspec.convert(data, dict[str, Pin])
    except msgspec.ValidationError as exc:
        raise SeriesError(
            f"{path.name}: {exc}", "mend the file, or install patchgen again"
        ) from exc


def compare(pins: Mapping[str, Pin], base_tree: str, trees: Iterable[tuple[str, str]]) -> PinState:
    """Compare (patch name, tree id) pairs with the pin of *base_tree*; a part of them is enough."""
    pin = pins.get(base_tree)
    if pin is None:
        return PinState.UNKNOWN
    same = all(pin.trees.get(name) == tree for name, tree in trees)
    return PinState.EQUAL if same else PinState.DIFFERENT


def same_release(pins: Mapping[str, Pin], tag: str) -> list[Pin]:
    """The pins of one release, from whatever source."""
    return [pin for pin in pins.values() if pin.tag == tag]


def compare_files(pins: Mapping[str, Pin], base_tree: str, tag: str, files: str) -> PinState:
    """Compare the digest of the touched files with the pin of *base_tree*.

    A base that has no pin may still be that release as another source has it: then a pin of *tag*
    (``v`` and what ``VERSION`` says) with the same digest is as good.

    :param files: :func:`files_digest` of what the whole series touches
    """
    pin = pins.get(base_tree)
    if pin is not None:
        return PinState.EQUAL if pin.files == files else PinState.DIFFERENT
    if any(one.files == files for one in same_release(pins, tag)):
        return PinState.EQUAL
    return PinState.UNKNOWN
