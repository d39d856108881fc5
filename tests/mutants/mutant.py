"""A mutant: an edit of our own series that puts a known bug into it, and who must notice."""

from __future__ import annotations

import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from patchgen.engine.series import Series, load_series
from patchgen.paths import data_dir

HERE = Path(__file__).parent
PLACES = ("series", "templates")


class WrongMutant(Exception):
    """A mutant's file is malformed, or does not fit the series; the message says how."""


class TextEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place that is changed.

    :ivar file: path below ``series/`` or ``templates/``
    :ivar text: what stands there now, exactly once in the file
    :ivar becomes: what stands there then
    """

    file: str
    text: str
    becomes: str


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a mutant's file.

    :ivar bug: one line
    :ivar spec: where the bug is described: section and kind
    :ivar patch: number of the patch that had it
    :ivar scenarios: names of scenarios, each of which must fail
    :ivar reason: regular expression that is found in what each of them says
    :ivar tests: names of QEMU's own unit tests, below ``tests/`` of its tree, that must fail, too
    :ivar kvm: whether its scenarios are skipped where KVM does not work; it is not tried there
    """

    bug: str
    spec: str
    patch: int
    scenarios: tuple[str, ...]
    reason: str
    edit: tuple[TextEdit, ...]
    tests: tuple[str, ...] = ()
    kvm: bool = False


@dataclass(frozen=True)
class Mutant:
    """A mutant and its name."""

    name: str
    told: Told

    def applied(self, place: Path) -> Series:
        """The series with the bug; *place*, which is made, gets copies of the data.

        :raise WrongMutant: a text is not in its file, or not just once
        :raise PatchgenError: the series cannot be loaded any more
        """
        for name in PLACES:
            shutil.copytree(data_dir(name), place / name)
        for edit in self.told.edit:
            path = place / edit.file
            before = path.read_bytes() if path.is_file() else b""
            count = before.count(edit.text.encode())
            if count != 1:
                line = edit.text.strip().splitlines()[0].strip()
                raise WrongMutant(f"{edit.file} has {line!r} {count} times, not once")
            path.write_bytes(before.replace(edit.text.encode(), edit.becomes.encode()))
        return load_series(place / "series", place / "templates")


def _check(name: str, told: Told) -> None:
    if not told.bug or "\n" in told.bug or not told.spec:
        raise WrongMutant(f"{name}: say the bug in one line, and where it is described")
    if not (told.scenarios or told.tests) or not told.edit:
        raise WrongMutant(f"{name}: nothing is changed, or nobody would notice")
    try:
        anything = re.compile(told.reason).search("")
    except re.error as exc:
        raise WrongMutant(f"{name}: reason: {exc}") from exc
    if anything:
        raise WrongMutant(f"{name}: any reason will do")
    for edit in told.edit:
        parts = edit.file.split("/")
        if parts[0] not in PLACES or ".." in parts or len(parts) < 2:
            raise WrongMutant(f"{name}: {edit.file} is not below {' or '.join(PLACES)}")
        if not edit.text.strip() or edit.text == edit.becomes:
            raise WrongMutant(f"{name}: {edit.file} is not changed")


def load_mutant(path: Path) -> Mutant:
    """Read one file.

    :raise WrongMutant: it is malformed
    """
    try:
        told = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Told)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as exc:
        raise WrongMutant(f"{path.stem}: {exc}") from exc
    _check(path.stem, told)
    return Mutant(path.stem, told)


def all_mutants(place: Path = HERE) -> dict[str, Mutant]:
    """Every mutant by its name, by patches.

    :raise WrongMutant: one is malformed
    """
    found = [load_mutant(path) for path in sorted(place.glob("*.toml"))]
    return {one.name: one for one in sorted(found, key=lambda one: one.told.patch)}
