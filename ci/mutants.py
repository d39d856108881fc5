"""Builds and runs mutants of the series; see ``ci/mutants``.

Each mutant of tests/mutants is built on the distribution's 5.2, and the scenarios and unit tests
that it names must fail for the reason that it gives. Before that, all of them must pass on the
series as it is. Exit code 5 if a mutant survives.
"""

from __future__ import annotations

import argparse
import os
import sys

# A guest that is dead stays dead; a scenario need not wait for it as long as on a busy host.
os.environ.setdefault("PATCHGEN_LIMIT", "20")

from patchgen.config import load_config
from patchgen.errors import CheckError, PatchgenError
from patchgen.processors import processors
from patchgen.source.resolve import resolve
from patchgen.ui import Ui
from tests.mutants.bench import KILLED, NOT_TRIED, Bench, NotBuilt, Verdict
from tests.mutants.mutant import WrongMutant, all_mutants


def line(one: Verdict) -> str:
    """The verdict for people."""
    head = f"{one.state:14} {one.seconds:6.1f} s (build {one.build:.1f})  {one.name}"
    return "\n    ".join([head, *(f"{name}: {said}" for name, said in one.said.items())])


def main() -> int:
    """Parse, try each, say what became of it."""
    parser = argparse.ArgumentParser(prog="ci/mutants", description=__doc__)
    parser.add_argument("name", nargs="*", metavar="NAME", help="only these mutants")
    parser.add_argument(
        "--no-control",
        action="store_true",
        help="do not see first that the scenarios pass without a mutant",
    )
    args = parser.parse_args()
    mutants = all_mutants()
    unknown = [name for name in args.name if name not in mutants]
    if unknown:
        parser.error(f"there is no mutant {' '.join(unknown)}: {' '.join(mutants)}")
    chosen = [mutants[name] for name in args.name] or list(mutants.values())
    ui, config = Ui(), load_config()
    base = resolve("v5.2.0", repo=None, source="distro", config=config, ui=ui)
    bench = Bench(base, config, config.jobs or processors(), ui)
    if not args.no_control:
        control = bench.control(chosen)
        print(line(control), flush=True)
        if control.said:
            return CheckError.exit_code
    states = []
    for one in chosen:
        verdict = bench.judge(one)
        states.append(verdict.state)
        print(line(verdict), flush=True)
    noticed, without_kvm = states.count(KILLED), states.count(NOT_TRIED)
    rest = f"; {without_kvm} not tried without KVM" if without_kvm else ""
    print(f"{noticed} of {len(states)} mutants were noticed{rest}")
    return 0 if noticed + without_kvm == len(states) else CheckError.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (PatchgenError, WrongMutant, NotBuilt) as exc:
        sys.exit(f"mutants: {exc}")
