"""``patchgen build``: configure and compile a QEMU tag, with the series or without."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchgen.build.eras import module_names
from patchgen.build.record import BuildOptions, BuildRecord, EachRecord
from patchgen.build.subject import BuildSubject, SubjectPatch, subject_of
from patchgen.config import Config, load_config
from patchgen.errors import UsageError
from patchgen.processors import processors
from patchgen.ui import Ui

if TYPE_CHECKING:
    from patchgen.branch import BranchRecord
    from patchgen.source.resolve import Base


@dataclass(frozen=True)
class PackagesRecord:
    """The Debian packages that a build of a feature set needs."""

    set: str
    packages: tuple[str, ...]


LIMIT = 40
SHOWN_TAG = "v5.2.0"

Record = BuildRecord | EachRecord | PackagesRecord


def record_type() -> object:
    """The type of the command's record, for its schema."""
    return Record


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from patchgen.source.options import add_source_options

    parser.add_argument("tag", nargs="?", metavar="TAG", help="a QEMU tag, such as v5.2.0")
    parser.add_argument(
        "--pristine", action="store_true", help="without the series: what builds are compared with"
    )
    parser.add_argument(
        "--minimal", action="store_true", help="few features, for speed; not what `check` needs"
    )
    parser.add_argument(
        "--each",
        nargs="?",
        const="objects",
        choices=("objects", "full"),
        metavar="full",
        help="compile every commit: the objects it touches and what includes them up to --limit, "
        "or everything with --each=full",
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="--each: at most N objects per commit that only include what it touches "
        f"(default {LIMIT})",
    )
    parser.add_argument(
        "--packages", action="store_true", help="print the Debian packages of the build, and stop"
    )
    add_build_options(parser)
    add_source_options(parser)


