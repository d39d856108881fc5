from __future__ import annotations

from pathlib import Path

import pytest

from patchgen.build.eras import Era, load_eras
from patchgen.build.features import (
    active,
    blame_packages,
    check_summary,
    configure_flags,
    packages_of,
    summary_value,
)
from patchgen.build.treefiles import TreeFiles
from patchgen.errors import FeatureMissing
from tests.unit.build_helpers import MAKE_SUMMARY, MESON_SUMMARY, Work, make_tree, meson_tree, seal

ERAS = {era.name: era for era in load_eras()}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TreeFiles:
    seal(tmp_path, monkeypatch)
    work = Work(tmp_path / "qemu")
    return TreeFiles(work.repo, work.commit(make_tree()))


@pytest.mark.parametrize(
    ("era", "summary"), [(ERAS["make"], MAKE_SUMMARY), (ERAS["meson-0.59"], MESON_SUMMARY)]
)
def test_a_complete_summary_passes(era: Era, summary: str, old: TreeFiles) -> None:
    said = check_summary(era, active("full", old), summary)
    assert {"kvm", "tcg", "vnc", "gnutls", "sasl", "slirp", "vhost"} <= set(said)
    assert said["slirp"] == "system"


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("seccomp support", "libseccomp-dev"),
        ("VNC SASL support", "libsasl2-dev"),
        ("GNUTLS support", "libgnutls28-dev"),
        ("Linux AIO support", "libaio-dev"),
        ("NUMA host support", "libnuma-dev"),
        ("curses support", "libncurses-dev"),
    ],
)
@pytest.mark.parametrize("how", ["no", "missing"])
@pytest.mark.parametrize("era", ["make", "meson-0.59"])
def test_a_lacking_feature_names_its_package(
    name: str, package: str, how: str, era: str, old: TreeFiles
) -> None:
    text = MAKE_SUMMARY if era == "make" else MESON_SUMMARY
    lines = []
    for line in text.splitlines():
        if name not in line:
            lines.append(line)
        elif how == "no":
            lines.append(line.replace("yes", "no").replace("YES", "NO"))
    with pytest.raises(FeatureMissing) as failed:
        check_summary(ERAS[era], active("full", old), "\n".join(lines))
    assert package in failed.value.fix
    assert name in failed.value.detail
    assert failed.value.exit_code == 4


def test_a_value_that_starts_like_no_is_not_no(old: TreeFiles) -> None:
    text = MESON_SUMMARY.replace("slirp support: system", "slirp support: northern 4.7")
    assert check_summary(ERAS["meson-0.59"], active("full", old), text)["slirp"] == "northern 4.7"


def test_a_name_is_matched_whole() -> None:
    summary = "VNC SASL support  yes\nVNC support       no\n"
    assert summary_value(ERAS["make"], summary, "VNC support") == "no"
    assert summary_value(ERAS["make"], summary, "SASL support") is None


def test_only_flags_that_configure_knows(old: TreeFiles) -> None:
    flags = configure_flags(ERAS["make"], "full", old, blobs=True)
    assert flags[0] == "--target-list=x86_64-softmmu"
    assert "--enable-slirp=system" in flags
    assert "--disable-gtk" in flags
    assert "--audio-drv-list=" in flags
    assert "--disable-sdl" not in flags
    assert "--disable-blobs" not in flags
    assert "--disable-blobs" in configure_flags(ERAS["make"], "full", old, blobs=False)


def test_libfdt_only_where_the_target_insists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(tmp_path, monkeypatch)
    work = Work(tmp_path / "qemu")
    files = TreeFiles(work.repo, work.commit(meson_tree()))
    assert "--disable-fdt" in configure_flags(ERAS["meson-0.59"], "minimal", files, blobs=True)
    needs = {"configs/targets/x86_64-softmmu.mak": "TARGET_NEED_FDT=y\n"}
    files = TreeFiles(work.repo, work.commit(needs))
    flags = configure_flags(ERAS["meson-0.59"], "minimal", files, blobs=True)
    assert "--enable-fdt" in flags and "--disable-fdt" not in flags


@pytest.mark.parametrize(
    ("output", "package"),
    [
        ("ERROR: User requested feature numa\n       configure was not able", "libnuma-dev"),
        ('../meson.build:93:2: ERROR: Dependency "libseccomp" not found', "libseccomp-dev"),
        ("ERROR: glib-2.48 gthread-2.0 is required to compile QEMU", "libglib2.0-dev"),
        ("ERROR: pixman >= 0.21.8 not present.", "libpixman-1-dev"),
        ("../meson.build:1:0: ERROR: C shared or static library 'aio' not found", "libaio-dev"),
    ],
)
def test_configures_complaint_names_the_package(output: str, package: str, old: TreeFiles) -> None:
    assert blame_packages(active("full", old), output) == (package,)


def test_an_unknown_complaint_names_none(old: TreeFiles) -> None:
    assert blame_packages(active("full", old), "checking numa... no\nERROR: unknown option") == ()


def test_packages() -> None:
    full, minimal = packages_of("full"), packages_of("minimal")
    assert {"libsasl2-dev", "libgnutls28-dev", "ccache", "gcc"} <= set(full)
    assert len(set(full)) == len(full)
    assert "libsasl2-dev" not in minimal and "libglib2.0-dev" in minimal
