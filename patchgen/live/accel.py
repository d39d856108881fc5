"""Which accelerators run our guest."""

from __future__ import annotations

import os
from pathlib import Path

from patchgen.live.qemu import Qemu
from patchgen.live.qmp import Refused
from patchgen.live.stage import Stage
from patchgen.live.waiting import Failed, until

DEVICE = Path("/dev/kvm")
_PROBE = 30.0


def probe_kvm(qemu: Qemu, place: Path) -> str:
    """Try our guest under KVM; empty if it counts, else why not, one line.

    The device alone says little: some hosts offer one that cannot run a guest.
    """
    if not DEVICE.exists():
        return f"there is no {DEVICE}"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"{DEVICE} may not be opened"
    try:
        with Stage(qemu.under("kvm"), place, lambda: qemu) as stage:
            machine = stage.start()

            def counts_or_stopped() -> str:
                page = machine.guest.page()
                if page and page.passes > 1:
                    return "counts"
                status = machine.status()
                return "" if status == "running" else f"the guest's run state became {status}"

            said = until(counts_or_stopped, "our guest does not get going", _PROBE)
            return "" if said == "counts" else said
    except (Failed, Refused) as exc:
        return str(exc)