def add_shown_tag(parser: argparse.ArgumentParser) -> None:
    """Add TAG for the commands that show something and can do so without being told one."""
    parser.add_argument(
        "tag",
        nargs="?",
        default=SHOWN_TAG,
        metavar="TAG",
        help=f"a QEMU tag; default {SHOWN_TAG}",
    )


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs``, ``--upto`` and ``--submodule``, for all commands that build."""
    parser.add_argument("--jobs", "-j", type=int, default=0, metavar="N", help="parallel jobs")
    parser.add_argument("--upto", type=int, metavar="N", help="only the patches 1 to N")
    parser.add_argument(
        "--submodule",
        action="append",
        default=[],
        metavar="PATH=PLACE",
        help="content of a git submodule: a directory, git repository or URL",
    )


def build_here(
    args: argparse.Namespace, ui: Ui, *, pristine: bool = False, next_version: bool = False
) -> BuildRecord:
    """The full build that *args* (source and build options) ask for, made unless it is there.

    :param next_version: of the same tree with the version behind its own
    :raise UsageError: options that do not go together
    :raise BuildError: exit code 4
    """
    from patchgen.build.whole import build_subject

    config = load_config()
    options = build_options(args, config, "full")
    subject = _subject(args, config, ui, pristine)
    if next_version:
        from patchgen.build.successor import successor

        subject = successor(subject)
    return build_subject(subject, options, config, ui)


def _subject(args: argparse.Namespace, config: Config, ui: Ui, pristine: bool) -> BuildSubject:
    """The commits to build: the base by the options, with the series unless *pristine*."""
    from patchgen.engine.series import load_default_series
    from patchgen.source.resolve import resolve

    series = load_default_series().upto(args.upto)  # a wrong number is told before all else
    base = resolve(args.tag, repo=args.repo, source=args.source, config=config, ui=ui)
    if pristine:
        return subject_of(base.repo, args.tag, base.commit)
    from patchgen.branch import require_branch

    record = require_branch(base, series, args.upto is None, ui)
    subject = subject_of_branch(base, record)
    ui.step(f"{len(subject.patches)} patches on {base.tag}: {record.branch} {record.state.value}")
    return subject


def subject_of_branch(base: Base, record: BranchRecord) -> BuildSubject:
    """The commits of a branch as what is to be built."""
    patches = tuple(
        SubjectPatch(p.number, p.subject, p.commit, p.tree, tuple(f.path for f in p.files))
        for p in record.patches
        if p.commit
    )
    return BuildSubject(
        base.repo, base.tag, base.version, base.commit, record.head, record.tree, patches
    )


def build_options(
    args: argparse.Namespace, config: Config, features: str, each: str = "objects", limit: int = 0
) -> BuildOptions:
    """How to build, by the build options of *args* and the configuration.

    :raise UsageError: an option makes no sense
    """
    modules = []
    names = module_names() if args.submodule else ()
    for one in args.submodule:
        name, equals, place = one.partition("=")
        if not equals or not place:
            raise UsageError(f"--submodule {one}: no PLACE", "--submodule ui/keycodemapdb=DIR")
        if name not in names:
            raise UsageError(
                f"--submodule {one}: no build needs a submodule {name}",
                f"those that can be given: {', '.join(names)}",
            )
        modules.append((name, place))
    if args.jobs < 0 or limit < 0:
        raise UsageError(
            "--jobs and --limit take a number from 0 upwards",
            f"see `patchgen {args.command} --help`",
        )
    return BuildOptions(
        features=features,
        jobs=args.jobs or config.jobs or processors(),
        submodules=tuple(modules),
        each=each,
        limit=limit,
    )


def run(args: argparse.Namespace, ui: Ui) -> Record:
    """Do it.

    :raise UsageError: options that do not go together
    :raise BuildError: exit code 4
    """
    config = load_config()
    features = "minimal" if args.minimal else "full"
    limit = LIMIT if args.limit is None else args.limit
    options = build_options(args, config, features, args.each or "objects", limit)
    if args.packages:
        from patchgen.build.features import packages_of

        return PackagesRecord(options.features, packages_of(options.features))
    if not args.tag:
        raise UsageError("TAG is missing", "such as: patchgen build v5.2.0")
    if args.each and args.pristine:
        raise UsageError("--each is about the series, --pristine is without it", "give one of them")
    if args.limit is not None and args.each != "objects":
        raise UsageError("--limit is for the objects of --each", "leave it out, or add --each")
    if args.upto is not None and args.pristine:
        raise UsageError("--upto is about the series, --pristine is without it", "give one of them")
    subject = _subject(args, config, ui, args.pristine)
    if args.each:
        from patchgen.build.each import build_each

        return build_each(subject, options, config, ui)
    from patchgen.build.whole import build_subject

    return build_subject(subject, options, config, ui)


def _each_text(record: EachRecord) -> str:
    lines = []
    for one in record.commits:
        what = "everything" if record.mode == "full" else f"{one.objects} objects"
        more = f", {one.left_out} left out by --limit {record.limit}" if one.left_out else ""
        other = f"; not part of this build: {' '.join(one.unbuilt)}" if one.unbuilt else ""
        warned = f", {len(one.warnings)} warnings" if one.warnings else ""
        lines.append(f"{one.number:3}  {one.state:7}  {what}{more}{warned}  {one.subject}{other}")
    count = len(record.commits)
    lines.append(f"{count} commits of {record.tag} compile ({record.seconds:.0f} s)")
    return "\n".join(lines)


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.0f} MB" if path.is_file() else "gone"


def text(record: Record) -> str:
    """The record for people."""
    if isinstance(record, PackagesRecord):
        return " ".join(record.packages)
    if isinstance(record, EachRecord):
        return _each_text(record)
    what = "pristine" if record.pristine else f"with {record.patches} patches"
    firmware = "" if record.firmware == "present" else "\nfirmware:  none in this tree: run with -L"
    return (
        f"{record.tag} (QEMU {record.qemu}), {what}: {record.state}, {record.set} features, "
        f"{record.seconds:.0f} s, {len(record.warnings)} warnings\n"
        f"binary:    {record.binary} ({_size(record.binary)}){firmware}\n"
        f"metadata:  {record.log.parent / 'metadata.json'}\n"
        f"log:       {record.log}\n"
        f"reproduce: {record.reproduce}"
    )


def exit_code(record: Record) -> int:
    """0: what fails is an error, not a record."""
    return 0
