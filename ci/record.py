"""Writes ``qemu-ref/support.toml``; see ``ci/record``."""

from __future__ import annotations

import datetime
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from patchgen.engine.series import load_default_series
from patchgen.live.scenario import promised
from patchgen.paths import data_dir
from patchgen.pins import Pin, load_pins
from patchgen.support import (
    Applied,
    Built,
    Checked,
    Each,
    Verified,
    base_kind,
    load_support,
    release_order,
)

HEAD = """\
# What was verified, by the id of the base tree; written by ci/record from the commands' own --json.
# `patchgen support` shows it. `series` and `tree` tell which state of the series it was.
"""


Common = tuple[datetime.date, str]
"""What each record starts with: when, and with which patchgen."""


class Refused(Exception):
    """The file is not what can be recorded."""


def take_matrix(verified: dict[str, Verified], result: Any, common: Common) -> list[str]:
    """Record what became of the patches on each tag."""
    if result["series"] != load_default_series().digest:
        raise Refused("made with another state of the series, or a part of it")
    said = []
    for tag in result["tags"]:
        states = Counter(c["state"] for c in result["cells"] if c["tag"] == tag["tag"])
        if states["error"]:
            raise Refused(f"{tag['tag']} has errors")
        source = base_kind(tag["base"], tag["origin"])
        if not source:
            raise Refused(f"{tag['tag']}: a cache holds several; name the place with --source")
        applied = Applied(
            *common,
            result["series"],
            len(result["patches"]),
            states["applied"],
            states["adapted"],
            states["already-there"],
            states["drifted"],
            tag["files"],
        )
        before = verified.get(tag["tree"], Verified(tag["tag"], source))
        verified[tag["tree"]] = msgspec.structs.replace(before, applied=applied)
        said.append(f"{tag['tag']} ({source}): {applied.fit} of {applied.patches} patches fit")
    return said


def base_of(pins: dict[str, Pin], tree: str) -> str:
    """The base tree on which the whole series gives *tree*, by the pins."""
    last = load_default_series().entries[-1].name
    for base, pin in pins.items():
        if pin.trees.get(last) == tree:
            return base
    raise Refused(f"no pin of the whole series has its tree {tree}; run ci/pin first")


def take_build(
    verified: dict[str, Verified], pins: dict[str, Pin], result: Any, common: Common
) -> list[str]:
    """Record a build, of the whole or of each commit; its base is known by the pinned trees."""
    each = "commits" in result
    if result.get("pristine", False) or not (each or "binary" in result):
        raise Refused("not a build of the series")
    tree = result["commits"][-1]["tree"] if each else result["tree"]
    base = base_of(pins, tree)
    before = verified.get(base, Verified(pins[base].tag, pins[base].source))
    if each:
        patches = len(result["commits"])
        done = Each(*common, tree, patches, result["mode"])
        verified[base] = msgspec.structs.replace(before, each=done)
        return [f"{before.tag} ({before.source}): each of {patches} commits, {done.mode}"]
    built = Built(*common, tree, result["patches"], result["set"])
    verified[base] = msgspec.structs.replace(before, built=built)
    return [f"{before.tag} ({before.source}): built, {built.set}"]


def take_check(
    verified: dict[str, Verified], pins: dict[str, Pin], result: Any, common: Common
) -> list[str]:
    """Record what became of all scenarios."""
    if "tree" not in result:
        raise Refused("not a check of a tree")
    promises = promised(load_default_series())
    wanted = {one.scenario.name for one in promises if not one.scenario.long}
    if wanted - {one["name"] for one in result["scenarios"]}:
        raise Refused("only some of the scenarios were run")
    base = base_of(pins, result["tree"])
    before = verified.get(base, Verified(pins[base].tag, pins[base].source))
    checked = Checked(
        *common,
        result["tree"],
        result["patches"],
        result["passed"],
        result["failed"],
        result["skipped"],
    )
    verified[base] = msgspec.structs.replace(before, checked=checked)
    counts = f"{checked.passed} passed, {checked.failed} failed, {checked.skipped} skipped"
    return [f"{before.tag} ({before.source}): {counts}"]


def take(verified: dict[str, Verified], pins: dict[str, Pin], path: Path) -> list[str]:
    """Record one file; lines that say what."""
    answer = json.loads(path.read_text(encoding="utf-8"))
    modified = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    if "result" not in answer:
        raise Refused(f"an error: {answer.get('error', {}).get('message', '')}")
    result, common = answer["result"], (modified.date(), answer["version"])
    if answer["command"] == "matrix":
        return take_matrix(verified, result, common)
    if answer["command"] == "build":
        return take_build(verified, pins, result, common)
    if answer["command"] == "check":
        return take_check(verified, pins, result, common)
    raise Refused(f"records of {answer['command']} are not kept")


def toml(verified: dict[str, Verified]) -> str:
    """The whole file, by release."""
    out = [HEAD]
    for tree, one in sorted(
        verified.items(), key=lambda item: release_order(item[1].tag, item[1].source)
    ):
        out.append(f'\n["{tree}"]\ntag = "{one.tag}"\nsource = "{one.source}"\n')
        for kind in ("applied", "built", "each", "checked"):
            record = getattr(one, kind)
            if record is not None:
                out.append(f'\n["{tree}".{kind}]\n')
                for name, value in msgspec.structs.asdict(record).items():
                    out.append(
                        f"{name} = {json.dumps(value) if isinstance(value, str) else value}\n"
                    )
    return "".join(out)


def main() -> None:
    """Read what is recorded, take the files, write all."""
    path = data_dir("qemu-ref") / "support.toml"
    verified = load_support(path)
    pins = load_pins(data_dir("qemu-ref") / "pins.toml")
    for word in sys.argv[1:]:
        try:
            said = take(verified, pins, Path(word))
        except (Refused, OSError, ValueError, KeyError, TypeError) as exc:
            sys.exit(f"record: {word}: {exc}")
        print("\n".join(said))
    path.write_text(toml(verified), encoding="utf-8")


if __name__ == "__main__":
    main()
