from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from patchgen.build.diagnostics import errors_of, failure_detail, warnings_of
from patchgen.build.record import BuildOptions, BuildRecord
from patchgen.build.subject import subject_of
from patchgen.build.toolchain import wheels_of
from patchgen.build.whole import build_subject
from patchgen.config import Config
from patchgen.errors import (
    CompileFailed,
    ConfigureFailed,
    FeatureMissing,
    LibraryMissing,
    ToolMissing,
)
from tests.unit.build_helpers import (
    MAKE_SUMMARY,
    MESON_SUMMARY,
    QuietUi,
    Work,
    configure_script,
    make_tree,
    meson_tree,
    seal,
)

OPTIONS = BuildOptions(jobs=2)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    seal(tmp_path, monkeypatch)
    return Work(tmp_path / "qemu")


def build(work: Work, files: dict[str, str], ui: QuietUi | None = None) -> BuildRecord:
    commit = work.commit(files)
    subject = subject_of(work.repo, "v9", commit)
    return build_subject(subject, OPTIONS, Config(), ui or QuietUi())


@pytest.mark.parametrize("tree", [make_tree, meson_tree])
def test_build_and_metadata(work: Work, tree: type[dict[str, str]]) -> None:
    record = build(work, tree())
    assert record.state == "built"
    assert record.binary.read_text() == tree()["vl.c"]
    assert [path.name for path in record.tools][:3] == ["qemu-img", "qemu-io", "qemu-nbd"]
    assert all(path.is_file() for path in record.tools)
    data = json.loads((record.log.parent / "metadata.json").read_text())
    for key in ("tag", "commit", "tree", "flags", "compiler", "reproduce"):
        assert data[key]
    assert data["compiler"] == "stub 1.0" and data["seconds"] >= 0
    assert data["features"]["kvm"].lower() == "yes"
    assert data["firmware"] == "present"
    assert not (work.path / "x86_64-softmmu").exists(), "built in the user's tree"


def test_the_same_tree_is_not_built_twice(work: Work) -> None:
    first = build(work, make_tree())
    stamp = first.binary.stat().st_mtime_ns
    again = build(work, {}, ui := QuietUi())
    assert again.state == "unchanged" and again.commit != first.commit
    assert again.binary.stat().st_mtime_ns == stamp
    assert not [text for text in ui.warnings if "ccache" not in text]
    assert build(work, {"vl.c": "int other;\n"}).build_dir != first.build_dir


def test_another_flag_or_compiler_is_another_build(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(work, make_tree())
    minimal = build_subject(
        subject_of(work.repo, "v9", first.commit),
        BuildOptions(features="minimal"),
        Config(),
        QuietUi(),
    )
    assert minimal.build_dir != first.build_dir and not minimal.tools
    (tmp_path / "stubs" / "cc").write_text("#!/bin/sh\necho stub 2.0\n")
    assert build(work, {}).build_dir != first.build_dir


def test_a_lost_binary_is_built_again(work: Work) -> None:
    first = build(work, make_tree())
    first.binary.unlink()
    again = build(work, {})
    assert again.state == "built" and again.binary.is_file()


def test_warnings_are_counted_without_places(work: Work) -> None:
    assert build(work, make_tree()).warnings == ("vl.c: odd [-Wodd]",)


def test_the_reproducer_line_reproduces(work: Work, tmp_path: Path) -> None:
    record = build(work, meson_tree())
    place = tmp_path / "elsewhere"
    place.mkdir()
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(place), "CFLAGS": "-bad", "HOME": str(tmp_path)}
    stubs = f"PATH={tmp_path}/stubs:$PATH; "
    subprocess.run(["sh", "-ec", stubs + record.reproduce], check=True, cwd=place, env=env)
    made = list(place.glob("*/build/qemu-system-x86_64"))
    assert [path.read_bytes() for path in made] == [record.binary.read_bytes()]


def test_no_firmware_in_the_tree(work: Work) -> None:
    files = make_tree()
    del files["pc-bios/bios-256k.bin"]
    record = build(work, files)
    assert record.firmware == "absent" and "--disable-blobs" in record.flags


def test_configure_that_fails(work: Work) -> None:
    body = "for i in $(seq 50); do echo line $i; done; echo ERROR: unknown option --x; exit 1"
    with pytest.raises(ConfigureFailed) as failed:
        build(work, make_tree(configure=configure_script("", body)))
    error = failed.value
    assert error.exit_code == 4 and "build.log" in error.message
    assert "ERROR: unknown option --x" in error.detail and "line 50" in error.detail
    assert "line 5\n" not in error.detail


def test_configure_that_misses_a_library(work: Work) -> None:
    body = "echo 'ERROR: User requested feature vnc-sasl'; echo 'Install sasl devel'; exit 1"
    with pytest.raises(LibraryMissing) as failed:
        build(work, make_tree(configure=configure_script("", body)))
    assert failed.value.fix == "apt install libsasl2-dev"


