"""The command line as a user or a bot meets it: texts, JSON, exit codes, errors of one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from patchgen import __version__
from patchgen.cli import COMMANDS, run
from patchgen.schema import DIRECTORY, schema_of, schema_text
from tests.minirepo import FILES, make_repo


def checked(command: str, out: str) -> dict[str, Any]:
    """The JSON object in *out*, which must fit the command's schema."""
    data: dict[str, Any] = json.loads(out)
    jsonschema.validate(data, schema_of(command))
    assert data["command"] == command
    assert data["version"] == __version__
    return data


@pytest.mark.parametrize("command", COMMANDS)
def test_the_schema_file_is_up_to_date(command: str) -> None:
    made = (DIRECTORY / f"{command}.json").read_text(encoding="utf-8")
    assert made == schema_text(command), "run python -m patchgen.schema"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"patchgen {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run([command, "--help"])
    assert caught.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_version_and_help_import_nothing_heavy() -> None:
    heavy = ("jinja2", "tree_sitter", "git", "rich", "msgspec", "unidiff")
    code = (
        "import sys\nfrom patchgen.cli import run\n"
        "try:\n    run(['--version'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("argv", "code", "exit_code"),
    [
        ([], "PG101", 2),
        (["nonsense"], "PG101", 2),
        (["apply"], "PG101", 2),
        (["apply", "v5.2.0", "--nonsense"], "PG101", 2),
        (["apply", "v5.2.0", "--upto", "x"], "PG101", 2),
        (["apply", "v5.2.0", "--upto", "99"], "PG301", 2),
        (["show", "0"], "PG301", 2),
        (["apply", "v5.2.0", "--repo", "/nowhere/at/all"], "PG111", 2),
    ],
)
def test_wrong_use_is_one_line_with_a_code_and_one_with_the_fix(
    argv: list[str], code: str, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(argv) == exit_code
    said = capsys.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line.startswith("patchgen: ")]
    assert lines[0].startswith(f"patchgen: {code}: ")
    assert lines[1].startswith("patchgen: fix: ")
    assert "Traceback" not in said.err


def test_an_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "99", "--json"]) == 2
    data = checked("show", capsys.readouterr().out)
    assert data["ok"] is False
    assert data["error"]["code"] == "PG301"


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--json"]) == 0
    patches = checked("list", capsys.readouterr().out)["result"]["patches"]
    assert [p["number"] for p in patches] == list(range(1, len(patches) + 1))
    assert patches[0]["subject"] == "savevm: add vmstate handler iterators"
    assert patches[0]["series_author"] == "Steve Sistare"
    assert run(["list"]) == 0
    assert "savevm: add vmstate handler iterators" in capsys.readouterr().out


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "1", "--json"]) == 0
    result = checked("show", capsys.readouterr().out)["result"]
    assert 'subject = "savevm: add vmstate handler iterators"' in result["source"]
    assert "SAVEVM_FOREACH" in result["fragments"]["iterators.c.j2"]


def test_drift_is_told_and_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = make_repo(tmp_path / "qemu", {**FILES, "migration/savevm.c": b"int savevm_stat;\n"})
    argv = ["apply", "v5.2.0", "--repo", str(repo), "--upto", "1"]
    assert run([*argv, "--json"]) == 3
    data = checked("apply", capsys.readouterr().out)
    assert data["ok"] is False
    drifts = data["result"]["patches"][0]["drifts"]
    assert {d["code"] for d in drifts} == {"PG352", "PG354"}
    assert run(argv) == 3
    out = capsys.readouterr().out
    assert "near: savevm_stat" in out
    assert "was not written" in out


def test_a_broken_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    monkeypatch.setenv("PATCHGEN_CONFIG", str(config))
    for text in ("repo = [", "rep = 'x'", "jobs = 'many'"):
        config.write_text(text, encoding="utf-8")
        assert run(["apply", "v5.2.0"]) == 2
        assert "PG102" in capsys.readouterr().err


def test_an_internal_error_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("patchgen.commands.list.run", broken)
    assert run(["list"]) == 1
    assert "PG900: RuntimeError: oops" in capsys.readouterr().err


def test_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("patchgen.commands.list.run", interrupted)
    assert run(["list"]) == 130
