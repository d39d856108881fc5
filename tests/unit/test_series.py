"""Series files: what the loader refuses, and what the project's own series keeps to."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from patchgen.engine.series import Entry, load_default_series, load_series, text_of, values
from patchgen.engine.spec import Edit, Files
from patchgen.errors import FragmentError, SeriesError, UnknownPatch

SUBJECTS = (
    "savevm: add vmstate handler iterators",
    "savevm: VM handlers mode mask",
    "savevm: QMP command for cprsave",
    "savevm: HMP Command for cprsave",
    "savevm: QMP command for cprload",
    "savevm: HMP Command for cprload",
    "savevm: QMP command for cprinfo",
    "savevm: HMP command for cprinfo",
    "savevm: prevent cprsave if memory is volatile",
)

GOOD = """
subject = "test: a patch"
series_author = "A B"
message = "Why."

[[edit]]
why = "reason"
file = "a.c"
at = { function = "f" }
insert = { first = "@x.c.j2" }
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A series of one patch: its folder and its templates' folder."""
    series, templates = tmp_path / "series", tmp_path / "templates"
    series.mkdir()
    (templates / "01-a").mkdir(parents=True)
    (templates / "01-a" / "x.c.j2").write_text("x();\n", encoding="utf-8")
    (series / "01-a.toml").write_text(GOOD, encoding="utf-8")
    (series / "facts.toml").write_text("", encoding="utf-8")
    about = 'title = "T"\ntotal = 1\n[authors]\n"A B" = "a@b.example"\n'
    (series / "series.toml").write_text(about, encoding="utf-8")
    return series, templates


