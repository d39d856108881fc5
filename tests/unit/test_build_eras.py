from __future__ import annotations

from pathlib import Path

import pytest

from patchgen.build.eras import load_eras, select_era
from patchgen.build.treefiles import TreeFiles
from patchgen.errors import UnknownEra
from tests.unit.build_helpers import Work, make_tree, meson_tree, seal


@pytest.mark.parametrize(
    ("files", "era"),
    [
        (make_tree(), "make"),
        (meson_tree(), "meson-0.59"),
        (meson_tree(**{"meson.build": "meson_version: '>=0.61.3'"}), "meson-0.61"),
        (meson_tree(**{"python/scripts/mkvenv.py": ""}), "wheels"),
    ],
)
def test_era_is_a_fact_of_the_tree(
    files: dict[str, str], era: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(tmp_path, monkeypatch)
    work = Work(tmp_path / "qemu")
    assert select_era(TreeFiles(work.repo, work.commit(files))).name == era


def test_a_tree_of_no_era_says_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(tmp_path, monkeypatch)
    work = Work(tmp_path / "qemu")
    with pytest.raises(UnknownEra) as failed:
        select_era(TreeFiles(work.repo, work.commit({"configure": "", "VERSION": "9\n"})))
    assert "make, meson-0.59, meson-0.61, wheels" in failed.value.message
    assert failed.value.exit_code == 4


def test_eras_exclude_each_other_by_name_and_build_one_binary() -> None:
    eras = load_eras()
    assert len({era.name for era in eras}) == len(eras) == 4
    for era in eras:
        assert era.binary.endswith("qemu-system-x86_64")
        assert "(?P<value>" in era.summary and "{name}" in era.summary
        assert ("ninja" in era.commands) == era.ninja
