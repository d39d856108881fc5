from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from patchgen.build.eras import load_eras
from patchgen.build.modules import Supply, supply_module
from patchgen.build.treefiles import TreeFiles
from patchgen.errors import ModuleMissing
from tests.unit.build_helpers import QuietUi, Work, make_tree, seal

# Without its home of today: these tests stay off the network.
MODULE = msgspec.structs.replace(
    next(era for era in load_eras() if era.name == "make").module[0], url=""
)


class Scene:
    """A QEMU repository with a keycodemapdb submodule that is not checked out."""

    def __init__(self, tmp_path: Path) -> None:
        self.keys = Work(tmp_path / "keys")
        self.revision = self.keys.commit({"README": "exact\n"})
        self.keys.commit({"README": "later\n"})
        self.qemu = Work(tmp_path / "qemu")
        files = make_tree()
        del files["ui/keycodemapdb/README"]
        files[".gitmodules"] = (
            '[submodule "ui/keycodemapdb"]\n\tpath = ui/keycodemapdb\n\turl = /nowhere/keys.git\n'
        )
        self.qemu.commit(files)
        link = f"160000,{self.revision},ui/keycodemapdb"
        for args in (["update-index", "--add", "--cacheinfo", link], ["commit", "-qm", "link"]):
            subprocess.run(["git", "-C", str(self.qemu.path), *args], check=True)
        self.files = TreeFiles(self.qemu.repo, self.qemu.repo.line("rev-parse", "HEAD"))
        self.ui = QuietUi()

    def supply(self, **given: str) -> Supply | None:
        return supply_module(self.files, MODULE, given, self.ui)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    seal(tmp_path, monkeypatch)
    return Scene(tmp_path)


def said(supply: Supply | None) -> str:
    assert supply
    return (supply.directory / "README").read_text().strip()


def test_the_tree_itself_needs_nothing(scene: Scene) -> None:
    unlink = ["git", "-C", str(scene.qemu.path), "rm", "-q", "--cached", "ui/keycodemapdb"]
    subprocess.run(unlink, check=True)
    files = TreeFiles(scene.qemu.repo, scene.qemu.commit(make_tree()))
    assert supply_module(files, MODULE, {}, scene.ui) is None


def test_nowhere(scene: Scene) -> None:
    with pytest.raises(ModuleMissing) as failed:
        scene.supply()
    assert "--submodule ui/keycodemapdb=" in failed.value.fix
    assert scene.revision in failed.value.detail and failed.value.exit_code == 4


def test_a_repository_gives_the_revision_of_the_tree(scene: Scene) -> None:
    supply = scene.supply(keycodemapdb=str(scene.keys.path))
    assert said(supply) == "exact"
    assert supply and supply.exact and supply.revision == scene.revision
    assert not scene.ui.warnings


def test_a_plain_directory_is_taken_with_a_warning(scene: Scene, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "README").write_text("plain\n")
    assert said(scene.supply(**{"ui/keycodemapdb": str(plain)})) == "plain"
    assert "not the revision" in scene.ui.warnings[0]


def test_a_given_place_without_it_is_an_error(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModuleMissing, match="--submodule"):
        scene.supply(keycodemapdb=str(tmp_path / "empty"))


def test_the_environment_names_a_place(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHGEN_KEYCODEMAPDB", f"file://{scene.keys.path}")
    assert said(scene.supply()) == "exact"
    monkeypatch.delenv("PATCHGEN_KEYCODEMAPDB")
    assert said(scene.supply()) == "exact", "what was fetched once stays in the cache"


def test_the_repositorys_own_checkout_and_store(scene: Scene) -> None:
    store = scene.qemu.path / ".git" / "modules" / "ui" / "keycodemapdb"
    store.parent.mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(scene.keys.path), str(store)], check=True)
    supply = scene.supply()
    assert said(supply) == "exact"
    assert supply and "store" in supply.origin


def test_a_distributions_source_is_better_than_nothing(scene: Scene, tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "qemu.git"
    debian = Work(tmp_path / "debian")
    commit = debian.commit({"ui/keycodemapdb/README": "debian\n"})
    subprocess.run(["git", "clone", "-q", "--bare", str(debian.path), str(cached)], check=True)
    ref = "refs/patchgen/distro/debian/5.2"
    subprocess.run(["git", "-C", str(cached), "update-ref", ref, commit], check=True)
    supply = scene.supply()
    assert said(supply) == "debian" and supply and supply.origin == "distro/debian/5.2"
    assert scene.ui.warnings
