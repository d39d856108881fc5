"""apt with a private state, against a mirror in a directory; skipped where there is no apt."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from patchgen.config import load_config
from patchgen.errors import SourceUnavailable, UnknownTag
from patchgen.source import apt
from patchgen.source.resolve import Base, resolve
from tests.unit.source_help import Steps, seal, write_tar

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt-get is not installed")


def _sums(path: Path, name: str) -> str:
    data = path.read_bytes()
    return f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}"


class Mirror:
    """An unsigned archive in a directory, and a host whose apt trusts it."""

    def __init__(self, top: Path) -> None:
        self.top = top / "mirror"
        self.pool = self.top / "pool/main/q/qemu"
        self.pool.mkdir(parents=True)
        self.etc = top / "etc"
        for name in ("sources.list.d", "apt.conf.d", "preferences.d", "trusted.gpg.d"):
            (self.etc / name).mkdir(parents=True)

    def package(self, version: str, upstream: str) -> str:
        """Put a source package into the pool; its stanza of Sources."""
        dsc = self.pool / f"qemu_{version}.dsc"
        dsc.write_text(f"Source: qemu\nVersion: {version}\n")
        debian = self.pool / f"qemu_{version}.debian.tar.xz"
        debian.write_bytes(b"debian")
        orig = self.pool / f"qemu_{upstream}.orig.tar.xz"
        if not orig.exists():
            write_tar(orig)
        files = "\n".join(_sums(x, x.name) for x in (dsc, orig, debian))
        return (
            f"Package: qemu\nFormat: 3.0 (quilt)\nBinary: qemu\nArchitecture: any\n"
            f"Version: 1:{version}\nDirectory: pool/main/q/qemu\nChecksums-Sha256:\n{files}\n\n"
        )

    def suite(self, name: str, *stanzas: str) -> None:
        """Publish a suite."""
        sources = self.top / f"dists/{name}/main/source/Sources"
        sources.parent.mkdir(parents=True)
        sources.write_text("".join(stanzas))
        (self.top / f"dists/{name}/Release").write_text(
            f"Origin: Debian\nSuite: {name}\nCodename: {name}\nComponents: main\n"
            f"Architectures: amd64\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
            f"SHA256:\n{_sums(sources, 'main/source/Sources')}\n"
        )

    def host(self, monkeypatch: pytest.MonkeyPatch, entry: str, *, deb822: bool) -> None:
        """Make the host's apt be one with this source *entry* alone."""
        name = "host.sources" if deb822 else "host.list"
        (self.etc / "sources.list.d" / name).write_text(entry)
        conf = self.etc / "host.conf"
        conf.write_text(
            f'Dir::Etc "{self.etc}";\nDir::State "{self.etc}/state";\n'
            # What a host does after its updates must not run for ours.
            f'APT::Update::Post-Invoke {{ "touch {self.etc}/hook-ran"; }};\n'
        )
        monkeypatch.setenv("APT_CONFIG", str(conf))


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mirror:
    seal(monkeypatch, tmp_path)
    return Mirror(tmp_path)


def fetch(tag: str, ui: Steps | None = None) -> Base:
    return resolve(tag, repo=None, source="distro", config=load_config(), ui=ui or Steps())


