"""Puts a tree on disk as it is built: exported, submodules copied in, configured."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from patchgen.build.diagnostics import failure_detail
from patchgen.build.features import blame_packages, check_summary
from patchgen.build.modules import export_tree
from patchgen.build.plan import Plan
from patchgen.build.record import Workdir
from patchgen.build.runner import Ran, run_logged
from patchgen.build.toolchain import full_env
from patchgen.errors import ConfigureFailed, LibraryMissing
from patchgen.git.repo import Repo
from patchgen.ui import Ui

_SILENT = "subdir_done()\n"


def complete_source(plan: Plan, source: Path) -> None:
    """Add what the exported tree lacks; harmless when it is there already."""
    for one in plan.supplies:
        place = source / one.path
        if not place.is_dir() or not any(place.iterdir()):
            shutil.copytree(
                one.directory,
                place,
                symlinks=True,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns(".git"),
            )
    for path in plan.placeholders:
        (source / path).touch()
    for path in plan.silenced:
        file = source / path
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if text and not text.startswith(_SILENT):
            file.write_text(_SILENT + text, encoding="utf-8", newline="\n")


def export_source(plan: Plan, repo: Repo, tree: str, source: Path) -> None:
    """Write *tree* into the new directory *source*, all or nothing."""
    partial = source.with_name(f"{source.name}.partial")
    for old in (partial, source):
        shutil.rmtree(old, ignore_errors=True)
    export_tree(repo, tree, partial)
    complete_source(plan, partial)
    partial.rename(source)


def is_intact(plan: Plan, repo: Repo, tree: str, source: Path) -> bool:
    """Whether all files of *tree* are in *source* and as long as they must be.

    A look at 7000 files costs 60 ms; a build that goes on over missing ones fails for no reason
    that its user could see.
    """
    changed = {*plan.silenced, *plan.placeholders}
    listed = repo.git("ls-tree", "-r", "-l", "-z", tree).stdout.split(b"\0")
    for row in listed:
        head, _, name = row.partition(b"\t")
        fields = head.split()
        if len(fields) != 4 or fields[1] != b"blob" or os.fsdecode(name) in changed:
            continue
        try:
            size = (source / os.fsdecode(name)).lstat().st_size
        except OSError:
            return False
        if size != int(fields[3]):
            return False
    return True


def configure(plan: Plan, work: Workdir, ui: Ui) -> tuple[dict[str, str], float]:
    """Run configure in a new build directory; returns the summary's features and the seconds.

    :raise LibraryMissing: configure misses something whose package is known
    :raise FeatureMissing: it succeeded without a feature of the set
    :raise ConfigureFailed: any other failure
    """
    shutil.rmtree(work.build, ignore_errors=True)
    work.build.mkdir(parents=True)
    command = plan.configure()
    started = time.monotonic()
    ui.step(f"configuring ({plan.era.about}, {plan.options.features} features)")
    ran = run_logged(command, cwd=work.build, env=full_env(plan.env), log=work.log)
    seconds = round(time.monotonic() - started, 1)
    if ran.code != 0:
        raise _configure_error(plan, ran, work)
    return check_summary(plan.era, plan.features, ran.output), seconds


def _configure_error(plan: Plan, ran: Ran, work: Workdir) -> LibraryMissing | ConfigureFailed:
    packages = blame_packages(plan.features, ran.output)
    detail = failure_detail(ran.lines)
    if packages:
        return LibraryMissing(
            f"configure failed: it misses {' '.join(packages)}; log: {work.log}",
            f"apt install {' '.join(packages)}",
            detail,
        )
    return ConfigureFailed(
        f"configure failed with exit code {ran.code}; log: {work.log}",
        "see its error above; `patchgen build --packages` lists what Debian needs",
        detail,
    )
