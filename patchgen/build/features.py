"""What goes into a QEMU: named feature sets, their flags, packages, and the proof in the summary.

Typed view of ``qemu-ref/features.toml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

import msgspec

from patchgen.build.eras import Era, Probe, load_toml
from patchgen.build.treefiles import TreeFiles
from patchgen.errors import FeatureMissing, SeriesError
from patchgen.paths import data_dir

_OPTION = re.compile(r"--[a-z0-9][A-Za-z0-9_-]*(?:=[A-Za-z0-9_.-]*\*?)?(?=[|)])")
_OFF = re.compile(r"(no|NO|false|disabled)\b|$")


class FeatureSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named choice of features."""

    about: str
    features: tuple[str, ...]
    off: tuple[str, ...] = ()


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that the emulator can have; see the head of features.toml."""

    flags: tuple[tuple[str, ...], ...] = ()
    otherwise: tuple[tuple[str, ...], ...] = ()
    needed_if: Probe | None = None
    summary: tuple[tuple[str, ...], ...] = ()
    packages: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Library(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A thing that every build needs, and how configure says that it is not there."""

    packages: tuple[str, ...]
    errors: tuple[str, ...]


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all sets share."""

    flags: tuple[str, ...]
    off: tuple[str, ...]
    packages: tuple[str, ...]
    library: tuple[Library, ...]


class Features(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file ``qemu-ref/features.toml``."""

    set: dict[str, FeatureSet]
    common: Common
    feature: dict[str, Feature]


@cache
def load_features() -> Features:
    """The feature sets.

    :raise SeriesError: the file is malformed, or a set names an unknown feature
    """
    path = data_dir("qemu-ref") / "features.toml"
    try:
        features = msgspec.convert(load_toml(path), Features)
    except msgspec.ValidationError as exc:
        raise SeriesError(f"{path}: {exc}", "reinstall patchgen") from exc
    for name, chosen in features.set.items():
        for one in chosen.features:
            if one not in features.feature:
                raise SeriesError(f"{path}: set {name}: no feature {one}", "reinstall patchgen")
    return features


def packages_of(set_name: str) -> tuple[str, ...]:
    """The Debian packages that a build of the set needs, each once, in a stable order."""
    data = load_features()
    names = list(data.common.packages)
    for one in data.set[set_name].features:
        names += data.feature[one].packages
    return tuple(dict.fromkeys(names))


class Options:
    """The options that the configure of one tree knows, read from its own source."""

    def __init__(self, files: TreeFiles) -> None:
        text = files.read("configure") + files.read("scripts/meson-buildoptions.sh")
        self._known = set(_OPTION.findall(text))

    def knows(self, flag: str) -> bool:
        """Whether configure takes *flag*, spelled ``--x`` or ``--x=value``."""
        name, equals, _ = flag.partition("=")
        if equals:
            return bool({flag, f"{name}=*"} & self._known)
        return flag in self._known

    def first(self, spellings: Iterable[str]) -> str | None:
        """The first of *spellings* that configure takes."""
        return next((one for one in spellings if self.knows(one)), None)


def active(set_name: str, files: TreeFiles) -> dict[str, Feature]:
    """The features of the set that the tree is built with."""
    data = load_features()
    chosen = {name: data.feature[name] for name in data.set[set_name].features}
    return {
        name: one
        for name, one in chosen.items()
        if one.needed_if is None or one.needed_if.holds(files)
    }


def configure_flags(era: Era, set_name: str, files: TreeFiles, *, blobs: bool) -> tuple[str, ...]:
    """The flags of configure for this tree, in a stable order.

    :param blobs: whether the tree holds the firmware images
    """
    data = load_features()
    options = Options(files)
    chosen = data.set[set_name]
    wanted = active(set_name, files)
    flags = list(data.common.flags)
    flags += [one for one in era.flags if options.knows(one)]
    choices: list[tuple[str, ...]] = []
    for name in chosen.features:
        choices += wanted[name].flags if name in wanted else data.feature[name].otherwise
    if not blobs:
        choices.append(era.no_blobs)
    flags += [one for choice in choices if (one := options.first(choice))]
    flags += [one for one in (*chosen.off, *data.common.off) if options.knows(one)]
    return tuple(dict.fromkeys(flags))


def summary_value(era: Era, summary: str, name: str) -> str | None:
    """What configure's summary says of *name*; ``None`` if it has no such line."""
    pattern = era.summary.replace("{name}", re.escape(name))
    found = re.search(pattern, summary, re.MULTILINE)
    return found["value"].strip() if found else None


def check_summary(era: Era, features: dict[str, Feature], summary: str) -> dict[str, str]:
    """What the summary says of every feature: name -> value.

    :raise FeatureMissing: it lacks one; the fix names the packages of all that are lacking
    """
    said: dict[str, str] = {}
    lacking: dict[str, str] = {}
    for name, feature in features.items():
        for choice in feature.summary:
            values = [v for one in choice if (v := summary_value(era, summary, one)) is not None]
            on = next((v for v in values if not _OFF.match(v)), None)
            if on is None:
                lacking[name] = f"{choice[0]}: {values[0] if values else 'not mentioned'}"
            else:
                said[name] = on
    if lacking:
        packages = [p for name in lacking for p in features[name].packages]
        fix = f"apt install {' '.join(dict.fromkeys(packages))}" if packages else "see the log"
        raise FeatureMissing(
            f"configure left out {', '.join(lacking)}",
            f"{fix}, or build the smaller set with --minimal",
            "\n".join(lacking.values()),
        )
    return said


def blame_packages(features: dict[str, Feature], output: str) -> tuple[str, ...]:
    """The packages that a failed configure wants, by its error lines; empty if it names none."""
    lines = output.splitlines()
    said: list[str] = []
    for number, line in enumerate(lines):
        if "error" in line.lower() and not line.lstrip().startswith(("cc ", "gcc ")):
            said += lines[number : number + 4]
    text = "\n".join(said)
    known = [(one.errors, one.packages) for one in features.values()]
    known += [(one.errors, one.packages) for one in load_features().common.library]
    for errors, packages in known:
        if any(re.search(pattern, text, re.IGNORECASE) for pattern in errors):
            return packages
    return ()
