"""The series: its patches in order, its fragments and its facts, read from the project's data."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from patchgen.engine.facts import Fact
from patchgen.engine.spec import C_KINDS, KINDS, PLACES, VERBS, At, Edit, Files, Insert, Patch
from patchgen.errors import FragmentError, SeriesError, UnknownPatch

_NAME = re.compile(r"(\d\d)-[a-z0-9-]+\.toml")


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The series as a whole, from ``series/series.toml``.

    :ivar title: as in the cover letter
    :ivar total: how many patches the series has when complete
    :ivar authors: the original authors' addresses, by name
    :ivar shortlog: the subjects of all patches, by author, as the series was posted
    """

    title: str
    total: int
    authors: dict[str, str]
    shortlog: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True)
class Entry:
    """One patch with what belongs to it.

    :ivar number: its place in the series, from 1
    :ivar name: file name without suffix, such as ``03-qmp-cprsave``
    :ivar fragments: name -> template text, from ``templates/NAME/``
    :ivar source: the series file's own text
    """

    number: int
    name: str
    patch: Patch
    fragments: Mapping[str, str]
    source: str = field(repr=False, default="")

    @property
    def change_id(self) -> str:
        """``I`` and 40 hex digits: the same on every tag, and whatever becomes of the patch.

        It is made from the subject, which is given by the series as posted.
        """
        return "I" + hashlib.sha1(self.patch.subject.encode(), usedforsecurity=False).hexdigest()

    @property
    def content(self) -> str:
        """SHA-256, as hex, over edits and fragments: another one when the patch was changed."""
        parts = (self.patch.edit, sorted(self.fragments.items()))
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


@dataclass(frozen=True)
class Series:
    """All patches that the project has, in order, and the facts they ask for."""

    about: About
    entries: tuple[Entry, ...]
    facts: Mapping[str, Fact]

    def paths(self) -> list[str]:
        """The files that edits and facts name, there or not; a search may find others."""
        edits = (edit for entry in self.entries for edit in entry.patch.edit)
        named = dict.fromkeys(path for edit in edits for path in edit.paths)
        for fact in self.facts.values():
            named.update(dict.fromkeys(case.file for case in fact.case if case.file))
        return list(named)

    @property
    def digest(self) -> str:
        """SHA-256, as hex, over all that decides what the patches become: their state.

        What is promised of them and what checkpatch may find does not.
        """
        whole = hashlib.sha256(msgspec.json.encode((self.about, self.facts), order="sorted"))
        for entry in self.entries:
            patch = msgspec.structs.replace(entry.patch, promise=(), checkpatch=())
            parts = (entry.name, patch, sorted(entry.fragments.items()))
            whole.update(msgspec.json.encode(parts))
        return whole.hexdigest()

    def upto(self, number: int | None) -> Series:
        """The first *number* patches; all of them for ``None``.

        :raise UnknownPatch: there is no such number
        """
        if number is None:
            return self
        self.entry(number)
        return Series(self.about, tuple(e for e in self.entries if e.number <= number), self.facts)

    def entry(self, number: int) -> Entry:
        """The patch of that number.

        :raise UnknownPatch: there is none
        """
        for entry in self.entries:
            if entry.number == number:
                return entry
        last = self.entries[-1].number if self.entries else 0
        raise UnknownPatch(
            f"the series has no patch {number}", f"numbers go from 1 to {last}; see `patchgen list`"
        )


