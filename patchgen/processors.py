"""How many processors this process may use: what --jobs is by default."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")


def processors() -> int:
    """The processors that the kernel lets this process run on, at least 1.

    A container has those of its host, and a share of their time: with that of one and a half
    there are two.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        count = os.cpu_count() or 1
    with suppress(OSError):
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
        count = min([count, *(math.ceil(share) for share in shares(own, _GROUPS))])
    return max(count, 1)


def shares(own: str, groups: Path) -> Iterator[float]:
    """The limits that control groups set, each as a number of processors.

    :param own: ``/proc/self/cgroup``, lines of ``NUMBER:CONTROLLERS:PATH``
    :param groups: where the groups are mounted
    """
    for line in own.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if not controllers:
            top, read = groups, _second
        elif "cpu" in controllers.split(","):
            top, read = groups / controllers, _first
        else:
            continue
        # In a container the mount may be the group itself, though its path is the host's.
        path = PurePosixPath(place.lstrip("/"))
        for part in (path, *path.parents):
            with suppress(OSError, ValueError):
                if (share := read(top / part)) > 0:
                    yield share


def _second(group: Path) -> float:
    quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    return 0 if quota == "max" else int(quota) / int(period)


def _first(group: Path) -> float:
    quota = int((group / "cpu.cfs_quota_us").read_text(encoding="ascii"))
    return quota / int((group / "cpu.cfs_period_us").read_text(encoding="ascii"))
