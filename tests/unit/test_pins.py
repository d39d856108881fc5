"""Pins: keyed by the base's tree, partial series allowed, malformed files told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from patchgen.errors import SeriesError
from patchgen.paths import data_dir
from patchgen.pins import Pin, PinState, compare, files_digest, load_pins

PINS = {"base": Pin("v5.2.0", "git", "", {"01-a": "t1", "02-b": "t2"})}


def test_compare() -> None:
    assert compare(PINS, "base", [("01-a", "t1"), ("02-b", "t2")]) is PinState.EQUAL
    assert compare(PINS, "base", [("01-a", "t1")]) is PinState.EQUAL
    assert compare(PINS, "base", [("01-a", "t2")]) is PinState.DIFFERENT
    assert compare(PINS, "base", [("03-c", "t1")]) is PinState.DIFFERENT
    assert compare(PINS, "other", [("01-a", "t1")]) is PinState.UNKNOWN


def test_the_digest_is_over_gits_own_blob_ids(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x\n")
    blob = subprocess.run(
        ["git", "hash-object", "f"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.strip()
    import hashlib

    assert files_digest({"f": b"x\n"}) == hashlib.sha256(f"{blob} f\n".encode()).hexdigest()


def test_files(tmp_path: Path) -> None:
    assert load_pins(tmp_path / "none.toml") == {}
    bad = tmp_path / "pins.toml"
    for text in ("[", "x = 1", "[x]\ntag = 'v1'\n"):
        bad.write_text(text, encoding="utf-8")
        with pytest.raises(SeriesError):
            load_pins(bad)


def test_our_own_pins_are_of_one_series() -> None:
    names = {
        tuple(sorted(pin.trees)) for pin in load_pins(data_dir("qemu-ref") / "pins.toml").values()
    }
    assert len(names) <= 1