@needs_apt
@pytest.mark.parametrize("deb822", [True, False])
def test_release_from_a_suite_that_the_host_does_not_use(
    deb822: bool, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.suite("bookworm")
    mirror.suite("bullseye", mirror.package("5.2+dfsg-11", "5.2+dfsg"))
    # An entry older than the candidate counts as well.
    newer = mirror.package("10.2.2+ds-1", "10.2.2+ds"), mirror.package("11.0.0+ds-1", "11.0.0+ds")
    mirror.suite("sid", *newer)
    uri = f"file:{mirror.top}"
    entry = (
        f"# mine\n\nTypes: deb\nURIs: {uri}\nSuites: bookworm\nComponents: main\nTrusted: yes\n"
        if deb822
        else f"# mine\ndeb [arch=amd64 trusted=yes] {uri}/ bookworm main\n"
    )
    mirror.host(monkeypatch, entry, deb822=deb822)
    assert apt.host_mirrors()[0].trust == ("trusted: yes",)
    ui = Steps()
    base = fetch("v5.2.0", ui)
    assert (base.version, base.date, base.place) == (
        *("5.2.0", 1607442919, "bullseye qemu 1:5.2+dfsg-11"),
    )
    # A suite that is not there is told, and stops nothing.
    assert any(x.startswith("distribution: trixie: ") for x in ui.said)
    assert not (mirror.etc / "hook-ran").exists()
    assert not (mirror.etc / "state").exists()
    cache = base.repo.git_dir.parent
    assert not list(cache.rglob("*.orig.tar.*"))
    shop = apt.Distribution(cache / "apt", Steps())
    tags = [x.tag for suite in shop.suites() for x in suite.packages]
    assert tags == ["v5.2.0", "v10.2.2", "v11.0.0"]
    with pytest.raises(SourceUnavailable, match=r"has v5\.2\.0, v10\.2\.2, v11\.0\.0, not v6"):
        fetch("v6.0.0")


@needs_apt
def test_apt_verifies(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.suite("bullseye", mirror.package("5.2+dfsg-11", "5.2+dfsg"))
    orig = mirror.pool / "qemu_5.2+dfsg.orig.tar.xz"
    data = bytearray(orig.read_bytes())
    data[100] ^= 1
    orig.write_bytes(data)
    entry = f"deb [trusted=yes] file:{mirror.top} bullseye main\n"
    mirror.host(monkeypatch, entry, deb822=False)
    with pytest.raises(SourceUnavailable) as caught:
        fetch("v5.2.0")
    assert "bullseye qemu 1:5.2+dfsg-11: " in caught.value.message
    assert "\n" not in caught.value.message


@needs_apt
def test_unsigned_mirror_is_refused_unless_the_host_trusts_it(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.suite("bullseye", mirror.package("5.2+dfsg-11", "5.2+dfsg"))
    mirror.host(monkeypatch, f"deb file:{mirror.top} bullseye main\n", deb822=False)
    with pytest.raises(SourceUnavailable, match="not signed"):
        fetch("v5.2.0")


@needs_apt
def test_host_without_an_archive_of_debian(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.host(monkeypatch, "deb http://127.0.0.1:1/other noble main\n", deb822=False)
    with pytest.raises(SourceUnavailable, match="no archive of Debian"):
        fetch("v5.2.0")


@needs_apt
def test_new_version_is_seen_when_it_is_asked_for(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in apt.SUITES:
        mirror.suite(name, mirror.package("7.2+dfsg-1", "7.2+dfsg"))
    # copy: and not file:, whose indexes apt reads in place.
    entry = f"deb [trusted=yes] copy:{mirror.top} bookworm main\n"
    mirror.host(monkeypatch, entry, deb822=False)
    with pytest.raises(UnknownTag):
        fetch("v5.2.0")
    shutil.rmtree(mirror.top / "dists/bullseye")
    mirror.suite("bullseye", mirror.package("5.2+dfsg-11", "5.2+dfsg"))
    # Within minutes of an update the index is believed, later it is asked for again.
    with pytest.raises(UnknownTag):
        fetch("v5.2.0")
    monkeypatch.setattr(apt, "_RECENT", -1.0)
    assert fetch("v5.2.0").version == "5.2.0"
    # Offline, what was fetched is still offered.
    shutil.rmtree(mirror.top / "dists")
    monkeypatch.setattr(apt, "MAX_AGE", -1.0)
    shop = apt.Distribution(load_cache(), Steps())
    assert {x.tag for suite in shop.suites() for x in suite.packages} == {"v5.2.0", "v7.2.0"}


def load_cache() -> Path:
    from patchgen.paths import cache_dir

    return cache_dir() / "apt"


def test_entries_of_both_formats() -> None:
    deb822 = (
        "# c\nTypes: deb\nURIs: http://a.invalid/debian http://b.invalid/d/\nSuites: x\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\nCheck-Date: no\n"
        "\n# second\nTypes: deb-src\nURIs: http://c.invalid\n"
    )
    first, second = apt._entries(deb822, deb822=True)
    assert first[0] == ["http://a.invalid/debian", "http://b.invalid/d/"]
    assert first[1]["signed-by"] == "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"
    assert first[1]["check-date"] == "no"
    assert second[0] == ["http://c.invalid"]
    lines = "# deb http://no.invalid x main\n deb [ trusted=yes arch=a ] http://a.invalid x main\n"
    assert apt._entries(lines, deb822=False) == [
        (["http://a.invalid"], {"trusted": "yes", "arch": "a"})
    ]
