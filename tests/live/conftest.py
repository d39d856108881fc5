"""The built QEMU."""

from __future__ import annotations

import contextlib
import io
import json
from functools import cache

import msgspec
import pytest

from patchgen.build.record import BuildRecord
from patchgen.cli import run
from patchgen.live.linux import linux_guest
from patchgen.live.qemu import qemu_of
from patchgen.live.runner import Run
from patchgen.paths import cache_dir
from patchgen.ui import Ui


def build(*more: str) -> BuildRecord:
    """The distribution's 5.2, built."""
    out = io.StringIO()
    # Made once for all tests, before the environment of the first of them is sealed.
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "Test User")
            patch.setenv(f"GIT_{who}_EMAIL", "test@example.org")
        code = run(["build", "v5.2.0", "--source", "distro", "--json", *more])
    data = json.loads(out.getvalue())
    assert code == 0, data
    return msgspec.convert(data["result"], BuildRecord, dec_hook=lambda kind, value: kind(value))


@pytest.fixture(scope="session")
def build_record() -> BuildRecord:
    """The distribution's 5.2 with the series."""
    return build()


@pytest.fixture(scope="session")
def scenario_run(build_record: BuildRecord) -> Run:
    """How scenarios are run: as `patchgen check` does."""
    place = cache_dir() / "check" / f"tests-{build_record.tree[:12]}"
    alone = ("patchgen", "check", "v5.2.0", "--source", "distro", "--keep")
    pristine = cache(lambda: qemu_of(build("--pristine")))
    linux = cache(lambda: linux_guest(Ui()))
    return Run(qemu_of(build_record), place, False, alone, pristine, linux)
