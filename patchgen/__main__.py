"""Entry point of the console script and of ``python -m patchgen``."""

from __future__ import annotations

import gc
import sys

from patchgen import signals


def main() -> int:
    """Run the command line given in ``sys.argv``; returns the process's exit code."""
    try:
        signals.install()
        return _main()
    except KeyboardInterrupt as exc:
        from patchgen.cli import interrupted

        return interrupted(sys.argv[1:], exc)


def _main() -> int:
    # Most runs end before looking for cycles could gain anything.
    gc.set_threshold(100_000, 20, 100)
    # A thread that only talks to git must not wait 5 ms for each word while another computes.
    sys.setswitchinterval(0.0005)
    from patchgen.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
