"""The distribution's source packages, through apt with a state of its own.

apt chooses the mirror, follows the proxy, authenticates and verifies; the host's whole
configuration is inherited. Only the state is private (lists, cache, source entries below
patchgen's cache), so no root is needed and the host's apt does not change. Each suite has a
state of its own: one that is gone from the mirror does not stop the others.

The mirror's name comes from apt itself (``apt-get update --print-uris``, which, unlike ``apt-get
indextargets``, also answers before the first update); it is never written in patchgen.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from patchgen.children import child, end_all
from patchgen.source.tags import tag_of, upstream_version
from patchgen.ui import Meter, Ui

SUITES = ("bullseye", "bookworm", "trixie", "sid")
"""Debian's suites with a QEMU that the series is for (5.2, 7.2, 10.0, newest), oldest first."""

MAX_AGE = 24 * 3600.0
"""Seconds after which an index is fetched again."""

_RECENT = 600.0
_INDEX = re.compile(r"'([^']+)/dists/([^']+)/(?:InRelease|Release)'")
_DEBIAN_SUITE = re.compile(
    r"(?:(?:old)*stable|testing|unstable|sid|buster|bullseye|bookworm|trixie|forky)"
    r"(?:-updates|-proposed-updates|-backports)?"
)
# Fields of a source entry that say how far a mirror is trusted; the others choose what is fetched.
_TRUST = (
    *("signed-by", "trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure"),
    *("check-valid-until", "valid-until-min", "valid-until-max", "check-date", "date-max-future"),
    "by-hash",
)
_KEYRINGS = tuple(
    Path(f"/usr/share/keyrings/debian-archive-keyring.{kind}") for kind in ("pgp", "gpg")
)


class AptFailed(Exception):
    """apt could not do it: *reason*, one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SourcePackage:
    """One version of the source package qemu that a suite offers.

    :ivar suite: such as ``bullseye``
    :ivar version: as apt knows it, ``1:5.2+dfsg-11+deb11u3``
    :ivar upstream: ``5.2+dfsg``
    :ivar tag: the release that its orig tarball is, ``v5.2.0``
    """

    suite: str
    version: str
    upstream: str
    tag: str

    def __str__(self) -> str:
        return f"{self.suite} qemu {self.version}"


@dataclass(frozen=True)
class Suite:
    """What a suite offers, or the one-line *reason* why that is unknown."""

    name: str
    packages: tuple[SourcePackage, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Mirror:
    """A base URI of the host's apt, and how far it is trusted.

    :ivar suites: suites that the host takes from it
    :ivar trust: fields of its source entry, as deb822 lines
    """

    uri: str
    suites: frozenset[str] = frozenset()
    trust: tuple[str, ...] = field(default=())


def run_apt(words: Sequence[str], *, status: Meter | None = None, cwd: Path | None = None) -> str:
    """Run an apt program; its output.

    :raise AptFailed: it is missing, or fails
    """
    env = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    out: list[str] = []
    try:
        with child(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if status else subprocess.PIPE,
            env=env,
            cwd=cwd,
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            if status:
                for line in process.stdout:
                    if line.startswith("dlstatus:"):
                        percent = line.split(":")[2]
                        status.update(float(percent), 100.0)
                    else:
                        out.append(line)
                said = "".join(out)
            else:
                text, said = process.communicate()
                out.append(text)
    except FileNotFoundError as exc:
        raise AptFailed(f"{words[0]} is not installed") from exc
    except OSError as exc:
        raise AptFailed(f"{words[0]}: {exc.strerror}") from exc
    if process.returncode != 0:
        raise AptFailed(_reason(said, f"{words[0]} ended with {process.returncode}"))
    return "".join(out)


def _reason(said: str, otherwise: str) -> str:
    """The first error, else warning, of apt's messages."""
    lines = [x.strip() for x in said.splitlines()]
    for mark in ("E:", "Err:", "W:"):
        for line in lines:
            # The sentence that only repeats that something failed tells nothing.
            if line.startswith(mark) and "Some index files failed" not in line:
                return " ".join(line.removeprefix(mark).split())
    return next((x for x in reversed(lines) if x), otherwise)


# --- the host's configuration -----------------------------------------------------------------


def _source_files() -> list[Path]:
    """The files in which the host's apt keeps its source entries."""
    wanted = ("LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d")
    out = run_apt(["apt-config", "shell", *wanted])
    found = dict(re.findall(r"^(\w+)='(.*)'$", out, re.MULTILINE))
    files = [Path(found["LIST"])] if found.get("LIST") else []
    if parts := found.get("PARTS"):
        files += sorted(x for x in Path(parts).glob("*") if x.suffix in (".list", ".sources"))
    return [x for x in files if x.is_file()]


