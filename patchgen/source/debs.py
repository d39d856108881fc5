"""Binary packages of the distribution, through apt with a state of its own.

As for source packages (:mod:`patchgen.source.apt`), the host's apt chooses the mirror, follows
the proxy and verifies; nothing is installed, no root is needed, the host's apt does not change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patchgen.source.apt import AptFailed, Mirror, host_mirrors, run_apt, write_state
from patchgen.ui import Ui

SUITES = ("bookworm", "trixie", "sid")
"""Where packages are looked for, in this order; older ones leave the mirrors one day."""


@dataclass(frozen=True)
class Packages:
    """The packages of one suite.

    :ivar top: directory of apt's state
    """

    top: Path
    suite: str
    architecture: str

    @property
    def _apt(self) -> tuple[str, ...]:
        return "-c", str(self.top / "apt.conf")

    def update(self, mirror: Mirror) -> None:
        """Fetch the suite's index from *mirror*.

        :raise AptFailed: it has none, or it cannot be verified
        :raise OSError: the state cannot be written
        """
        # The packages are the guest's, whatever the host is.
        settings = [
            f'APT::Architecture "{self.architecture}";',
            "#clear APT::Architectures;",
            f'APT::Architectures {{ "{self.architecture}"; }};',
        ]
        write_state(self.top, "deb", self.suite, mirror, settings)
        run_apt(["apt-get", *self._apt, "-q", "update"])

    def dependency(self, package: str, pattern: str) -> str:
        """The one package on which *package* depends and whose name is *pattern*.

        :raise AptFailed: there is none
        """
        said = run_apt(["apt-cache", *self._apt, "show", "--no-all-versions", package])
        depends = re.search(r"^Depends: (.*)$", said, re.MULTILINE)
        for one in re.split(r"[,|]", depends[1] if depends else ""):
            name = one.split()[0] if one.split() else ""
            if re.fullmatch(pattern, name):
                return name
        raise AptFailed(f"{package} of {self.suite} depends on no {pattern}")

    def download(self, names: Sequence[str], folder: Path, ui: Ui) -> list[Path]:
        """Fetch and verify packages; their files in *folder*.

        :raise AptFailed: they cannot be had
        """
        with ui.progress(f"fetching {', '.join(names)}", 100.0) as meter:
            words = ["apt-get", *self._apt, "-qq", "-o", "APT::Status-Fd=1", "download", *names]
            run_apt(words, status=meter, cwd=folder)
        found = sorted(folder.glob("*.deb"))
        if len(found) != len(names):
            raise AptFailed(f"{self.suite} gave {len(found)} packages for {len(names)} names")
        return found


def packages_of_any_suite(root: Path, architecture: str, ui: Ui) -> Packages:
    """The packages of the first suite that a mirror of the host's apt has, index fetched.

    :param root: directory of the states, one below it for each suite
    :raise AptFailed: apt is missing, or no mirror has any of the suites
    :raise OSError: the state cannot be written
    """
    first: AptFailed | None = None
    mirrors = host_mirrors()
    for suite in SUITES:
        ui.step(f"distribution: fetching the index of packages of {suite}")
        packages = Packages(root / f"{suite}-{architecture}", suite, architecture)
        for mirror in sorted(mirrors, key=lambda one: suite not in one.suites):
            try:
                packages.update(mirror)
                return packages
            except AptFailed as exc:
                first = first or exc
    raise first or AptFailed("no mirror")
