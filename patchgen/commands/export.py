"""``patchgen export TAG -o DIR``: cover letter and mails, as ``git format-patch`` writes them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from patchgen.baseline import Baseline
from patchgen.commands.build import add_build_options, build_options, subject_of_branch
from patchgen.commits import Credit
from patchgen.config import Config, load_config
from patchgen.errors import NotAnAuthor, UsageError
from patchgen.gates.record import Gate, GateResult, GateState
from patchgen.source.options import add_source_options, given_path
from patchgen.source.resolve import Base, resolve
from patchgen.ui import Ui

if TYPE_CHECKING:
    from patchgen.engine.series import Series
    from patchgen.gates.run import Checked
    from patchgen.mails import Letter
    from patchgen.mails import Mail as MailBytes
    from patchgen.reviews import Carried


@dataclass(frozen=True)
class Mail:
    """One mail.

    :ivar number: of the patch in the series, 0 for the cover letter
    :ivar change: the patch's change id; empty for the cover letter
    :ivar changed: whether it was written now; else it was there just so
    """

    number: int
    file: str
    subject: str
    change: str
    message_id: str
    changed: bool


@dataclass(frozen=True)
class ExportRecord:
    """The mails of one tag.

    :ivar base: id of the commit that the mails are for
    :ivar baseline: how the mails name it
    :ivar head, tree: what ``git am`` of them gives: our last commit, and the tree
    :ivar state: what became of the branch: ``created``, ``replaced``, ``unchanged``
    :ivar posting: version of the mails, from 1
    :ivar crlf: lines of the mails end in CR LF, so that ``git am`` needs ``--keep-cr``
    :ivar mbox: the file that holds all mails; empty where nothing was written
    :ivar mails: empty where a gate failed, since nothing was written then
    :ivar removed: mails of an earlier export of that version that went
    :ivar kept: other mails in the directory, which patchgen did not write or which were changed
    :ivar stale: kept review trailers of patches that have changed since, as ``number: trailer``
    """

    tag: str
    version: str
    repo: str
    branch: str
    state: str
    base: str
    baseline: Baseline
    head: str
    tree: str
    directory: Path
    posting: int
    crlf: bool
    mbox: str
    gates: tuple[GateResult, ...]
    mails: tuple[Mail, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    stale: tuple[str, ...]


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return ExportRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("tag", metavar="TAG", help="a tag, a branch or a commit id of QEMU")
    parser.add_argument(
        "-o", "--output", type=given_path, required=True, metavar="DIR", help="where the mails go"
    )
    parser.add_argument(
        "-v", "--reroll-count", type=int, default=1, metavar="N", help="version of the mails"
    )
    parser.add_argument(
        "--cover-letter",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="mail 0000; there is one by default if there is more than one patch",
    )
    for name in ("to", "cc"):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="ADDRESS",
            help=f"a header {name.title()} in all mails; may be given again",
        )
    parser.add_argument("--signoff", action="store_true", help="add your Signed-off-by")
    parser.add_argument(
        "--author",
        choices=("me", "series"),
        default="me",
        help="whose commits they are: yours, or, if you are one of them, the series' authors'",
    )
    parser.add_argument(
        "--range-diff",
        metavar="OLD",
        help="in the cover letter, what changed since OLD: a version exported before, a branch of "
        "the series, or another QEMU tag",
    )
    parser.add_argument(
        "--no-gate",
        action="append",
        default=[],
        metavar="NAME,...",
        help=f"a gate that is not tried: {', '.join(gate.value for gate in Gate)}; or all",
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite files that patchgen did not write"
    )
    add_build_options(parser)
    add_source_options(parser)


def run(args: argparse.Namespace, ui: Ui) -> ExportRecord:
    """Make the branch unless it is there, have git write the mails, put them into place.

    :raise UsageError: options that do not go together
    :raise PatchgenError: others, by what fails; a gate that fails is no error but in the record
    """
    from patchgen.branch import require_branch
    from patchgen.engine.series import load_default_series
    from patchgen.gates.run import Checked, gates_off
    from patchgen.git.scratch import scratch_repo
    from patchgen.paths import reviews_files
    from patchgen.reviews import carried, load_reviews

    off = gates_off(args.no_gate)
    _check_options(args)
    config = load_config()
    build_options(args, config, "full")  # its errors come before the work
    series = load_default_series().upto(args.upto)
    base = resolve(args.tag, repo=args.repo, source=args.source, config=config, ui=ui)
    reviews = carried(series, load_reviews(*reviews_files()))
    credit = Credit(args.signoff, args.author == "series", reviews.trailers)
    if credit.by_series:
        _require_author(base, series)
    record = require_branch(base, series, args.upto is None, ui, credit)
    with scratch_repo(base.repo) as scratch:
        what = Checked(base, record, series, scratch, credit, off)
        return _export(args, what, reviews, config, ui)


def _check_options(args: argparse.Namespace) -> None:
    from patchgen.mails import split_address

    if not 1 <= args.reroll_count <= 999:
        raise UsageError(f"-v {args.reroll_count}: no version", "give a number from 1 to 999")
    if args.range_diff and args.cover_letter is False:
        raise UsageError(
            "--range-diff goes into the cover letter, and --no-cover-letter leaves it out",
            "give one of the two options",
        )
    for one in (*args.to, *args.cc):
        if split_address(one) is None:
            raise UsageError(
                f"{one!r} is no address", "give 'Name <address>' or the address, one per option"
            )


def _require_author(base: Base, series: Series) -> None:
    """Refuse to write commits in somebody else's name.

    :raise NotAnAuthor: git's identity is not one of the series' authors
    """
    me = base.repo.identity()
    if me.email.lower() not in {one.lower() for one in series.about.authors.values()}:
        names = " and ".join(series.about.authors)
        raise NotAnAuthor(
            f"--author series is for {names} themselves, and you are {me}",
            "leave it out: the commits are yours, and a trailer names whom they are based on",
        )


def _export(
    args: argparse.Namespace, what: Checked, reviews: Carried, config: Config, ui: Ui
) -> ExportRecord:
    from patchgen.baseline import baseline
    from patchgen.export import look_first, write_files
    from patchgen.gates.run import compile_gate, quick_gates, with_maintainers
    from patchgen.mails import addressed
    from patchgen.rangediff import keep_version

    base, record = what.base, what.record
    touched = [file.path for patch in record.patches for file in patch.files]
    line = baseline(base, touched, config.upstream)
    numbers = {entry.change_id: entry.number for entry in what.series.entries}
    stale = {numbers[one.change] for one in reviews.stale}
    letter, mails = _written(args, what, line, sorted(stale), config, ui)
    maintainers, mails = with_maintainers(what, mails, ui)
    mails = addressed(mails, letter, what.series, base.repo.identity())
    gates = {one.gate: one for one in (maintainers, *quick_gates(what, mails, ui))}
    files = {mail.name: mail.content for mail in mails}
    files[letter.mbox] = b"".join(mail.content for mail in mails)
    directory = args.output.absolute()
    done = ExportRecord(
        record.tag,
        record.version,
        record.repo,
        record.branch,
        record.state.value,
        record.base,
        line,
        record.head,
        record.tree,
        directory,
        letter.version,
        any(b"\r\n" in mail.content for mail in mails),
        "",
        (),
        (),
        (),
        (),
        tuple(f"{numbers[one.change]}: {one.trailer}" for one in reviews.stale),
    )
    for text_ in done.stale:
        ui.warn(f"the patch has changed since this was given, so it is left out: {text_}")
    if not _failed(gates.values()):
        look_first(directory, files, force=args.force)
        options = build_options(args, config, "full")
        subject = subject_of_branch(base, record)
        gates[Gate.COMPILE] = compile_gate(what, subject, options, config, ui)
    else:
        state = GateState.OFF if Gate.COMPILE in what.off else GateState.NOT_RUN
        gates[Gate.COMPILE] = GateResult(Gate.COMPILE, state)
    results = tuple(gates[gate] for gate in Gate)
    if _failed(results):
        return replace(done, gates=results)
    written = write_files(args.output, files, force=args.force, ui=ui)
    keep_version(base, record, letter.version)
    if written.kept:
        ui.warn(f"{written.directory} also holds {', '.join(written.kept)}, which is left alone")
    return replace(
        done,
        directory=written.directory,
        mbox=letter.mbox,
        gates=results,
        mails=_listed(what, letter, mails, written.changed),
        removed=written.removed,
        kept=written.kept,
    )


def _failed(gates: Iterable[GateResult]) -> bool:
    return any(one.state is GateState.FAILED for one in gates)


def _written(
    args: argparse.Namespace,
    what: Checked,
    line: Baseline,
    stale: Sequence[int],
    config: Config,
    ui: Ui,
) -> tuple[Letter, list[MailBytes]]:
    """The mails as git writes them, with base-commit and range-diff, but no ids yet."""
    from patchgen.cover import Told, cover_text
    from patchgen.mails import Letter, add_at_end, write_letter
    from patchgen.rangediff import find_old, range_diff

    record = what.record
    count = sum(1 for patch in record.patches if patch.commit)
    wanted = args.cover_letter if args.cover_letter is not None else count > 1 or args.range_diff
    told = Told(tuple(stale), tuple(gate.value for gate in Gate if gate in what.off))
    cover = cover_text(what.series, record, line, told) if wanted else ""
    letter = Letter(args.reroll_count, cover, tuple(args.to), tuple(args.cc))
    mails = write_letter(what.base, record, what.scratch, letter)
    if args.range_diff:
        where = (args.repo, args.source)
        old = find_old(args.range_diff, what.base, what.series, what.credit, where, config, ui)
        mails[0] = add_at_end(mails[0], range_diff(old, what.base, record, what.scratch))
    if line.commit:
        mails[0] = add_at_end(mails[0], f"base-commit: {line.commit}")
    return letter, mails


def _listed(
    what: Checked, letter: Letter, mails: Sequence[MailBytes], changed: Sequence[str]
) -> tuple[Mail, ...]:
    entries = {entry.number: entry for entry in what.series.entries}
    listed = []
    for mail in mails:
        entry = entries.get(mail.number)
        subject = entry.patch.subject if entry else letter.cover.partition("\n")[0]
        change = entry.change_id if entry else ""
        new = mail.name in changed
        listed.append(Mail(mail.number, mail.name, subject, change, mail.message_id, new))
    return tuple(listed)


def text(record: ExportRecord) -> str:
    """The record for people."""
    lines = [
        f"QEMU {record.version}, {record.tag} = {record.base[:12]}; tree {record.tree[:12]}"
        f" with {sum(1 for mail in record.mails if mail.number)} patches"
        if record.mails
        else f"QEMU {record.version}, {record.tag} = {record.base[:12]}; tree {record.tree[:12]}"
    ]
    for mail in record.mails:
        lines.append(f"  {'written' if mail.changed else 'unchanged':<10}{mail.file}")
    lines += [f"  {'removed':<10}{name}" for name in record.removed]
    for gate in record.gates:
        code = f"{gate.code} " if gate.code else ""
        lines.append(
            f"gate {gate.gate.value:<11} {gate.state.value:<7} {code}{gate.summary}".rstrip()
        )
        lines += [f"  {_patch(one.number)}{one.text}" for one in gate.findings]
        lines += [
            f"  {_patch(one.number)}accepted: {one.text} ({one.reason})" for one in gate.accepted
        ]
    if not record.mails:
        failed = [one.gate.value for one in record.gates if one.state is GateState.FAILED]
        lines.append(f"nothing was written; mend it, or --no-gate {','.join(failed)}")
        return "\n".join(lines)
    commit = record.baseline.commit
    lines.append(
        f"base-commit: {commit}" if commit else f"no base-commit: {record.baseline.source}"
    )
    place = shlex.quote(str(record.directory))
    first = "[0-9]" if record.posting == 1 else f"v{record.posting}-"
    keep = " --keep-cr" if record.crlf else ""
    lines.append(f"git am --empty=drop{keep} {place}/{first}*.patch")
    return "\n".join(lines)


def _patch(number: int) -> str:
    return f"patch {number}: " if number else ""


def exit_code(record: ExportRecord) -> int:
    """5 if a gate failed."""
    return 5 if _failed(record.gates) else 0