def _entries(text: str, *, deb822: bool) -> list[tuple[list[str], dict[str, str]]]:
    """The source entries of a file: their URIs, and their options by lower-case field name."""
    entries: list[tuple[list[str], dict[str, str]]] = []
    if deb822:
        text = "\n".join(x for x in text.splitlines() if not x.startswith("#"))
        for stanza in re.split(r"\n[ \t]*\n", text):
            fields = {
                name.lower(): value.rstrip()
                for name, value in re.findall(
                    r"^([^\s:#]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE
                )
            }
            entries.append((fields.get("uris", "").split(), fields))
        return entries
    for line in text.splitlines():
        found = re.match(r"\s*deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)", line)
        if found:
            options = (x.partition("=") for x in (found[1] or "").split())
            entries.append(([found[2]], {name.lower(): value for name, _, value in options}))
    return entries


def _trust(uri: str, files: Sequence[Path]) -> tuple[str, ...]:
    """The trust fields of the host's entry for *uri*, as deb822 lines."""
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            continue  # apt itself has read it, or has told why not
        for uris, fields in _entries(text, deb822=file.suffix == ".sources"):
            if uri.rstrip("/") not in [x.rstrip("/") for x in uris]:
                continue
            lines = []
            for name in _TRUST:
                value = fields.get(name, "")
                keyring = next((str(x) for x in _KEYRINGS if x.is_file()), "")
                if name == "signed-by" and value.startswith("/") and keyring not in value:
                    # The host's keyring may be that of its own suite alone; the distribution's
                    # package of all keys is as trustworthy.
                    value += f", {keyring}" if keyring else ""
                if value:
                    lines.append(f"{name}: {value}")
            return tuple(lines)
    return ()


def host_mirrors() -> list[Mirror]:
    """The base URIs of the distribution's archive in the host's apt, most used first.

    :raise AptFailed: apt is missing, or none of its sources is an archive of Debian
    """
    if shutil.which("apt-get") is None:
        raise AptFailed("apt-get is not installed")
    out = run_apt(["apt-get", "update", "--print-uris", "-o", "APT::Sandbox::User=root"])
    suites: dict[str, list[str]] = {}
    for uri, suite in _INDEX.findall(out):
        if _DEBIAN_SUITE.fullmatch(suite):
            suites.setdefault(uri, []).append(suite)
    if not suites:
        raise AptFailed("the host's apt has no archive of Debian among its sources")
    files = _source_files()
    often = Counter({uri: len(names) for uri, names in suites.items()})
    return [
        Mirror(uri, frozenset(suites[uri]), _trust(uri, files)) for uri, _ in often.most_common()
    ]


# --- one suite with its own state -------------------------------------------------------------


_KINDS = {"deb-src": "Sources", "deb": "Packages"}


