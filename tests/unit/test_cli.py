"""The command line as a user or a bot meets it: texts, JSON, exit codes, errors of one line."""

from __future__ import annotations

import json
import os
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
        (["apply", "v5.2.0", "--repo", ""], "PG101", 2),
        (["apply", "v5.2.0", "--branch="], "PG101", 2),
        (["apply", "v5.2.0", "--worktree", ""], "PG101", 2),
        (["export", "v5.2.0", "-o", ""], "PG101", 2),
        (["matrix", "v5.2.0..v6.0.0"], "PG113", 2),
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


@pytest.mark.parametrize("number", ["99", "0", "-1"])
@pytest.mark.parametrize(
    "words",
    [
        ["apply", "v5.2.0"],
        ["apply", "v5.2.0", "--dry-run"],
        ["build", "v5.2.0"],
        ["build", "v5.2.0", "--each"],
        ["check", "v5.2.0"],
        ["export", "v5.2.0", "-o", "out"],
        ["matrix", "v5.2.0", "v5.1.0"],
    ],
    ids=" ".join,
)
def test_a_number_that_is_no_patch_is_told_before_anything_is_fetched(
    words: list[str],
    number: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Had upstream been asked, it would not have answered, and the cache would be there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATCHGEN_UPSTREAM", f"file://{tmp_path}/nowhere")
    monkeypatch.setenv("PATCHGEN_CACHE", str(tmp_path / "cache"))
    argv = [*words, "--source", "upstream"]
    assert run([*argv, f"--upto={number}"]) == 2
    assert "patchgen: PG301: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert run(argv) == 2
    assert "patchgen: PG201: " in capsys.readouterr().err
    assert [place.name for place in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize(
    ("argv", "fix"),
    [
        (["aply", "v5.2.0"], "`patchgen apply`, perhaps"),
        (["frobnicate"], "see `patchgen --help`"),
        (["apply", "v5.2.0", "v5.1.0"], "see `patchgen apply --help`"),
        (["support", "--upto", "3"], "see `patchgen support --help`"),
    ],
)
def test_the_fix_of_a_command_line_that_is_not_understood(
    argv: list[str], fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(argv) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"patchgen: fix: {fix}"


@pytest.mark.parametrize("tag", ["5.2", "5.2.0", "v5.2", "V5.2.0"])
def test_a_tag_that_is_spelled_otherwise(
    tag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = make_repo(tmp_path / "qemu")
    assert run(["apply", tag, "--repo", str(repo)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith("patchgen: PG113: ")
    assert said[-1] == "patchgen: fix: the tag is spelled v5.2.0"


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
    for text in ("repo = [", "rep = 'x'", "jobs = 'many'", "jobs = -1", "repo = '\xe9'"):
        config.write_text(text, encoding="latin-1")
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


def test_an_interrupt_while_the_object_is_written_gives_no_second_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(text: str, **_: object) -> None:
        sys.stdout.write(text[:10])
        raise KeyboardInterrupt("SIGTERM")

    monkeypatch.setattr("patchgen.cli._put", cut)
    assert run(["list", "--json"]) == 130
    said = capsys.readouterr()
    assert said.out == '{\n  "comma'
    assert said.err == "patchgen: interrupted (SIGTERM)\n"


@pytest.mark.parametrize("words", [["list"], ["show", "99"]], ids=" ".join)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_output_that_cannot_be_written_or_that_nobody_reads(
    words: list[str], more: list[str]
) -> None:
    command = [sys.executable, "-m", "patchgen", *words, *more]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    code = "PG130" if words == ["list"] else "PG301"
    assert done.returncode == 2, done.stderr
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [code, "fix"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        both = subprocess.run(command, stdout=pipe, stderr=pipe, check=False)
        out = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert both.returncode == out.returncode == (0 if words == ["list"] else 2)
    assert "Exception" not in out.stderr and "Traceback" not in out.stderr
