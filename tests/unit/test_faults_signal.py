"""SIGINT, SIGTERM and SIGHUP: exit 130, one line, nothing left: no process, no file, no lock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.minirepo import git
from tests.unit import build_helpers
from tests.unit.fault_help import (
    BUILD_TAG,
    LIMIT,
    TAG,
    Marked,
    build_repo,
    environment,
    fake_repo,
    fsck,
    patchgen,
    refs,
    stub,
    until,
)
from tests.unit.test_cli import checked

SIGNALS = [signal.SIGINT, signal.SIGTERM]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Marked:
    return Marked(monkeypatch)


def _as_in_a_terminal() -> None:
    # A shell that started the tests in the background has Ctrl-C ignored, and that is inherited.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def interrupted(
    argv: list[str], number: signal.Signals, ready: Callable[[], bool], marked: Marked
) -> None:
    """Send the signal once *ready*; check what is said, and that no process is left.

    With ``--json`` among *argv* it is one object that fits the command's schema.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "patchgen", *argv],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_in_a_terminal,  # noqa: PLW1509
    )

    def there() -> bool:
        assert process.poll() is None, process.communicate()
        return ready()

    try:
        until(there)
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == 130, err
    name = "" if number == signal.SIGINT else f" ({number.name})"
    if "--json" in argv:
        answer = checked(argv[0], out)
        assert answer["ok"] is False
        assert (answer["error"]["code"], answer["error"]["message"]) == (
            "PG600",
            f"interrupted{name}",
        )
        assert answer["error"]["fix"]
    else:
        assert out == ""
        assert err.splitlines()[-1] == f"patchgen: interrupted{name}", err
    assert "Traceback" not in err and "Exception" not in err, err
    marked.gone()


def slow(word: str, started: Path) -> str:
    """A git that never ends with *word* among its arguments; what talks to servers has helpers."""
    real = shutil.which("git")
    sleep = "exec sleep 600" if word in ("fast-import", "rev-parse") else "sleep 600 & wait"
    return f'case " $* " in *" {word} "*) touch {started}; {sleep};; esac\nexec {real} "$@"'


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_apply(
    number: signal.Signals,
    more: list[str],
    tmp_path: Path,
    marked: Marked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo, scratch = fake_repo(tmp_path / "qemu"), tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    before, started = refs(repo), tmp_path / "started"
    argv = ["apply", TAG, "--repo", str(repo), *more]
    with stub(tmp_path / "stub", "git", slow("fast-import", started), monkeypatch):
        interrupted(argv, number, started.exists, marked)
    assert refs(repo) == before
    assert not list(scratch.iterdir())
    assert not list((repo / ".git").rglob("*.lock"))
    fsck(repo)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("word", ["ls-remote", "fetch"])
def test_fetch(
    number: signal.Signals,
    word: str,
    tmp_path: Path,
    marked: Marked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo, started = fake_repo(tmp_path / "qemu"), tmp_path / "started"
    argv = ["apply", TAG, "--repo", f"file://{repo}"]
    with stub(tmp_path / "stub", "git", slow(word, started), monkeypatch):
        interrupted(argv, number, started.exists, marked)
    cache = Path(os.environ["PATCHGEN_CACHE"])
    assert {x.name for x in cache.iterdir()} <= {"qemu.git", "qemu.lock"}
    assert refs(cache / "qemu.git") == {}
    assert not [x for x in (cache / "qemu.git").rglob("*") if "tmp_" in x.name]
    assert patchgen(*argv).returncode == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_fetch_by_apt(
    number: signal.Signals, tmp_path: Path, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each suite's index is fetched in a thread, and apt does not end by itself."""
    folder, started = tmp_path / "stub", tmp_path / "started"
    uri = "'http://127.0.0.1:1/d/dists/bookworm/InRelease' x 0"
    script = (
        f'case " $* " in *--print-uris*) echo "{uri}"; exit;; esac\n'
        f"mktemp {started}XXXXXX >/dev/null; sleep 600 & wait"
    )
    with (
        stub(folder, "apt-config", "exit 0", monkeypatch),
        stub(folder, "apt-cache", "exit 100", monkeypatch),
        stub(folder, "apt-get", script, monkeypatch),
    ):
        argv = ["apply", TAG, "--source", "distro"]
        interrupted(argv, number, lambda: len(list(tmp_path.glob("started*"))) == 4, marked)
    left = [x.name for x in Path(os.environ["PATCHGEN_CACHE"]).iterdir()]
    assert sorted(left) == ["apt", "qemu.git", "qemu.lock"]


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGHUP])
@pytest.mark.parametrize("step", ["configure", "compile"])
def test_build(
    number: signal.Signals,
    step: str,
    tmp_path: Path,
    marked: Marked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A compiler that does not heed SIGTERM, and one that make started, end as well."""
    build_helpers.seal(tmp_path, monkeypatch)
    started = tmp_path / "started"
    hang = f"touch {started}; test -e {tmp_path}/go || sleep 600"
    if step == "compile":
        repo = build_repo(tmp_path / "qemu", f"(trap '' TERM; {hang}); cp ../src/vl.c $@")
    else:
        repo = build_repo(tmp_path / "qemu")
        text = (repo / "configure").read_text("utf-8").replace("mkdir -p", f"{hang}\nmkdir -p", 1)
        (repo / "configure").write_text(text, "utf-8")
        git(repo, "commit", "-q", "-a", "--amend", "--no-edit")
        git(repo, "tag", "-f", BUILD_TAG)
    argv = ["build", BUILD_TAG, "--repo", str(repo), "--pristine", "-q"]
    interrupted(argv, number, started.exists, marked)
    (tmp_path / "go").touch()
    done = patchgen(*argv)
    assert done.returncode == 0, done.stderr
    assert ": built," in done.stdout


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("words", [["apply", TAG], ["matrix", TAG, "--jobs=2"], ["verify", TAG]])
def test_objects_of_other_commands(
    words: list[str],
    number: signal.Signals,
    tmp_path: Path,
    marked: Marked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While imports are under way, or git answers: what comes is one object all the same."""
    repo, started = fake_repo(tmp_path / "qemu"), tmp_path / "started"
    with stub(tmp_path / "stub", "git", slow("rev-parse", started), monkeypatch):
        argv = [*words, "--repo", str(repo), "--json", "--quiet"]
        interrupted(argv, number, started.exists, marked)


def test_before_the_command_line_is_read() -> None:
    """The import of what reads it is interrupted: one object."""
    code = (
        "import builtins, os, signal, sys\nreal, sent = __import__, []\n"
        "def slow(name, *rest):\n"
        "    if name == 'argparse' and not sent:\n"
        "        sent.append(os.kill(os.getpid(), signal.SIGTERM))\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = slow\nsys.argv = ['patchgen', 'list', '--json']\n"
        "from patchgen.__main__ import main\nsys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert checked("list", done.stdout.decode())["error"]["message"] == "interrupted (SIGTERM)"
    assert done.stderr == b""


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom patchgen import signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nsignals.install()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\nsys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=False)
    assert done.returncode == 7