def write_state(
    top: Path, kind: str, suite: str, mirror: Mirror, settings: Sequence[str] = ()
) -> None:
    """Make *top* a state of apt's own for one suite of one mirror, used by ``-c TOP/apt.conf``.

    That file is read after the host's own, so it wins.

    :param kind: ``deb-src`` or ``deb``
    :param settings: more lines for it
    :raise OSError: the state cannot be written
    """
    for folder in ("state/lists/partial", "cache/archives/partial", "sources.d"):
        (top / folder).mkdir(parents=True, exist_ok=True)
    lines = [
        # The hooks that the host runs after an update are about the host's state, and the
        # sandbox's user could not write here.
        "#clear APT::Update;",
        f'Dir::State "{top}/state";',
        f'Dir::State::lists "{top}/state/lists";',
        'Dir::State::status "/dev/null";',
        f'Dir::Cache "{top}/cache";',
        f'Dir::Cache::archives "{top}/cache/archives";',
        'Dir::Cache::pkgcache "";',
        'Dir::Cache::srcpkgcache "";',
        'Dir::Etc::sourcelist "/dev/null";',
        f'Dir::Etc::sourceparts "{top}/sources.d";',
        'APT::Sandbox::User "root";',
        'APT::Update::Error-Mode "any";',
        # An index stays usable when the mirror tried after it has none.
        'APT::Get::List-Cleanup "false";',
        *settings,
    ]
    (top / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    entry = [
        f"Types: {kind}",
        f"URIs: {mirror.uri}",
        f"Suites: {suite}",
        "Components: main",
        f"Targets: {_KINDS[kind]}",
        *mirror.trust,
    ]
    (top / "sources.d" / "suite.sources").write_text(
        "\n".join(entry) + "\n", encoding="utf-8", errors="surrogateescape"
    )


class _State:
    """apt's private state for one suite, below *root*."""

    def __init__(self, root: Path, suite: str) -> None:
        self.suite = suite
        self._top = root / suite
        self._conf = self._top / "apt.conf"
        self._stamp = self._top / "fetched"

    def age(self) -> float:
        """Seconds since the index was fetched; infinite if it never was."""
        try:
            return max(0.0, time.time() - self._stamp.stat().st_mtime)
        except FileNotFoundError:
            return float("inf")

    def prepare(self, mirror: Mirror) -> None:
        """Write the configuration and the one source entry."""
        write_state(self._top, "deb-src", self.suite, mirror)

    def update(self, mirrors: Sequence[Mirror]) -> None:
        """Fetch the suite's index, from the mirror that the host uses for it if there is one.

        :raise AptFailed: no mirror has it
        """
        first: AptFailed | None = None
        entry = self._top / "sources.d" / "suite.sources"
        before = entry.read_bytes() if entry.is_file() else None
        for mirror in sorted(mirrors, key=lambda x: self.suite not in x.suites):
            self.prepare(mirror)
            try:
                run_apt(["apt-get", "-c", str(self._conf), "-q", "update"])
                if not self.packages():
                    raise AptFailed(f"{mirror.uri} has no source package qemu in {self.suite}")
                self._stamp.touch()
                return
            except AptFailed as exc:
                first = first or exc
        if before is not None:
            entry.write_bytes(before)
        raise first or AptFailed("no mirror")

    def packages(self) -> tuple[SourcePackage, ...]:
        """Every version of qemu in the index, not only apt's candidate.

        :raise AptFailed: there is no index, or an empty one
        """
        if not self._conf.is_file():
            raise AptFailed("its index was never fetched")
        try:
            out = run_apt(["apt-cache", "-c", str(self._conf), "showsrc", "--only-source", "qemu"])
        except AptFailed as exc:
            # Its advice is for who writes source entries by hand.
            empty = "deb-src" in exc.reason
            raise AptFailed("has no index of source packages") if empty else exc from None
        found: dict[str, SourcePackage] = {}
        for version in re.findall(r"^Version: (\S+)$", out, re.MULTILINE):
            upstream = upstream_version(version)
            if tag := tag_of(upstream):
                found[version] = SourcePackage(self.suite, version, upstream, tag)
        return tuple(found.values())

    def download(self, package: SourcePackage, folder: Path, ui: Ui) -> list[tuple[Path, str]]:
        """Fetch and verify the package's files; its orig tarballs with the directory they go to.

        :raise AptFailed: the mirror does not have them, or they are not what the index says
        """
        with ui.progress(f"fetching {package}", 100.0) as meter:
            run_apt(
                [
                    *("apt-get", "-c", str(self._conf), "-qq", "-o", "APT::Status-Fd=1"),
                    *("source", "--download-only", "--only-source", f"qemu={package.version}"),
                ],
                status=meter,
                cwd=folder,
            )
        name = re.compile(
            rf"qemu_{re.escape(package.upstream)}\.orig(?:-([a-z0-9-]+))?\.tar\.(?:xz|gz|bz2|lzma)",
            re.IGNORECASE,
        )
        found = [(x, name.fullmatch(x.name)) for x in sorted(folder.iterdir())]
        # dpkg-source puts a component into a directory of its name, beside the main tarball's.
        origs = sorted(((path, hit[1] or "") for path, hit in found if hit), key=lambda x: x[1])
        if not origs or origs[0][1]:
            raise AptFailed(f"{package} has no orig tarball")
        return origs


class Distribution:
    """The suites' source packages; *root* is the directory of the private states."""

    def __init__(self, root: Path, ui: Ui) -> None:
        self._ui = ui
        self._states = [_State(root, suite) for suite in SUITES]

    def suites(self, *, wanted: str | None = None) -> list[Suite]:
        """What each suite offers; fetches indexes older than a day.

        :param wanted: a tag; if no suite offers it, indexes are fetched again unless they are new
        :raise AptFailed: apt is missing, or the host has no archive of Debian
        """
        found = self._update(MAX_AGE)
        if wanted and not any(x.tag == wanted for suite in found for x in suite.packages):
            found = self._update(_RECENT)
        return found

    def _update(self, max_age: float) -> list[Suite]:
        old = [state for state in self._states if state.age() > max_age]
        reasons: dict[str, str] = {}
        if old:
            mirrors = host_mirrors()
            names = ", ".join(state.suite for state in old)
            self._ui.step(f"distribution: fetching the index of source packages of {names}")

            def update(state: _State) -> str:
                try:
                    state.update(mirrors)
                except AptFailed as exc:
                    return exc.reason
                except OSError as exc:
                    return f"{exc.filename}: {exc.strerror}"
                return ""

            with ThreadPoolExecutor(len(old)) as pool:
                waiting = {state.suite: pool.submit(update, state) for state in old}
                try:
                    wait(waiting.values())
                except BaseException:
                    # Interrupted: the pool waits for its threads, and they for apt.
                    while not all(one.done() for one in waiting.values()):
                        end_all()
                        wait(waiting.values(), 0.1)
                    raise
            reasons = {suite: why for suite, one in waiting.items() if (why := one.result())}
        suites = []
        for state in self._states:
            why = reasons.get(state.suite, "")
            packages: tuple[SourcePackage, ...] = ()
            try:
                packages = state.packages()
            except AptFailed as exc:
                why = why or exc.reason
            if why:
                kept = " (using the index fetched earlier)" if packages else ""
                self._ui.step(f"distribution: {state.suite}: {why}{kept}")
            suites.append(Suite(state.suite, packages, why))
        return suites

    def download(self, package: SourcePackage, folder: Path) -> list[tuple[Path, str]]:
        """The orig tarballs of *package*, fetched into *folder*; see :meth:`_State.download`.

        :raise AptFailed: they cannot be fetched
        """
        state = next(x for x in self._states if x.suite == package.suite)
        return state.download(package, folder, self._ui)
