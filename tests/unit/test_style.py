"""The linters are tests; so is what the project's files may not say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_error_codes_are_unique() -> None:
    text = (TOP / "patchgen/errors.py").read_text(encoding="utf-8")
    codes = re.findall(r'^    code(?:: ClassVar\[str\])? = "(PG\d{3})"', text, re.MULTILINE)
    # PG900 is the base's and the internal error's.
    assert sorted(codes) == sorted({*codes}) or codes.count("PG900") == 2
