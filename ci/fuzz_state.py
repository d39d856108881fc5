"""Leaves tables that were made up to a QEMU, many of them; see ``ci/fuzz-state``.

Every one must end in an error, or in a warning and a start like any other: by a signal or with a
sanitizer's report, it is a fault. The same seed makes the same tables. Exit code 5 for a fault.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from patchgen.errors import CheckError
from patchgen.live.hostile import Target, case
from patchgen.live.qemu import Qemu, firmware_dirs
from patchgen.live.stage import Stage
from patchgen.live.waiting import Failed, Skipped


def _no_other() -> Qemu:
    raise Skipped("there is no other QEMU here")


def main() -> int:
    """Parse, try each table, say which ones were too much."""
    parser = argparse.ArgumentParser(prog="ci/fuzz-state", description=__doc__)
    parser.add_argument("qemu", type=Path, metavar="QEMU", help="qemu-system-x86_64, built")
    parser.add_argument("--cases", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the first case")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="at a time")
    parser.add_argument(
        "--load",
        action="store_true",
        help="start a VM and try cprload in each case; else QEMU is only asked for its version,"
        " which is faster, and looks at the table before that",
    )
    args = parser.parse_args()
    qemu = args.qemu.resolve()
    faults = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        one = Qemu(qemu, qemu.with_name("qemu-img"), qemu.parent, firmware_dirs(present=False), 0)
        with Stage(one, Path(place), _no_other) as stage, ThreadPoolExecutor(args.jobs) as pool:
            target = Target(stage)

            def tried(seed: int) -> str:
                return target.fault(case(random.Random(seed), target.left.entries), load=args.load)

            seeds = range(args.seed, args.seed + args.cases)
            for done, (seed, fault) in enumerate(
                zip(seeds, pool.map(tried, seeds), strict=True), 1
            ):
                if fault:
                    faults += 1
                    print(f"seed {seed}: {fault}", flush=True)
                if done % 500 == 0 or done == args.cases:
                    took = time.monotonic() - started
                    print(f"{done} cases, {faults} faults, {took:.0f} s", flush=True)
            target.close()
    return CheckError.exit_code if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, Skipped) as exc:
        sys.exit(f"fuzz-state: {exc}")
