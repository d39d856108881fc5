"""The linters are tests; so is what the project's files may not say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from patchgen import errors
from patchgen.engine.site import DriftKind
from patchgen.gates.record import Gate

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_linter(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_modules_are_short() -> None:
    long = {
        str(path.relative_to(TOP)): count
        for path in TOP.glob("patchgen/**/*.py")
        if (count := path.read_text(encoding="utf-8").count("\n")) > 500
    }
    assert long == {}


def _errors() -> list[type[errors.PatchgenError]]:
    found = [x for x in vars(errors).values() if isinstance(x, type)]
    return [
        x for x in found if issubclass(x, errors.PatchgenError) and x is not errors.PatchgenError
    ]


def test_error_codes_are_unique() -> None:
    codes = [error.code for error in _errors()] + [kind.value for kind in DriftKind]
    codes += [gate.code for gate in Gate]
    assert len(codes) == len(set(codes))


def test_every_code_is_documented() -> None:
    text = (TOP / "docs/errors.md").read_text(encoding="utf-8")
    for error in _errors():
        meaning = (error.__doc__ or "").strip().splitlines()[0]
        assert f"| {error.code} | {error.exit_code} | {meaning} |" in text
    for kind in DriftKind:
        assert f"| {kind.value} | " in text
    for gate in Gate:
        assert f"| {gate.code} | {gate.value} | " in text


def test_tests_of_faults_are_where_the_table_says() -> None:
    text = (TOP / "docs/development.md").read_text(encoding="utf-8")
    named = re.findall(r"\b(test_\w+)::(test_\w+)", text)
    assert len(named) > 50
    for module, test in named:
        path = TOP / "tests/unit" / f"{module}.py"
        assert f"\ndef {test}(" in path.read_text(encoding="utf-8"), (module, test)
