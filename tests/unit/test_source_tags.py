"""Versions and tags, and what qemu-ref knows."""

from __future__ import annotations

import re

import pytest

from patchgen.source.tags import (
    file_version,
    known_commit,
    known_tags,
    release_key,
    tag_of,
    upstream_version,
)


@pytest.mark.parametrize(
    ("package", "upstream", "tag"),
    [
        ("1:5.2+dfsg-11+deb11u3", "5.2+dfsg", "v5.2.0"),
        ("1:7.2+dfsg-7+deb12u18", "7.2+dfsg", "v7.2.0"),
        ("1:10.0.13+ds-0+deb13u1", "10.0.13+ds", "v10.0.13"),
        ("1:10.2.2+ds-1", "10.2.2+ds", "v10.2.2"),
        ("1:8.2.0+ds-1", "8.2.0+ds", "v8.2.0"),
        ("1:9.1.0+ds2-1", "9.1.0+ds2", "v9.1.0"),
        ("1:11.0.0~rc2+ds-1", "11.0.0~rc2+ds", "v11.0.0-rc2"),
        ("4.2-1", "4.2", "v4.2.0"),
    ],
)
def test_package_version_to_tag(package: str, upstream: str, tag: str) -> None:
    assert upstream_version(package) == upstream
    assert tag_of(upstream) == tag


@pytest.mark.parametrize("version", ["", "5", "20240101", "5.2+git1", "1.2.3.4", "5.2-evil"])
def test_other_versions_are_no_release(version: str) -> None:
    assert tag_of(version) is None


def test_order_and_file_version() -> None:
    tags = ["v10.0.0", "v5.2.0", "v5.2.0-rc4", "v10.0.0-rc0", "v9.2.0"]
    assert sorted(tags, key=lambda x: release_key(x) or (0, 0, 0, 0)) == [
        *("v5.2.0-rc4", "v5.2.0", "v9.2.0", "v10.0.0-rc0", "v10.0.0"),
    ]
    assert release_key("master") is None
    assert file_version("v5.2.0") == "5.2.0"
    assert file_version("v5.2.0-rc1") is None


def test_qemu_ref_is_complete() -> None:
    known = known_tags()
    commits = [x.commit for x in known.values() if x.commit]
    assert len(commits) == len(set(commits)) == 21
    assert all(re.fullmatch("[0-9a-f]{40}", x) for x in commits)
    assert all(release_key(x) for x in known)
    # 2019-12-12 16:45:57 UTC and 2025-12-23 03:44:07 UTC: committer dates, not those of the tags.
    assert known["v4.2.0"].date == 1576169157
    assert known["v10.2.0"].date == 1766461447
    assert known_commit(known["v5.2.0"].commit) == known["v5.2.0"]
    assert known_commit("0" * 40) is None