def _decode(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SeriesError(f"{path.name}: {exc}", "mend the file; it is TOML in UTF-8") from exc
    except OSError as exc:
        raise SeriesError(f"{path}: {exc.strerror}", "install patchgen again") from exc


def _convert(path: Path, data: object, kind: Any) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as exc:
        raise SeriesError(f"{path.name}: {exc}", "see docs/series-format.md") from exc


def _check_at(at: At, where: str) -> None:
    kinds = [kind for kind in KINDS if getattr(at, kind) is not None]
    # A call may also be a statement inside of a function.
    if kinds[:1] == ["function"] and "call" in kinds:
        kinds.remove("call")
    if len(kinds) != 1:
        said = " and ".join(kinds) or "none"
        raise SeriesError(f"{where}: an anchor has one kind, this has {said}", "name one")
    if at.file not in (None, "start", "end"):
        raise SeriesError(f"{where}: file is {at.file!r}", "say file = 'start' or 'end'")
    if at.in_body and at.function is None and at.kind != "call":
        raise SeriesError(f"{where}: a statement without its function", "add function = 'name'")
    if at.argument is not None and at.argument != "last" and not at.argument.isdigit():
        raise SeriesError(f"{where}: argument is {at.argument!r}", "a number from 0, or 'last'")


def _check_edit(edit: Edit, where: str) -> None:
    verbs = [verb for verb in VERBS if getattr(edit, verb)]
    if len(verbs) != 1:
        said = " and ".join(verbs) or "none"
        raise SeriesError(
            f"{where}: an edit has one verb, this has {said}", "one of " + ", ".join(VERBS)
        )
    if (edit.at is None) != (edit.verb == "create"):
        raise SeriesError(f"{where}: {edit.verb} with a wrong `at`", "only `create` has no anchor")
    for at in (edit.at, edit.present):
        if at is not None:
            _check_at(at, where)
    if edit.at is not None and edit.insert is not None and edit.present is None:
        outer = edit.insert.after if edit.at.argument == "last" else edit.insert.before
        if outer and edit.at.argument in ("last", "0"):
            raise SeriesError(
                f"{where}: a new first or last argument cannot be told from what it displaces",
                "say what is there afterwards: present = {…}",
            )
    if edit.insert is not None:
        places = [p for p in PLACES if getattr(edit.insert, p)]
        if len(places) != 1:
            raise SeriesError(f"{where}: insert needs one place", "one of " + ", ".join(PLACES))
    if isinstance(edit.file, Files) and bool(edit.file.holding) == bool(edit.file.each):
        raise SeriesError(f"{where}: file without a name", "say holding = or each =")
    if edit.count not in ("1", ">= 1"):
        raise SeriesError(f"{where}: count is {edit.count!r}", 'say "1" or ">= 1"')
    if edit.count != "1" and edit.at is not None and edit.at.kind not in C_KINDS:
        raise SeriesError(f"{where}: count with an anchor of kind {edit.at.kind}", "drop it")


def text_of(value: str, fragments: Mapping[str, str], where: str) -> str:
    """The template text that an edit's value stands for: itself, or a fragment if it is ``@name``.

    :raise FragmentError: there is no such fragment
    """
    if not value.startswith("@") or "\n" in value:
        return value
    try:
        return fragments[value[1:]]
    except KeyError:
        raise FragmentError(
            f"{where}: the fragment {value[1:]} does not exist",
            "it belongs into the patch's folder under templates/",
        ) from None


def values(edit: Edit) -> tuple[str, ...]:
    """The texts (or ``@fragment`` names) of an edit's verb."""
    match edit:
        case Edit(insert=Insert() as insert):
            return (getattr(insert, insert.place),)
        case Edit(wrap=wrap) if wrap is not None:
            return (wrap.before, wrap.after)
        case _:
            return tuple(v for v in (edit.replace, edit.create) if v)


def load_series(series_dir: Path, templates_dir: Path) -> Series:
    """Read all patches, fragments and facts.

    :raise SeriesError: a file is malformed, a number is missing or there twice
    :raise FragmentError: an edit names a fragment that is not there
    """
    entries = []
    for path in sorted(series_dir.glob("[0-9]*.toml")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise SeriesError(f"{path.name}: not of the form NN-name.toml", "rename the file")
        patch: Patch = _convert(path, _decode(path), Patch)
        folder = templates_dir / path.stem
        fragments = {
            f.relative_to(folder).as_posix(): f.read_text(encoding="utf-8")
            for f in sorted(folder.rglob("*.j2"))
        }
        for index, edit in enumerate(patch.edit, 1):
            where = f"{path.name}, edit {index}"
            _check_edit(edit, where)
            for value in values(edit):
                text_of(value, fragments, where)
        text = path.read_text(encoding="utf-8")
        entries.append(Entry(int(match[1]), path.stem, patch, fragments, text))
    numbers = [entry.number for entry in entries]
    if numbers != list(range(1, len(numbers) + 1)):
        raise SeriesError(
            f"the series' numbers are {numbers}", "number the files from 01 without gaps"
        )
    facts_file = series_dir / "facts.toml"
    facts: dict[str, Fact] = _convert(facts_file, _decode(facts_file), dict[str, Fact])
    about_file = series_dir / "series.toml"
    about: About = _convert(about_file, _decode(about_file), About)
    for entry in entries:
        if entry.patch.series_author not in about.authors:
            raise SeriesError(
                f"{entry.name}.toml: the author {entry.patch.series_author} has no address",
                "add it to series/series.toml",
            )
    return Series(about, tuple(entries), facts)


def load_default_series() -> Series:
    """The series that came with this patchgen."""
    from patchgen.paths import data_dir

    return load_series(data_dir("series"), data_dir("templates"))
