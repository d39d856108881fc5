"""``patchgen matrix`` over the releases, process start included, against one ``apply --dry-run``.

Prints the medians, and seconds per tag as a share of what one tag costs by itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from patchgen.processors import processors
from patchgen.source.tags import known_tags

RELEASES = [tag for tag, known in known_tags().items() if known.commit and tag.endswith(".0")]


def timed(*args: str, may_drift: bool = False) -> tuple[float, str]:
    """Wall-clock seconds of a command and its output; a failure ends the bench."""
    started = time.perf_counter()
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in ((0, 3) if may_drift else (0,)):
        sys.exit(f"bench: {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds, done.stdout


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="ci/bench matrix", description=__doc__)
    parser.add_argument("tags", nargs="*", metavar="TAG", help="default: all x.y.0 from 4.2 on")
    parser.add_argument("--repo", help="default: what patchgen finds for each tag")
    parser.add_argument("--tag", default="v5.2.0", help="the one for apply (default: v5.2.0)")
    parser.add_argument("--jobs", default="2", help="processes (default: 2)")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    tags = args.tags or RELEASES
    place = ["--repo", args.repo] if args.repo else []
    matrix = ["patchgen", "matrix", *tags, *place, "--jobs", args.jobs, "--json", "--quiet"]
    apply = ["patchgen", "apply", args.tag, *place, "--dry-run", "--json", "--quiet"]
    many, one = [], []
    result = {}
    for _ in range(args.rounds):
        seconds, out = timed(*matrix, may_drift=True)
        many.append(seconds)
        result = json.loads(out)["result"]
        one.append(timed(*apply, may_drift=True)[0])
    a, b = statistics.median(many), statistics.median(one)
    each = a / len(result["tags"])
    patches = len(result["patches"])
    print(
        f"{len(result['tags'])} tags, {patches} patches, {args.rounds} rounds, medians;"
        f" {args.jobs} processes on {processors()} processors"
    )
    print(f"  patchgen matrix    {a:6.2f} s   (min {min(many):.2f}, max {max(many):.2f})")
    print(f"  each tag           {each:6.2f} s")
    print(f"  apply --dry-run    {b:6.2f} s   ({args.tag}, min {min(one):.2f}, max {max(one):.2f})")
    print(f"  ratio              {each / b:6.2f}     each tag / apply --dry-run")
    print("  target: at most 15 s for 19 releases with 2 processes")


if __name__ == "__main__":
    main()
