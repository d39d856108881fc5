"""Three bugs, put into the series one by one: the scenarios that guard against them fail."""

from __future__ import annotations

import pytest

from patchgen.config import load_config
from patchgen.processors import processors
from patchgen.source.resolve import resolve
from patchgen.ui import Ui
from tests.mutants.bench import KILLED, Bench
from tests.mutants.mutant import all_mutants

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800), pytest.mark.xdist_group("live")]

# Of three C files; none has to wait for a guest that is dead. ci/mutants does them all.
THREE = ("mode-not-set-at-load", "exit-although-save-failed", "memfd-accepted")


@pytest.fixture(scope="module")
def bench() -> Bench:
    """The work directory that ci/mutants has as well."""
    config, ui = load_config(), Ui(quiet=True)
    base = resolve("v5.2.0", repo=None, source="distro", config=config, ui=ui)
    return Bench(base, config, config.jobs or processors(), ui)


def test_the_scenarios_pass_without_a_mutant(bench: Bench) -> None:
    mutants = all_mutants()
    assert bench.control(mutants[name] for name in THREE).said == {}


@pytest.mark.parametrize("name", THREE)
def test_mutant_is_noticed(bench: Bench, name: str) -> None:
    verdict = bench.judge(all_mutants()[name])
    assert verdict.state == KILLED, verdict.said
