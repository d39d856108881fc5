"""The QEMU that a demonstration updates to: the same tree with the next version number."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from patchgen.build.subject import BuildSubject
from patchgen.errors import NotQemu
from patchgen.git.fastimport import FastImport, NewCommit
from patchgen.git.repo import Identity
from patchgen.git.scratch import publish_objects, scratch_repo

_AUTHOR = Identity("patchgen", "patchgen@localhost")


def next_version(version: str) -> str:
    """The version behind *version*, such as ``5.2.1`` behind ``5.2.0``.

    :raise NotQemu: it is no version of QEMU
    """
    parts = version.split(".")
    if len(parts) < 3 or not all(part.isdecimal() for part in parts):
        raise NotQemu(f"{version!r} is no version of QEMU", "give a tag of QEMU")
    return ".".join([*parts[:-1], str(int(parts[-1]) + 1)])


def successor(subject: BuildSubject) -> BuildSubject:
    """The same subject, but for its file VERSION, which a monitor's greeting tells.

    A ref of patchgen's own keeps its commit, and the same subject gives the same one.

    :raise GitFailed: the repository cannot be written
    """
    version = next_version(subject.version)
    ref = f"refs/patchgen/successor/{subject.tag}"
    date = int(subject.repo.line("log", "-1", "--format=%ct", subject.commit))
    change = NewCommit(
        f"Update version to {version}\n", date, {"VERSION": f"{version}\n".encode()}, {}
    )
    with scratch_repo(subject.repo) as scratch:
        with closing(FastImport(scratch, ref, subject.commit, _AUTHOR)) as importer:
            (commit,) = importer.add([change])
        publish_objects(scratch, subject.repo)
    subject.repo.git("update-ref", ref, commit)
    tree = subject.repo.line("rev-parse", f"{commit}^{{tree}}")
    return replace(subject, version=version, commit=commit, tree=tree)