def test_good_series(folders: tuple[Path, Path]) -> None:
    loaded = load_series(*folders)
    entry = loaded.entry(1)
    assert (entry.name, entry.patch.subject, entry.source) == ("01-a", "test: a patch", GOOD)
    edit = entry.patch.edit[0]
    assert (edit.verb, values(edit)) == ("insert", ("@x.c.j2",))
    assert text_of("@x.c.j2", entry.fragments, "test") == "x();\n"
    assert text_of("@two\nlines", entry.fragments, "test") == "@two\nlines"
    assert loaded.upto(None) is loaded
    for number in (0, 2):
        with pytest.raises(UnknownPatch):
            loaded.upto(number)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('at = { function = "f" }', 'at = { function = "f", macro = "M" }', "one kind"),
        ('at = { function = "f" }', "at = { }", "one kind"),
        ('at = { function = "f" }', 'at = { funktion = "f" }', "funktion"),
        ('at = { function = "f" }\n', "", "wrong `at`"),
        ('at = { function = "f" }', 'at = { file = "middle" }', "start"),
        ('at = { function = "f" }', 'at = { macro = "M", label = "out" }', "without its function"),
        ('at = { function = "f" }', 'at = { call = "f", argument = "one" }', "argument"),
        ("insert =", "remove = true\ninsert =", "one verb"),
        ('insert = { first = "@x.c.j2" }', "", "one verb"),
        ('{ first = "@x.c.j2" }', '{ first = "a", last = "b" }', "one place"),
        ('{ first = "@x.c.j2" }', '{ middle = "a" }', "middle"),
        ('why = "reason"', 'why = "reason"\ncount = "2"', "count"),
        (
            'at = { function = "f" }',
            'count = ">= 1"\nat = { qapi = "f" }',
            "count with an anchor of kind qapi",
        ),
        ('file = "a.c"', 'file = { among = ["a.c"] }', "without a name"),
        ('file = "a.c"', 'file = { holding = "macro M", each = ["a.c"] }', "without a name"),
        (
            'at = { function = "f" }\ninsert = { first = "@x.c.j2" }',
            'at = { call = "f", argument = "last" }\ninsert = { after = "1" }',
            "present",
        ),
        ('series_author = "A B"', 'series_author = "C D"', "no address"),
        ('why = "reason"\n', "", "why"),
        ("message", "massage", "massage"),
        ("[[edit]]", "[[edit", "01-a.toml"),
    ],
)
def test_refused(folders: tuple[Path, Path], old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    (folders[0] / "01-a.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(SeriesError) as caught:
        load_series(*folders)
    assert said in f"{caught.value.message} {caught.value.fix}"


def test_missing_fragment(folders: tuple[Path, Path]) -> None:
    (folders[1] / "01-a" / "x.c.j2").unlink()
    with pytest.raises(FragmentError):
        load_series(*folders)


@pytest.mark.parametrize("name", ["03-b.toml", "01-b.toml", "2-b.toml"])
def test_numbers_have_no_gaps(folders: tuple[Path, Path], name: str) -> None:
    (folders[0] / name).write_text(GOOD.replace("@x.c.j2", "x"), encoding="utf-8")
    with pytest.raises(SeriesError):
        load_series(*folders)


# -- the project's own series


def every_edit() -> list[tuple[str, Edit]]:
    """(patch and number, edit) of the project's series."""
    return [
        (f"{entry.name}, edit {index}", edit)
        for entry in load_default_series().entries
        for index, edit in enumerate(entry.patch.edit, 1)
    ]


def test_subjects_are_the_cover_letters() -> None:
    entries = load_default_series().entries
    assert tuple(entry.patch.subject for entry in entries)[: len(SUBJECTS)] == SUBJECTS


def test_messages_are_wrapped_and_have_no_trailers() -> None:
    for entry in load_default_series().entries:
        lines = entry.patch.message.split("\n")
        assert max(map(len, lines)) <= 76, entry.name
        assert not [line for line in lines if re.match(r"[\w-]+-by: ", line)], entry.name


def test_every_why_is_one_short_line() -> None:
    for where, edit in every_edit():
        assert edit.why, where
        assert len(edit.why) <= 76, where
        assert "\n" not in edit.why, where


def test_no_text_anchor_and_no_version_in_a_condition() -> None:
    for where, edit in every_edit():
        assert edit.at is None or edit.at.text is None, where
        assert "version" not in (edit.when or ""), where
        assert "release" not in (edit.when or ""), where


def test_fragments_print_a_release_only_after_since() -> None:
    for entry in load_default_series().entries:
        for name, text in entry.fragments.items():
            for line in text.split("\n"):
                if "next_release" in line or "version >@" in line:
                    assert line == "# Since: @< next_release >@", (entry.name, name)


def test_every_fragment_is_used_once() -> None:
    for entry in load_default_series().entries:
        used = [v[1:] for edit in entry.patch.edit for v in values(edit) if v.startswith("@")]
        assert sorted(used) == sorted(entry.fragments), entry.name


def test_what_replaces_or_removes_is_recognized() -> None:
    for where, edit in every_edit():
        if edit.verb == "remove" or (edit.verb == "replace" and edit.at and not edit.at.macro):
            assert edit.present is not None, where


def test_facts_of_conditions_and_fragments_exist() -> None:
    series = load_default_series()
    known = {*series.facts, "next_release"}
    for entry in series.entries:
        texts = [*entry.fragments.values(), *(e.when or "" for e in entry.patch.edit)]
        for text in texts:
            for name in re.findall(r"@%\s*(?:el)?if (\w+)|^(\w+) [!=]=", text):
                assert set(name) - {""} <= known, entry.name


def test_files_with_alternatives_are_distinct() -> None:
    for where, edit in every_edit():
        paths = edit.file
        if isinstance(paths, Files):
            paths = paths.each or paths.among
        if not isinstance(paths, str):
            assert len(paths) == len(set(paths)) > 1, where


def test_the_digest_is_of_what_decides_the_trees() -> None:
    import msgspec

    whole = load_default_series()
    first, *rest = whole.entries

    def with_first(entry: Entry) -> str:
        return replace(whole, entries=(entry, *rest)).digest

    assert with_first(first) == whole.digest == load_default_series().digest
    assert whole.upto(1).digest != whole.digest
    name, text = next(iter(first.fragments.items()))
    assert (
        with_first(replace(first, fragments={**first.fragments, name: text + "\n"})) != whole.digest
    )
    subject = msgspec.structs.replace(first.patch, subject="another")
    assert with_first(replace(first, patch=subject)) != whole.digest
    promises = msgspec.structs.replace(first.patch, promise=(), checkpatch=("WARNING | why",))
    assert with_first(replace(first, patch=promises)) == whole.digest
