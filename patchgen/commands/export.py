"""``patchgen export TAG -o DIR``: cover letter and mails, as ``git format-patch`` writes them."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path

from patchgen.config import load_config
from patchgen.source.options import add_source_options
from patchgen.source.resolve import resolve
from patchgen.ui import Ui


@dataclass(frozen=True)
class Mail:
    """One mail.

    :ivar number: of the patch in the series, 0 for the cover letter
    :ivar changed: whether it was written now; else it was there just so
    """

    number: int
    file: str
    subject: str
    changed: bool


@dataclass(frozen=True)
class ExportRecord:
    """The mails of one tag.

    :ivar base: id of the commit that the mails are for
    :ivar head, tree: what ``git am`` of them gives: our last commit, and the tree
    :ivar state: what became of the branch: ``created``, ``replaced``, ``unchanged``
    :ivar removed: mails of an earlier export that went
    :ivar kept: other mails in the directory, which patchgen did not write or which were changed
    """

    tag: str
    version: str
    repo: str
    branch: str
    state: str
    base: str
    head: str
    tree: str
    directory: Path
    mails: tuple[Mail, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return ExportRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("tag", metavar="TAG", help="a tag, a branch or a commit id of QEMU")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="where the mails go"
    )
    parser.add_argument("--upto", type=int, metavar="N", help="only the patches 1 to N")
    parser.add_argument("--signoff", action="store_true", help="add your Signed-off-by")
    parser.add_argument(
        "--force", action="store_true", help="overwrite files that patchgen did not write"
    )
    add_source_options(parser)


def run(args: argparse.Namespace, ui: Ui) -> ExportRecord:
    """Make the branch unless it is there, have git write the mails, put them into place."""
    from patchgen.branch import require_branch
    from patchgen.cover import cover_text
    from patchgen.engine.series import load_default_series
    from patchgen.export import write_mails

    series = load_default_series().upto(args.upto)
    base = resolve(args.tag, repo=args.repo, source=args.source, config=load_config(), ui=ui)
    record = require_branch(base, series, args.upto is None, ui, signoff=args.signoff)
    cover = cover_text(series, record)
    written = write_mails(base, record, cover, args.output, force=args.force, ui=ui)
    if written.kept:
        ui.warn(f"{written.directory} also holds {', '.join(written.kept)}, which is left alone")
    heads = [
        (0, cover.partition("\n")[0]),
        *((p.number, p.subject) for p in record.patches if p.commit),
    ]
    return ExportRecord(
        record.tag,
        record.version,
        record.repo,
        record.branch,
        record.state.value,
        record.base,
        record.head,
        record.tree,
        written.directory,
        tuple(
            Mail(number, name, subject, name in written.changed)
            for (number, subject), name in zip(heads, written.files, strict=True)
        ),
        written.removed,
        written.kept,
    )


def text(record: ExportRecord) -> str:
    """The record for people."""
    lines = [
        f"QEMU {record.version}, {record.tag} = {record.base[:12]}; tree {record.tree[:12]}"
        f" with {len(record.mails) - 1} patches"
    ]
    for mail in record.mails:
        lines.append(f"  {'written' if mail.changed else 'unchanged':<10}{mail.file}")
    lines += [f"  {'removed':<10}{name}" for name in record.removed]
    lines.append(f"git am --empty=drop {shlex.quote(str(record.directory))}/*.patch")
    return "\n".join(lines)


def exit_code(record: ExportRecord) -> int:
    """0: what fails is an error, not a record."""
    return 0
