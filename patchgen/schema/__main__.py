"""``python -m patchgen.schema``: write the schema files anew, after a record has changed."""

from patchgen.cli import COMMANDS
from patchgen.schema import DIRECTORY, schema_text

for name in COMMANDS:
    (DIRECTORY / f"{name}.json").write_text(schema_text(name), encoding="utf-8")
