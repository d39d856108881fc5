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
from typing import Any, NoReturn

from patchgen import __version__
from patchgen.errors import PatchgenError, UsageError
from patchgen.signals import told

COMMANDS: dict[str, str] = {
    "apply": "put the series on a QEMU tag, as a branch of commits",
    "build": "configure and compile a QEMU tag with (or without) the series",
    "check": "run the scenarios that the patches promise on the built QEMU",
    "demo": "show a guest that goes on in another QEMU process",
    "export": "write the series as mails with a cover letter",
    "list": "the patches of the series",
    "matrix": "which patch applies to which QEMU tags, without a checkout",
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


def _report(exc: PatchgenError, command: str, as_json: bool) -> int:
    if as_json:
        error = {"code": exc.code, "message": exc.message, "fix": exc.fix, "detail": exc.detail}
        print(_envelope(command, {"ok": False, "error": error}))
        return exc.exit_code
    if exc.detail:
        print(exc.detail.rstrip("\n"), file=sys.stderr)
    print(f"patchgen: {exc.code}: {exc.message}", file=sys.stderr)
    print(f"patchgen: fix: {exc.fix}", file=sys.stderr)
    return exc.exit_code


def run(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name); returns the exit code. Never raises."""
    words = [word for word in argv if not word.startswith("-")]
    chosen = words[0] if words and words[0] in COMMANDS else None
    as_json = "--json" in argv
    try:
        return _run(argv, chosen)
    except PatchgenError as exc:
        return _report(exc, chosen or "", as_json)
    except KeyboardInterrupt as exc:
        print(told(exc), file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (a pager, head) left: not an error, but nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    args = _parser(chosen).parse_args(argv)
    from patchgen.ui import Ui

    command = importlib.import_module(f"patchgen.commands.{args.command}")
    record = command.run(args, Ui(quiet=args.quiet))
    code: int = command.exit_code(record)
    if args.json:
        import msgspec

        result = msgspec.to_builtins(record, enc_hook=str)
        print(_envelope(args.command, {"ok": code == 0, "result": result}))
    else:
        out = command.text(record)
        if out:
            print(out, end="" if out.endswith("\n") else "\n")
    sys.stdout.flush()
    return code
