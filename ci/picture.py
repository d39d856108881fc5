"""Plays the demonstration and draws its transcript, with what the guest says below it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from patchgen.live.svg import terminal


def lines(played: dict[str, Any]) -> list[str]:
    """What is drawn of a demonstration that was played."""
    before, after = played["before"], played["after"]
    return [
        *played["transcript"],
        "",
        f"the guest: seed {before['seed']:#x}, and {after['seed']:#x} afterwards;"
        f" counter {before['counter']}, then {after['counter']}",
        f"its clock: {before['ticks'] / 100:.2f} s, then {after['ticks'] / 100:.2f} s;"
        f" it stood still for {played['pause_ms']:.0f} ms, typing included",
    ]


def main() -> int:
    """Play, draw."""
    parser = argparse.ArgumentParser(prog="ci/picture", description=__doc__)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    command = ["patchgen", "demo", "v5.2.0", "--source", "distro", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    data = json.loads(done.stdout)
    if not data["ok"]:
        print(data["error"]["message"], file=sys.stderr)
        return done.returncode
    result = data["result"]
    title = f"QEMU {result['qemu']} becomes {result['update']['qemu']} under a running guest"
    drawn = terminal(title, lines(result["played"]))
    args.file.write_text(drawn, encoding="utf-8", newline="\n")
    print(args.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
