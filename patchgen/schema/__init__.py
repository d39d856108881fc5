"""JSON Schemas of what the commands print with ``--json``: one file per command beside this module.

The files are made from the commands' records by ``python -m patchgen.schema`` and checked by a test
to be up to date, so that a change of a record is seen as a change of a schema.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, get_args

import msgspec

DIRECTORY = Path(__file__).parent


def schema_of(command: str) -> dict[str, Any]:
    """The schema of one command's JSON object: a result, or an error.

    :param command: a name of :data:`patchgen.cli.COMMANDS`; its module has a ``record_type``
    """
    record = importlib.import_module(f"patchgen.commands.{command}").record_type()
    # Paths and the like are printed as strings, which is what the encoder's hook makes of them.
    references, parts = msgspec.json.schema_components(
        get_args(record) or [record],
        ref_template="#/$defs/{name}",
        schema_hook=lambda _: {"type": "string"},
    )
    error = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("code", "message", "fix", "detail")},
        "required": ["code", "message", "fix"],
    }
    head = {"command": {"const": command}, "version": {"type": "string"}}
    done = {**head, "ok": {"type": "boolean"}, "result": {"anyOf": list(references)}}
    failed = {**head, "ok": {"const": False}, "error": error}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"patchgen {command} --json",
        "type": "object",
        "oneOf": [
            {"properties": shape, "required": list(shape), "additionalProperties": False}
            for shape in (done, failed)
        ],
        "$defs": parts,
    }


def schema_text(command: str) -> str:
    """The schema as its file holds it."""
    return json.dumps(schema_of(command), indent=2, sort_keys=True) + "\n"
