"""``patchgen apply TAG``: the branch of the series on a QEMU tag."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from patchgen.background import Background
from patchgen.config import load_config
from patchgen.source.options import add_source_options, given, given_path
from patchgen.source.resolve import resolve
from patchgen.ui import Ui

if TYPE_CHECKING:
    from patchgen.branch import BranchRecord, PatchRecord
    from patchgen.engine.series import Series


def record_type() -> object:
    """The type of the command's record, for its schema."""
    from patchgen.branch import BranchRecord

    return BranchRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("tag", metavar="TAG", help="a tag, a branch or a commit id of QEMU")
    add_source_options(parser)
    parser.add_argument("--upto", type=int, metavar="N", help="only the patches 1 to N")
    parser.add_argument(
        "--branch", type=given, metavar="NAME", default=None, help="default: cpr/TAG"
    )
    parser.add_argument(
        "--worktree",
        type=given_path,
        metavar="DIR",
        help="check the branch out in DIR, a new directory",
    )
    parser.add_argument("--signoff", action="store_true", help="add your Signed-off-by")
    parser.add_argument(
        "--force", action="store_true", help="replace a branch that patchgen did not make"
    )
    parser.add_argument("--dry-run", action="store_true", help="write nothing to the repository")
    parser.add_argument("--diff", action="store_true", help="show every commit with its diff")


def run(args: argparse.Namespace, ui: Ui) -> BranchRecord:
    """Resolve the tag, generate, write the branch."""
    config = load_config()
    # Imported while git answers: the engine takes longer than git does. In the thread, since an
    # interrupt reaches only this one, which can tidy up after a fetch.
    engine = Background(lambda: _series(args.upto))
    if args.upto is not None:
        engine.result()  # a wrong number is told before anything is fetched
    base = resolve(args.tag, repo=args.repo, source=args.source, config=config, ui=ui)
    series = engine.result()
    from patchgen.branch import Wish, make_branch

    wish = Wish(args.branch or "", args.worktree, args.signoff, args.force, args.dry_run, args.diff)
    return make_branch(base, series, wish)


def _series(upto: int | None) -> Series:
    import patchgen.branch  # noqa: F401  (all that is needed later)
    from patchgen.engine.series import load_default_series

    return load_default_series().upto(upto)


def _stat(patch: PatchRecord) -> str:
    added = sum(file.added for file in patch.files)
    removed = sum(file.removed for file in patch.files)
    files = "1 file" if len(patch.files) == 1 else f"{len(patch.files)} files"
    return f"{files:>8}  {f'+{added}':>5} {f'-{removed}':>4}" if patch.files else ""


def drift_text(patch: PatchRecord) -> list[str]:
    """Lines that say what drifted in a patch and where to look.

    Edits that only lack an earlier patch are counted: they tell nothing of their own.
    """
    lines = []
    waiting: dict[tuple[int, ...], int] = {}
    for drift in patch.drifts:
        if drift.needs:
            waiting[drift.needs] = waiting.get(drift.needs, 0) + 1
            continue
        lines.append(f"      {drift.code} edit {drift.edit} ({drift.why}): {drift.file}")
        lines.append(f"        {drift.reason}")
        for near in drift.candidates:
            lines.append(f"        near: {near.name} ({near.score:.2f}) {near.file}:{near.line}")
    for needs, count in waiting.items():
        which = f"patch {' and '.join(map(str, needs))}, which drifted"
        edits = "1 edit needs" if count == 1 else f"{count} edits need"
        lines.append(f"      PG358 {edits} {which}")
    return lines


def text(record: BranchRecord) -> str:
    """The record for people."""
    lines = [record.diff] if record.diff else []
    base = f"{record.tag} = {record.base[:12]}"
    lines.append(f"QEMU {record.version}, {base}, from {record.origin}: {record.place}")
    for patch in record.patches:
        state = f"{patch.number:02} {patch.state.value:<13} {patch.commit[:12]:<12}"
        lines.append(f"  {state} {_stat(patch):<22} {patch.subject}")
        lines.extend(drift_text(patch))
    files = {file.path for patch in record.patches for file in patch.files}
    added = sum(file.added for patch in record.patches for file in patch.files)
    removed = sum(file.removed for patch in record.patches for file in patch.files)
    if record.drifts:
        lines.append(
            f"{len(record.drifts)} edits do not fit this tree; the branch {record.branch} was not"
            " written"
        )
        return "\n".join(lines)
    pinned = {"equal": ", as pinned", "different": ", NOT as pinned", "unknown": ""}
    tree = f"tree {record.tree[:12]}{pinned[record.pin.value]}"
    lines.append(f"{len(files)} files, +{added} -{removed}; {tree}")
    said = {
        "created": f"branch {record.branch} created at {record.head[:12]}",
        "replaced": f"branch {record.branch} is {record.head[:12]} now, was {record.previous}",
        "unchanged": f"branch {record.branch} unchanged at {record.head[:12]}",
        "dry-run": f"dry run: branch {record.branch} would be {record.head[:12]}",
    }[record.state.value]
    lines.append(f"{said} in {record.repo}")
    if record.worktree:
        lines.append(f"checked out in {record.worktree}")
    return "\n".join(lines)


def exit_code(record: BranchRecord) -> int:
    """3 if a patch drifted."""
    return 3 if record.drifts else 0
