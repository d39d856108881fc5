"""Writes ``qemu-ref/pins.toml``; see ``ci/pin``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from patchgen.paths import data_dir
from patchgen.pins import Pin, files_digest, load_pins
from patchgen.source.options import SOURCES
from patchgen.support import base_kind

HEAD = """\
# Trees that the series gives, by the id of the base tree; written by ci/pin, checked by `apply`.
# `files` is over the touched files alone, so it is equal for all sources of one release.
"""


def pin_of(tag: str, place: str) -> tuple[str, Pin]:
    """(base tree id, pin) of the whole series on *tag*."""
    where = ["--source", place] if place in SOURCES else ["--repo", place]
    argv = ["patchgen", "apply", tag, *where, "--branch", "patchgen-pin", "--force", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    if not answer["ok"]:
        sys.exit(f"pin: {tag}: {done.stdout}")
    result = answer["result"]

    def git(*args: str) -> bytes:
        return subprocess.run(
            ["git", "--git-dir", result["repo"], *args], capture_output=True, check=True
        ).stdout

    paths = sorted({f["path"] for patch in result["patches"] for f in patch["files"]})
    blobs = {path: git("show", f"{result['head']}:{path}") for path in paths}
    base_tree = git("rev-parse", f"{result['base']}^{{tree}}").decode().strip()
    git("update-ref", "-d", "refs/heads/patchgen-pin")
    trees = {patch["name"]: patch["tree"] for patch in result["patches"] if patch["tree"]}
    source = base_kind(result["base"], result["origin"])
    if not source:
        sys.exit(f"pin: {tag}: a cache holds several; name the place: TAG=distro or TAG=upstream")
    return base_tree, Pin(tag, source, files_digest(blobs), trees)


def every(pins: dict[str, Pin], repo: str) -> list[str]:
    """What renews all *pins*, in their words: git's trees from *repo*."""
    return [f"{pin.tag}={'distro' if pin.source == 'distro' else repo}" for pin in pins.values()]


def main() -> None:
    """Read the pins there are, make those asked for, write all."""
    path = data_dir("qemu-ref") / "pins.toml"
    pins = load_pins(path)
    words = sys.argv[1:]
    if words[:1] == ["--all"]:
        if len(words) != 2:
            sys.exit("pin: --all takes the repository that has the releases")
        words = every(pins, words[1])
    for word in words:
        tag, _, place = word.partition("=")
        base_tree, pin = pin_of(tag, place)
        pins[base_tree] = pin
        print(f"{tag} ({pin.source}): base tree {base_tree}, files {pin.files[:12]}")
    out = [HEAD]
    for tree, pin in sorted(pins.items(), key=lambda item: (item[1].tag, item[1].source)):
        out.append(f'\n["{tree}"]\ntag = "{pin.tag}"\nsource = "{pin.source}"\n')
        out.append(f'files = "{pin.files}"\n\n["{tree}".trees]\n')
        out.extend(f'{name} = "{value}"\n' for name, value in sorted(pin.trees.items()))
    Path(path).write_text("".join(out), encoding="utf-8")


if __name__ == "__main__":
    main()
