"""Tables that were left to another process, damaged or made up: ignored or an error, no crash."""

from __future__ import annotations

import random

from patchgen.live.hostile import Target, case
from patchgen.live.scenario import scenario
from patchgen.live.stage import Stage
from patchgen.live.waiting import require

_CASES, _SEED = 30, 20200730


@scenario(
    "restart-state-hostile",
    "tables damaged at random, most with a right digest: an error or a start, never a crash",
)
def hostile(stage: Stage) -> None:
    target = Target(stage)
    try:
        for number in range(_CASES):
            one = case(random.Random(_SEED + number), target.left.entries)
            fault = target.fault(one, load=True)
            require(not fault, f"seed {_SEED + number}: {fault}")
    finally:
        target.close()
