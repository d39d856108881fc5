"""The command line: parses, calls one command, prints its record as text or JSON.

Commands are modules of :mod:`patchgen.commands`, imported only when they are asked for, so that
``patchgen --version`` and ``patchgen --help`` stay fast. Each has::

    def record_type() -> type           what `run` returns, for the JSON Schema
    def configure(parser) -> None       its options
    def run(args, ui) -> Record         does it; a frozen dataclass is the result
    def text(record) -> str             the record for people
    def exit_code(record) -> int        0, or what DESIGN's contracts say of this record
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from patchgen import __version__
from patchgen.errors import Interrupted, OutputError, PatchgenError, UsageError
from patchgen.signals import told
from patchgen.ui import Ui, say

COMMANDS: dict[str, str] = {
    "apply": "put the series on a QEMU tag, as a branch of commits",
    "build": "configure and compile a QEMU tag with (or without) the series",
    "check": "run the scenarios that the patches promise on the built QEMU",
    "demo": "update QEMU under a guest that runs, to look at",
    "export": "write the series as mails with a cover letter",
    "list": "the patches of the series",
    "matrix": "which patch applies to which QEMU tags, without a checkout",
    "pause": "measure how long a guest stands still while its QEMU is replaced",
    "show": "one patch: its file, its fragments, the diff they become",
    "sources": "which QEMU versions can be had here, and from where",
    "trailers": "read review trailers from replies and keep them for the next export",
    "support": "what was verified, on which base trees",
    "verify": "generate a tag anew and compare with the pinned trees",
}

_EPILOG = """exit codes: 0 ok, 1 internal error, 2 wrong use or input, 3 drift, 4 build failed,
5 check failed, 130 interrupted.  `patchgen COMMAND --help` tells all of a command."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see `{self.prog} --help`")


def _arguments(argv: Sequence[str], chosen: str | None) -> argparse.Namespace:
    if chosen is None and argv and not argv[0].startswith("-"):
        from difflib import get_close_matches

        near = get_close_matches(argv[0], COMMANDS, 1)
        fix = f"`patchgen {near[0]}`, perhaps" if near else "see `patchgen --help`"
        raise UsageError(f"{argv[0]} is no command", fix)
    args, more = _parser(chosen).parse_known_args(argv)
    if more:
        raise UsageError(
            f"unrecognized arguments: {' '.join(more)}", f"see `patchgen {args.command} --help`"
        )
    return args


def _parser(chosen: str | None) -> _Parser:
    parser = _Parser(
        prog="patchgen",
        description="Generates the QEMU Live Update series for the QEMU in hand and builds it.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"patchgen {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=f"patchgen {name}: {summary}.")
        sub.add_argument("--json", action="store_true", help="one JSON object on standard output")
        sub.add_argument("-q", "--quiet", action="store_true", help="no progress")
        if name == chosen:
            importlib.import_module(f"patchgen.commands.{name}").configure(sub)
    return parser


def _envelope(command: str, body: dict[str, Any]) -> str:
    import msgspec

    data = {"command": command, "version": __version__, **body}
    encoded = msgspec.json.encode(data, enc_hook=str)
    return msgspec.json.format(encoded, indent=2).decode("utf-8")


class _Answer:
    """The JSON object of this run.

    :ivar begun: whether it was written, or a part of it: there is never a second
    """

    begun = False


def _put(text: str, *, end: str = "\n") -> None:
    """Write to standard output at once.

    :raise OutputError: that is not possible
    """
    try:
        print(text, end=end, flush=True)
    except OSError as exc:
        # What is left in the buffer would fail once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):
            raise OutputError(
                f"standard output cannot be written: {exc.strerror}", "send it to another place"
            ) from exc
        # The reader (a pager, head) left: not an error, but nothing more to say.


def _put_object(text: str) -> None:
    _Answer.begun = True
    _put(text)


def _report(exc: PatchgenError, command: str, as_json: bool) -> int:
    if as_json and not _Answer.begun:
        error = {"code": exc.code, "message": exc.message, "fix": exc.fix, "detail": exc.detail}
        with suppress(OutputError):
            _put_object(_envelope(command, {"ok": False, "error": error}))
            return exc.exit_code
    if exc.detail:
        say(exc.detail.rstrip("\n"))
    say(f"patchgen: {exc.code}: {exc.message}")
    say(f"patchgen: fix: {exc.fix}")
    return exc.exit_code


def interrupted(argv: Sequence[str], exc: KeyboardInterrupt) -> int:
    """Say that the command line *argv* was interrupted; returns the exit code."""
    if "--json" not in argv or _Answer.begun:
        say(told(exc))
        return Interrupted.exit_code
    # The standard library's: what was interrupted may have been the import of another.
    import json

    said = {"message": told(exc, ""), "fix": "run it again", "detail": ""}
    error = {"ok": False, "error": {"code": Interrupted.code, **said}}
    head = {"command": _chosen(argv) or "", "version": __version__}
    with suppress(OutputError):
        _put_object(json.dumps({**head, **error}, indent=2))
    return Interrupted.exit_code


def _chosen(argv: Sequence[str]) -> str | None:
    words = [word for word in argv if not word.startswith("-")]
    return words[0] if words and words[0] in COMMANDS else None


def run(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name); returns the exit code. Never raises."""
    chosen = _chosen(argv)
    as_json = "--json" in argv
    _Answer.begun = False
    try:
        return _run(argv, chosen)
    except PatchgenError as exc:
        return _report(exc, chosen or "", as_json)
    except KeyboardInterrupt as exc:
        return interrupted(argv, exc)
    except Exception as exc:
        from patchgen.errors import InternalError
        from patchgen.storage import storage_error

        if isinstance(exc, OSError) and (storage := storage_error(exc)):
            return _report(storage, chosen or "", as_json)

        if os.environ.get("PATCHGEN_DEBUG"):
            raise
        bug = InternalError(
            f"{type(exc).__name__}: {exc}", "please report it; PATCHGEN_DEBUG=1 shows where"
        )
        return _report(bug, chosen or "", as_json)


def _run(argv: Sequence[str], chosen: str | None) -> int:
    args = _arguments(argv, chosen)
    command = importlib.import_module(f"patchgen.commands.{args.command}")
    record = command.run(args, Ui(quiet=args.quiet))
    code: int = command.exit_code(record)
    if args.json:
        import msgspec

        result = msgspec.to_builtins(record, enc_hook=str)
        _put_object(_envelope(args.command, {"ok": code == 0, "result": result}))
    elif out := command.text(record):
        _put(out, end="" if out.endswith("\n") else "\n")
    return code
