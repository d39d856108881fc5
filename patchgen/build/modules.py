"""The content of the git submodules that an exported tree lacks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from patchgen.build.eras import Module
from patchgen.build.treefiles import TreeFiles
from patchgen.children import child
from patchgen.errors import GitFailed, ModuleMissing, StorageError, UserError
from patchgen.git.repo import Repo, git_environment
from patchgen.paths import cache_dir
from patchgen.ui import Ui

_URL = re.compile(r"^[a-z+]+://|^[\w.-]+@[\w.-]+:")


@dataclass(frozen=True)
class Supply:
    """Content of a module, ready to be copied.

    :ivar path: where it goes in the tree
    :ivar directory: where it is
    :ivar origin: where it came from, for metadata
    :ivar revision: its commit id, empty if unknown
    :ivar exact: whether that is the revision which the tree asks for
    """

    path: str
    directory: Path
    origin: str
    revision: str
    exact: bool


def wanted_revision(files: TreeFiles, module: Module) -> str:
    """The commit id that the tree asks for, empty if it does not say (a tarball's tree)."""
    if module.wrap:
        found = re.search(r"^revision\s*=\s*(\S+)", files.read(module.wrap), re.MULTILINE)
        return found[1] if found else ""
    return files.gitlink(module.path) or ""


def module_url(files: TreeFiles, module: Module) -> str:
    """The URL that the tree gives for the module, empty if none."""
    if module.wrap:
        found = re.search(r"^url\s*=\s*(\S+)", files.read(module.wrap), re.MULTILINE)
        return found[1] if found else ""
    section = files.read(".gitmodules").partition(f"path = {module.path}\n")[2]
    found = re.match(r"\s*url\s*=\s*(\S+)", section)
    return found[1] if found else ""


def _export(repo: Repo, revision: str, subdir: str, module: Module) -> Path | None:
    """Unpack ``revision:subdir`` of *repo* into the cache; ``None`` if there is no such thing."""
    name = f"{revision}:{subdir}" if subdir else f"{revision}^{{tree}}"
    found = repo.git("rev-parse", "--verify", "--quiet", name, check=False)
    tree = found.stdout.decode().strip()
    if not tree or repo.git("cat-file", "-e", f"{tree}:{module.probe}", check=False).returncode:
        return None
    place = cache_dir() / "modules" / module.name / tree
    if not place.is_dir():
        partial = place.with_name(f"{tree}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        export_tree(repo, tree, partial)
        try:
            partial.rename(place)
        except OSError:
            shutil.rmtree(partial)
    return place


def export_tree(repo: Repo, tree: str, place: Path) -> None:
    """Write the files of *tree* below *place*, which is made.

    :raise GitFailed: git or tar failed
    """
    place.mkdir(parents=True)
    archive = ["git", "--git-dir", str(repo.git_dir), "archive", "--format=tar", tree]
    unpack = ["tar", "-x", "-C", str(place)]
    pipe = subprocess.PIPE
    # Neither may go on writing when this process is killed: the next run begins anew there.
    with (
        child(archive, stdout=pipe, stderr=pipe, env=git_environment(repo.env)) as git,
        child(unpack, stdin=git.stdout, stdout=subprocess.DEVNULL, stderr=pipe) as tar,
    ):
        assert git.stdout is not None
        git.stdout.close()  # tar's alone, so that git hears of its end
        told = tar.communicate()[1]
        said = git.communicate()[1]
    if git.returncode or tar.returncode:
        # tar's words first: that git could not go on writing to it is a consequence.
        text = (told + said).decode("utf-8", "replace").strip()
        why = text.partition("\n")[0].rpartition(": ")[2] or f"exit code {git.returncode}"
        kind = StorageError if tar.returncode else GitFailed
        raise kind(
            f"the tree {tree[:12]} cannot be unpacked in {place}: {why}",
            "see what is said; make room, or mend the permissions",
            text,
        )


def _from_repo(repo: Repo, wanted: str, module: Module, origin: str) -> Supply | None:
    exact = repo.commit_id(wanted) if wanted else None
    revision = exact or repo.commit_id("HEAD")
    place = _export(repo, revision, "", module) if revision else None
    if place is None or revision is None:
        return None
    return Supply(module.path, place, origin, revision, exact is not None or not wanted)


def _from_place(place: str, wanted: str, module: Module, origin: str) -> Supply | None:
    """Content from a directory with files, a git repository, or a URL."""
    if _URL.match(place):
        return _from_url(place, wanted, module)
    path = Path(place).expanduser().absolute()
    try:
        repo = Repo.discover(path)
    except UserError:
        repo = None
    if repo and (supply := _from_repo(repo, wanted, module, origin)):
        return supply
    if (path / module.probe).is_file():
        return Supply(module.path, path, origin, "", not wanted)
    return None


def _from_url(url: str, wanted: str, module: Module) -> Supply | None:
    repo = Repo.create_bare(cache_dir() / "modules" / f"{module.name}.git")
    if not (wanted and repo.commit_id(wanted)):
        what = [wanted] if wanted else ["HEAD"]
        for refs in (what, ["+refs/heads/*:refs/heads/*"]):
            slow = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=20"]
            done = repo.git(*slow, "fetch", "--quiet", "--no-tags", url, *refs, check=False)
            if done.returncode == 0:
                break
        else:
            return None
        if not wanted:
            wanted = repo.line("rev-parse", "FETCH_HEAD")
    return _from_repo(repo, wanted, module, url)


def _as_told(module: Module, given: Mapping[str, str], wanted: str) -> Supply | None:
    """Content from the place that the user named, whatever its revision."""
    variable = f"PATCHGEN_{module.name.upper()}"
    for place, origin in (
        (given.get(module.path) or given.get(module.name), "--submodule"),
        (os.environ.get(variable), variable),
    ):
        if place:
            supply = _from_place(place, wanted, module, origin)
            if supply is None:
                raise ModuleMissing(
                    f"{origin}: {place} does not hold {module.path}",
                    f"give a directory, git repository or URL with {module.name}'s {module.probe}",
                )
            return supply
    return None


def _at_hand(repo: Repo, module: Module, wanted: str) -> Iterator[Supply | None]:
    """Content from this machine, without the network."""
    common = Path(repo.line("rev-parse", "--path-format=absolute", "--git-common-dir"))
    tops = {common.parent, repo.git_dir.parent} if common.name == ".git" else set()
    for top in sorted(tops):
        if (top / module.path / module.probe).is_file():
            yield _from_place(str(top / module.path), wanted, module, "the repository's submodule")
    store = common / "modules" / module.path
    if store.is_dir():
        yield _from_repo(Repo(store), wanted, module, "the repository's submodule store")
    keep = cache_dir() / "modules" / f"{module.name}.git"
    if keep.is_dir():
        yield _from_repo(Repo(keep), wanted, module, "the cache")
    yield from _from_distro(module)


def _from_distro(module: Module) -> Iterator[Supply | None]:
    """Content from the distribution's QEMU sources, which come with the modules unpacked."""
    cached = cache_dir() / "qemu.git"
    if not cached.is_dir():
        return
    repo = Repo(cached)
    refs = repo.line("for-each-ref", "--format=%(refname)", "refs/patchgen/distro/").split()
    for ref in refs:
        for subdir in (module.path, f"ui/{module.name}", f"subprojects/{module.name}"):
            place = _export(repo, ref, subdir, module)
            if place:
                yield Supply(module.path, place, ref.removeprefix("refs/patchgen/"), "", False)


def supply_module(
    files: TreeFiles, module: Module, given: Mapping[str, str], ui: Ui
) -> Supply | None:
    """Find a module's content; ``None`` if the tree itself holds it.

    Asked in order: the tree, *given* (module path or name -> directory, repository or URL),
    ``PATCHGEN_<NAME>``, the user's repository's own submodule, the cache, the distribution's
    sources in the cache, the URL in the tree, the module's home of today. What the user named is
    taken as it is; of the rest the exact revision wins, and the network is asked last.

    :raise ModuleMissing: no place has it
    """
    if files.exists(f"{module.path}/{module.probe}"):
        return None
    wanted = wanted_revision(files, module)
    best = _as_told(module, given, wanted)
    found = [] if best else [one for one in _at_hand(files.repo, module, wanted) if one]
    best = best or next((one for one in found if one.exact), None)
    urls = [url for url in (module_url(files, module), module.url) if url]
    for url in dict.fromkeys(urls):
        if best is None and not found:
            ui.step(f"fetching {module.path} from {url}")
            best = _from_url(url, wanted, module)
    if best is None and found:
        best = found[0]
    if best is None:
        raise ModuleMissing(
            f"{module.path} (a git submodule of QEMU) is at no place that was asked",
            f"give its directory, git repository or URL: --submodule {module.path}=PLACE",
            f"revision {wanted or 'unknown'}, asked: {', '.join(urls) or 'no URL'}",
        )
    if not best.exact:
        ui.warn(f"{module.path} is taken from {best.origin}, not the revision this tree names")
    return best
