from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchgen.build.each import build_each, choose
from patchgen.build.eras import load_eras
from patchgen.build.includes import IncludeGraph
from patchgen.build.objects import from_commands, from_dry_run, header_targets
from patchgen.build.record import BuildOptions, EachRecord, Workdir
from patchgen.build.subject import subject_of
from patchgen.config import Config
from patchgen.errors import CompileFailed, PatchBroken
from tests.unit.build_helpers import QuietUi, Work, meson_tree, seal

ERAS = {era.name: era for era in load_eras()}


class Series:
    """A small tree and the commits on it."""

    def __init__(self, tmp_path: Path) -> None:
        self.work = Work(tmp_path / "qemu")
        self.base = self.work.commit(meson_tree(), "base")
        self.tip = self.base
        self.ui = QuietUi()

    def add(self, subject: str, **files: str) -> None:
        names = {
            name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()
        }
        self.tip = self.work.commit(names, subject)

    def run(self, each: str = "objects", limit: int = 40) -> EachRecord:
        subject = subject_of(self.work.repo, "v5.2.0", self.base, self.tip)
        options = BuildOptions(jobs=2, each=each, limit=limit)
        return build_each(subject, options, Config(), self.ui)

    def notes(self) -> list[str]:
        return [text for text in self.ui.warnings if "ccache" not in text]


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Series:
    seal(tmp_path, monkeypatch)
    return Series(tmp_path)


def test_objects_of_what_a_commit_touches_and_of_its_users(series: Series) -> None:
    series.add("one file", alone_dot_c="int more;\n")
    series.add("a header", include__io_dot_h="int io, more;\n")
    series.add("a generator's input", api_dot_json="{1}\n")
    series.add("a text", README="x\n")
    record = series.run()
    assert [(one.number, one.objects, one.state) for one in record.commits] == [
        (1, 1, "built"),
        (2, 2, "built"),
        (3, 1, "built"),
        (4, 0, "nothing"),
    ]


def test_the_limit_is_stated(series: Series) -> None:
    series.add("a header", include__io_dot_h="int io, more;\n")
    (one,) = series.run(limit=1).commits
    assert (one.objects, one.left_out) == (1, 1)


def test_a_new_file_is_compiled(series: Series) -> None:
    configure = meson_tree()["configure"] + "# changed\n"
    series.add("new", new_dot_c="int new;\n", configure=configure)
    (one,) = series.run().commits
    # The fake build.ninja does not configure itself again, as a real one does.
    assert one.unbuilt == ("new.c",)


def test_a_second_run_takes_the_results(series: Series) -> None:
    series.add("one", alone_dot_c="int more;\n")
    series.run()
    series.add("two", io_dot_c="int more;\n")
    record = series.run()
    assert [one.state for one in record.commits] == ["cached", "built"]
    assert [one.state for one in series.run().commits] == ["cached", "cached"]
    assert [one.state for one in series.run(each="full").commits] == ["built", "built"]


def test_full_builds_the_whole(series: Series) -> None:
    series.add("one", alone_dot_c="int more;\n")
    record = series.run(each="full")
    assert (record.build_dir / "qemu-system-x86_64").is_file()
    assert record.mode == "full"


@pytest.mark.parametrize("each", ["objects", "full"])
def test_a_broken_patch_is_named(series: Series, each: str) -> None:
    series.add("fine", alone_dot_c="int more;\n")
    series.add("breaks io", io_dot_c="BROKEN\n")
    series.add("after", alone_dot_c="int last;\n")
    with pytest.raises(PatchBroken) as failed:
        series.run(each=each)
    assert "patch 2 (breaks io) does not compile in io.c" in failed.value.message
    assert "io.c:3:5: error: broken" in failed.value.detail
    assert failed.value.exit_code == 4
    assert len(series.notes()) == 1, "tried again before it was blamed"
    series.ui.warnings.clear()
    with pytest.raises(PatchBroken):
        series.run(each=each)


def test_a_failure_in_every_new_directory_is_blamed(series: Series) -> None:
    series.add("flaky", alone_dot_c="FLAKY\n")
    # FLAKY fails once per build directory; the retry starts from an empty one, so it fails again.
    with pytest.raises(PatchBroken):
        series.run()


def test_stale_directory_is_forgiven(series: Series) -> None:
    series.add("one", alone_dot_c="int more;\n")
    record = series.run()
    ninja = record.build_dir / "build.ninja"
    ninja.write_text(ninja.read_text().replace("touch flaky;", "false;") + "\nbuild x y z\n")
    series.add("two", io_dot_c="int more;\n")
    record = series.run()
    assert [one.retried for one in record.commits] == [False, True]
    assert "clean directory" in series.notes()[0]


def test_what_fails_without_the_patch_is_not_its_fault(series: Series) -> None:
    series.base = series.work.commit({"io.c": '#include "io.h"\nBROKEN\n'}, "new base")
    series.add("innocent", include__io_dot_h="int io, more;\n")
    with pytest.raises(CompileFailed, match="does not compile without patch 1 either"):
        series.run()


