"""``patchgen trailers MBOX``: what reviewers gave, kept for the next version of the mails."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from patchgen.replies import Ignored
from patchgen.ui import Ui


@dataclass(frozen=True)
class Trailer:
    """One trailer that is kept.

    :ivar number: of the patch
    :ivar version: of the mails that it was given to
    :ivar state: ``new`` now, ``kept`` from before
    :ivar carried: whether the next export has it; not if the patch has changed since
    """

    number: int
    subject: str
    trailer: str
    version: int
    state: str
    carried: bool


@dataclass(frozen=True)
class TrailersRecord:
    """The result.

    :ivar file: where they are kept
    :ivar written: whether that file was changed
    :ivar mails, replies: how many mails were read, and how many of them answer to the series
    """

    file: Path
    written: bool
    mails: int
    replies: int
    trailers: tuple[Trailer, ...]
    ignored: tuple[Ignored, ...]


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return TrailersRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "mbox",
        nargs="?",
        type=Path,
        metavar="MBOX",
        help="a mailbox with replies; without it, what is kept is shown",
    )
    parser.add_argument(
        "--any-sender", action="store_true", help="take trailers of others than who sent the reply"
    )
    parser.add_argument("--dry-run", action="store_true", help="keep nothing, only show")


def run(args: argparse.Namespace, ui: Ui) -> TrailersRecord:
    """Read the mailbox, put what is new to what is kept.

    :raise BadMailbox: it is no mailbox
    :raise ReviewsError: what is kept cannot be read
    :raise StorageError: a file cannot be read or written
    """
    from patchgen.engine.series import load_default_series
    from patchgen.paths import reviews_files
    from patchgen.replies import Found, read_replies
    from patchgen.reviews import carried, load_reviews, save_reviews

    series = load_default_series()
    shipped, file = reviews_files()
    known = {one.identity: one for one in load_reviews(shipped, file)}
    found = Found(0, 0, (), ())
    if args.mbox is not None:
        found = read_replies(args.mbox, series, any_sender=args.any_sender)
    new = {
        one.identity: one
        for one in found.reviews
        if one.identity not in known or known[one.identity].version <= one.version
    }
    changed = [one for name, one in new.items() if known.get(name) != one]
    if changed and not args.dry_run:
        mine = {one.identity: one for one in load_reviews(file)}
        save_reviews(file, list({**mine, **{one.identity: one for one in changed}}.values()))
    everything = {**known, **new}
    numbers = {entry.change_id: entry.number for entry in series.entries}
    now = carried(series, everything.values())
    trailers = [
        Trailer(
            numbers[one.change],
            one.subject,
            one.trailer,
            one.version,
            "new" if one in changed else "kept",
            one not in now.stale,
        )
        for one in everything.values()
        if one.change in numbers
    ]
    trailers.sort(key=lambda one: one.number)
    return TrailersRecord(
        file,
        bool(changed) and not args.dry_run,
        found.mails,
        found.replies,
        tuple(trailers),
        found.ignored,
    )


def text(record: TrailersRecord) -> str:
    """The record for people."""
    lines = []
    for one in record.trailers:
        stale = "" if one.carried else "  (the patch has changed since, so it is left out)"
        lines.append(f"{one.number:02} {one.state:<5} v{one.version} {one.trailer}{stale}")
    lines += [f"ignored: {one.trailer}: {one.reason} ({one.mail})" for one in record.ignored]
    if record.mails:
        lines.append(f"{record.mails} mails, {record.replies} replies to the series")
    new = sum(one.state == "new" for one in record.trailers)
    if new and not record.written:
        lines.append(f"dry run: {new} new trailers would be kept in {record.file}")
    else:
        lines.append(
            f"{len(record.trailers)} trailers are kept in {record.file}, {new} of them new"
        )
    return "\n".join(lines)


def exit_code(record: TrailersRecord) -> int:
    """0: what fails is an error, not a record."""
    return 0