def test_configure_that_leaves_a_feature_out_builds_nothing(work: Work) -> None:
    summary = MAKE_SUMMARY.replace("seccomp support   yes", "seccomp support   no")
    script = make_tree()["configure"].replace(MAKE_SUMMARY, summary)
    for _ in range(2):  # and a second run does not take the first one's leavings for good
        with pytest.raises(FeatureMissing) as failed:
            build(work, make_tree(configure=script))
        assert "apt install libseccomp-dev" in failed.value.fix


@pytest.mark.parametrize("tree", [make_tree, meson_tree])
def test_a_file_that_does_not_compile(work: Work, tree: type[dict[str, str]]) -> None:
    with pytest.raises(CompileFailed) as failed:
        build(work, {**tree(), "vl.c": "BROKEN\n"})
    assert "vl.c:3:5: error: broken" in failed.value.detail
    assert failed.value.exit_code == 4
    assert build(work, {"vl.c": "mended\n"}).state == "built"


def test_a_build_that_was_cut_off_goes_on_without_configure(work: Work) -> None:
    with pytest.raises(CompileFailed):
        build(work, {**make_tree(), "vl.c": "BROKEN\n"})
    home = next((work.path.parent / "cache" / "build").iterdir())
    # As if the rest were compiled now; a file of another length would be seen as damage.
    (home / "src" / "vl.c").write_text("mended\n")
    record = build(work, {})
    assert record.state == "built"
    assert record.log.read_text().count("/configure ") == 1


def test_a_missing_compiler_names_its_package(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc-that-is-not-there")
    with pytest.raises(ToolMissing) as failed:
        build(work, make_tree())
    assert failed.value.message == "cc-that-is-not-there is not installed"
    assert failed.value.fix == "apt install gcc"


def test_no_fitting_python(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHGEN_PYTHON", "/nowhere/python3")
    with pytest.raises(ToolMissing, match=r">= 3\.5"):
        build(work, make_tree())


def test_without_ccache_it_says_so_and_goes_on(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchgen.build.toolchain.shutil.which", lambda name: None)
    monkeypatch.setattr("patchgen.build.toolchain.find", lambda name: f"/usr/bin/{name}")
    record = build(work, make_tree(), ui := QuietUi())
    assert not record.ccache and "ccache is not installed" in ui.warnings[0]


def test_the_meson_summary_is_read_in_its_own_form(work: Work) -> None:
    script = meson_tree()["configure"].replace(MESON_SUMMARY, MAKE_SUMMARY)
    with pytest.raises(FeatureMissing):
        build(work, meson_tree(configure=script))


def test_warning_normalisation() -> None:
    lines = [
        "../src/hw/a.c:10:4: warning: x [-Wx]",
        "../src/hw/a.c:99:4: warning: x [-Wx]",
        "/b/src/hw/b.c:1:1: warning: y [-Wy]",
        "../../src/c.c:1: warning: z",
        "In file included from ../src/c.c:1:",
        "a warning: of nothing",
    ]
    found = warnings_of(lines, "/b/src")
    assert found == ("c.c: z", "hw/a.c: x [-Wx]", "hw/b.c: y [-Wy]")


def test_errors_come_first_then_the_end() -> None:
    lines = ["../src/a.c:1:2: error: first"] + [f"noise {n}" for n in range(100)]
    assert errors_of(lines) == ("../src/a.c:1:2: error: first",)
    detail = failure_detail(lines)
    assert detail.startswith("first errors:\n  ../src/a.c") and "noise 99" in detail
    assert "noise 69" not in detail


def test_a_repacked_tree_gets_the_files_that_meson_insists_on(work: Work) -> None:
    names = "fds = ['edk2-i386-code.fd', 'edk2-x86_64-code.fd']\n"
    files = meson_tree(**{"pc-bios/meson.build": names, "pc-bios/edk2-i386-code.fd.bz2": "x"})
    record = build(work, files)
    made = record.source_dir / "pc-bios"
    assert (made / "edk2-x86_64-code.fd.bz2").read_text() == ""
    assert (made / "edk2-i386-code.fd.bz2").read_text() == "x"
    made = record.reproduce.partition('(cd "$D/src" && touch ')[2].partition(")")[0]
    assert "pc-bios/edk2-x86_64-code.fd.bz2" in made.split()


def test_what_a_tree_without_its_wheels_needs() -> None:
    deps = '[meson]\nmeson = { accepted = ">=1.5.0", installed = "1.8.1" }\n[docs]\nsphinx = {}\n'
    assert wheels_of(deps) == ("meson==1.8.1",)
    assert wheels_of("") == ("meson",)