def test_a_run_that_was_cut_off_in_a_move(series: Series) -> None:
    series.add("one", alone_dot_c="int one;\n")
    series.run()
    first = series.tip
    series.add("two", io_dot_c="int two;\n", gone_dot_c="int gone;\n")
    (home,) = (x for x in (series.work.path.parent / "cache" / "each").iterdir() if "-" in x.name)
    source = home / "walk" / "src"
    repo = series.work.repo
    trees = {name: repo.line("rev-parse", f"{name}^{{tree}}") for name in (first, series.tip)}
    # As a kill leaves it: some files of the next commit written, the mark says where it was going.
    (source / "gone.c").write_text("int gone;\n")
    mark = home / "walk" / "walk.json"
    mark.write_text(json.dumps({"tree": trees[first], "moving": trees[series.tip]}))
    series.work.commit({"io.c": "int io;\n", "gone.c": None}, "dropped")
    series.add("other", alone_dot_c="int other;\n")
    series.run()
    for name in ("io.c", "alone.c", "vl.c"):
        assert (source / name).read_text() == (series.work.path / name).read_text()
    assert not (source / "gone.c").exists()


def workdir(tmp_path: Path) -> Workdir:
    work = Workdir(tmp_path / "w", ERAS["make"])
    work.source.mkdir(parents=True)
    work.build.mkdir()
    return work


def test_objects_from_compile_commands(tmp_path: Path) -> None:
    work = workdir(tmp_path)
    here = {"directory": str(work.build), "command": "cc"}
    entries = [
        {**here, "file": "../src/io/a.c", "output": "libio.p/a.c.o"},
        {**here, "file": "../src/io/a.c", "output": "libother.p/a.c.o"},
        {**here, "file": "qapi/q.c", "output": "libq.p/q.c.o"},
    ]
    found = from_commands(json.dumps(entries).encode(), work)
    assert found == {
        "io/a.c": ("libio.p/a.c.o", "libother.p/a.c.o"),
        "@/qapi/q.c": ("libq.p/q.c.o",),
    }


def test_objects_from_a_dry_run_of_make(tmp_path: Path) -> None:
    work = workdir(tmp_path)
    lines = [
        f"cc -O2 -MF util/a.d -c -o util/a.o {work.source}/util/a.c",
        "echo something -c",
        f"make[1]: Entering directory '{work.build}/x86_64-softmmu'",
        f"ccache cc -c -o hw/pc.o {work.source}/hw/pc.c",
        "cc -c -o gen.o ../gen.c",
        f"make[1]: Leaving directory '{work.build}/x86_64-softmmu'",
        "cc -c -o top.o top.c",
    ]
    assert from_dry_run(lines, work) == {
        "util/a.c": ("util/a.o",),
        "hw/pc.c": ("x86_64-softmmu/hw/pc.o",),
        "@/gen.c": ("x86_64-softmmu/gen.o",),
        "@/top.c": ("top.o",),
    }


def test_generated_sources_among_ninjas_targets() -> None:
    lines = [
        "trace/trace-io.h: CUSTOM_COMMAND",
        "qapi/qapi-types.c: CUSTOM_COMMAND_DEP",
        "libio.p/a.c.o: c_COMPILER",
        "docs/x.html: CUSTOM_COMMAND",
        "tests/t.h: CUSTOM_COMMAND",
    ]
    assert header_targets(lines) == ["trace/trace-io.h", "qapi/qapi-types.c"]


def test_include_graph(tmp_path: Path) -> None:
    work = workdir(tmp_path)
    for name, text in {
        "src/include/io/a.h": "",
        "src/io/a.c": '#include "io/a.h"\n',
        "src/io/b.h": '  # include "io/a.h"\n',
        "src/io/b.c": '#include "b.h"\n',
        "src/hw/b.h": "",
        "src/hw/b.c": '#include "b.h"\n#include "trace.h"\n',
        "src/net/c.c": '#include "trace.h"\n#include <stdio.h>\n',
        "build/hw/trace.h": "",
        "build/net/trace.h": "",
        "build/lib.p/ignored.h": '#include "io/a.h"\n',
    }.items():
        path = work.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    graph = IncludeGraph(work.source, work.build)
    graph.refresh()
    assert graph.closure(["include/io/a.h"]) == ["io/a.c", "io/b.h", "io/b.c"]
    assert graph.closure(["hw/b.h"]) == ["hw/b.c"]
    assert graph.closure(["@/hw/trace.h"]) == ["hw/b.c"]
    assert graph.closure(["@/net/trace.h"]) == ["net/c.c"]


def test_choice_counts_what_it_leaves_out(tmp_path: Path) -> None:
    class Known:
        def of(self, nodes: list[str]) -> list[str]:
            return [f"{node}.o" for node in nodes if node.endswith(".c")]

        def has(self, node: str) -> bool:
            return node != "win32.c"

    class Users:
        def closure(self, start: list[str]) -> list[str]:
            return [f"user{n}.c" for n in range(5)]

    found = choose(["b.c", "a.h"], {"@/gen.c"}, Users(), Known(), 3)  # type: ignore[arg-type]
    assert found.objects == ("b.c.o", "@/gen.c.o", "user0.c.o", "user1.c.o", "user2.c.o")
    assert found.left_out == 2
    unbuilt = choose(["win32.c"], (), Users(), Known(), 0)  # type: ignore[arg-type]
    assert unbuilt.unbuilt == ("win32.c",)
