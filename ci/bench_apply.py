"""``patchgen apply``, process start included, against ``git am`` of the very same patches.

Both work in one scratch clone, one after the other in each round; every round has a new branch and
an empty cache for results. Prints the medians and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(*args: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command; its standard output. A failure ends the bench with the command's words."""
    done = subprocess.run(args, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(*args: str, cwd: Path, env: dict[str, str]) -> float:
    """Wall-clock milliseconds of a command."""
    started = time.perf_counter()
    run(*args, cwd=cwd, env=env)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Parse, prepare, measure, print."""
    parser = argparse.ArgumentParser(prog="ci/bench apply", description=__doc__)
    parser.add_argument("--tag", default="v5.2.0")
    parser.add_argument("--repo", help="default: what patchgen finds for the tag")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="patchgen-bench-"))
    try:
        measure(args, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def measure(args: argparse.Namespace, scratch: Path) -> None:
    """The rounds, and the line that says how they came out."""
    find = ["patchgen", "apply", args.tag, "--json", "--dry-run"]
    if args.repo:
        find += ["--repo", args.repo]
    found = json.loads(run(*find, cwd=scratch))["result"]
    clone, mbox = scratch / "clone", scratch / "series.mbox"
    run("git", "clone", "-q", "--shared", "--no-checkout", found["repo"], str(clone), cwd=scratch)
    run("git", "checkout", "-q", "--detach", found["base"], cwd=clone)
    run("git", "tag", "-f", args.tag, found["base"], cwd=clone)
    patchgen = ["patchgen", "apply", args.tag, "--repo", str(clone), "--quiet"]
    run(*patchgen, "--branch", "bench/mail", cwd=scratch)
    mails = run(
        "git", "format-patch", "--stdout", "--binary", f"{found['base']}..bench/mail", cwd=clone
    )
    mbox.write_text(mails, encoding="utf-8", errors="surrogateescape")
    am = ["git", "am", "-q", "--committer-date-is-author-date", str(mbox)]
    ours, theirs = [], []
    for number in range(args.rounds):
        env = {**os.environ, "PATCHGEN_CACHE": str(scratch / f"cache{number}")}
        ours.append(timed(*patchgen, "--branch", f"bench/{number}", cwd=scratch, env=env))
        run("git", "checkout", "-q", "-B", f"am/{number}", found["base"], cwd=clone)
        theirs.append(timed(*am, cwd=clone, env=env))
        if run("git", "diff", "--stat", f"am/{number}", f"bench/{number}", cwd=clone):
            sys.exit("bench: the two trees differ")
    version = min(timed("patchgen", "--version", cwd=scratch, env=env) for _ in range(args.rounds))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{args.tag}, {len(found['patches'])} patches, {args.rounds} rounds, medians")
    print(f"  patchgen apply   {a:6.0f} ms   (min {min(ours):.0f}, max {max(ours):.0f})")
    print(f"  git am           {b:6.0f} ms   (min {min(theirs):.0f}, max {max(theirs):.0f})")
    print(f"  ratio            {a / b:6.2f}      target: at most 2.0")
    print(f"  patchgen --version {version:4.0f} ms   target: under 80")


if __name__ == "__main__":
    main()
