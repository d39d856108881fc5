"""The mails of the series as bytes: git writes them, patchgen adds what git would make up.

Message-IDs are made from what a mail says, so the same mail has the same one wherever it is
written, and from the patch's change id, so a reply tells by itself which patch it is about.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formataddr
from pathlib import Path

from patchgen import __version__
from patchgen.branch import BranchRecord
from patchgen.engine.series import Series
from patchgen.errors import NothingToExport, OutputError
from patchgen.git.repo import Identity, Repo
from patchgen.source.resolve import Base

_REF = "refs/heads/series"
SIGNATURE = f"patchgen {__version__}"
_END = f"-- \n{SIGNATURE}\n".encode()
OURS = re.compile(
    r"<patchgen-v(?P<version>\d+)-(?P<number>\d\d)-(?P<change>[0-9a-f]{12}|cover)-"
    r"(?P<content>[0-9a-f]{12})-[0-9a-f]{12}@[^>\s]+>"
)
"""A Message-ID of ours: version, patch, change id and content of the patch, content of the mail."""


@dataclass(frozen=True)
class Mail:
    """One mail.

    :ivar number: of the patch in the series, 0 for the cover letter
    :ivar name: of its file
    :ivar content: all of it; the first line is that of an mbox
    :ivar cc: who is to get a copy, as ``Name <address>``
    """

    number: int
    name: str
    content: bytes = field(repr=False)
    cc: tuple[str, ...] = ()

    @property
    def head(self) -> bytes:
        """The headers, with the line end of the last."""
        return self.content[: self.content.index(b"\n\n") + 1]

    @property
    def body(self) -> bytes:
        """What follows the empty line, without the signature."""
        body = self.content[self.content.index(b"\n\n") + 2 :]
        return body[: body.rindex(b"-- \n")] if b"-- \n" in body else body

    @property
    def message_id(self) -> str:
        """Its Message-ID with the angle brackets; empty if it has none."""
        found = re.search(rb"^Message-ID: (<.*>)$", self.head, re.MULTILINE | re.IGNORECASE)
        return found[1].decode("ascii") if found else ""


@dataclass(frozen=True)
class Letter:
    """What is written on all mails.

    :ivar version: of the series on the list, from 1
    :ivar cover: subject, empty line, text of the cover letter; empty for none
    :ivar to, cc: addresses as ``Name <address>``
    """

    version: int
    cover: str
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What the names of its files begin with, as git has it: nothing for version 1."""
        return f"v{self.version}-" if self.version > 1 else ""

    @property
    def mbox(self) -> str:
        """Name of the file that holds all mails."""
        return f"{self.prefix}series.mbox"


def write_letter(base: Base, record: BranchRecord, scratch: Repo, letter: Letter) -> list[Mail]:
    """The mails of *record*'s commits as git writes them, without ids and addresses.

    The same commits and cover letter give the same bytes: nothing of the user's git configuration
    is asked but the identity.

    :param scratch: a scratch repository of *base*'s
    :raise NothingToExport: there is no commit
    :raise OutputError: git could not write
    """
    if record.head == record.base:
        raise NothingToExport(
            f"{record.tag} has all that these patches bring: there is no mail to write",
            "give another tag",
        )
    scratch.git("update-ref", _REF, record.head)
    author = base.repo.identity()
    sealed = Repo(scratch.git_dir, {**scratch.env, **sealed_environment(author, base.date)})
    # A bare repository has no attributes of the tree; the user's own stay out as well.
    settings = {
        "core.attributesFile": os.devnull,
        f"branch.{_REF.removeprefix('refs/heads/')}.description": letter.cover,
    }
    words = ["--quiet", "--cover-from-description=subject", f"--from={author}"]
    words.append("--cover-letter" if letter.cover else "--no-cover-letter")
    words += [f"--reroll-count={letter.version}"] if letter.version > 1 else []
    with tempfile.TemporaryDirectory(prefix="patchgen-mails-") as place:
        done = sealed.git(
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            *("format-patch", *words),
            # Abbreviated ids would depend on what else the repository holds.
            *("--full-index", f"--signature={SIGNATURE}", "-o", place, f"{record.base}..{_REF}"),
            check=False,
        )
        if done.returncode != 0:
            # Of all that git could fail at here, writing is what is outside of our hands.
            said = done.stderr.decode("utf-8", "replace").strip()
            why = said.partition("\n")[0] or f"exit code {done.returncode}"
            raise OutputError(
                f"{tempfile.gettempdir()} cannot be written: git format-patch: {why}",
                "make room there, or set TMPDIR to another directory",
                said,
            )
        paths = sorted(Path(place).iterdir())
        numbers = [0] if letter.cover else []
        numbers += [patch.number for patch in record.patches if patch.commit]
        return [
            Mail(number, path.name, path.read_bytes())
            for number, path in zip(numbers, paths, strict=True)
        ]


def sealed_environment(author: Identity, date: int) -> Mapping[str, str]:
    """What makes git's output depend on nothing but the commits; the cover letter is dated."""
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in {
            "NAME": author.name,
            "EMAIL": author.email,
            "DATE": f"{date} +0000",
        }.items()
    }
    sealed = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "0",
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_DIFF_OPTS": "",
    }
    return {**sealed, **who}


def add_at_end(mail: Mail, text: str) -> Mail:
    """The mail with *text* before its signature, where git puts base-commit."""
    at = mail.content.rindex(_END)
    return replace(mail, content=mail.content[:at] + f"{text}\n".encode() + mail.content[at:])


def addressed(
    mails: Sequence[Mail], letter: Letter, series: Series, sender: Identity
) -> list[Mail]:
    """The mails with To, Cc, Message-ID and, below the first, In-Reply-To and References."""
    contents = {entry.number: entry for entry in series.entries}
    domain = sender.email.rpartition("@")[2]
    if not re.fullmatch(r"[A-Za-z0-9.-]+", domain):
        domain = "localhost"
    first = ""
    done = []
    for mail in mails:
        if mail.number:
            entry = contents[mail.number]
            what = f"{entry.change_id[1:13]}-{entry.content[:12]}"
        else:
            what = f"cover-{series.digest[:12]}"
        digest = hashlib.sha256(mail.content).hexdigest()[:12]
        name = f"<patchgen-v{letter.version}-{mail.number:02}-{what}-{digest}@{domain}>"
        head = _addresses("To", letter.to)
        reached = {key(one) for one in letter.to}
        copies = [one for one in (*letter.cc, *mail.cc) if key(one) not in reached]
        head += _addresses("Cc", tuple({key(one): one for one in copies}.values()))
        head += f"Message-ID: {name}\n"
        if first:
            head += f"In-Reply-To: {first}\nReferences: {first}\n"
        first = first or name
        head += _mime(mail)
        at = mail.content.index(b"\n\n") + 1
        done.append(
            replace(mail, content=mail.content[:at] + head.encode("ascii") + mail.content[at:])
        )
    return done


def _mime(mail: Mail) -> str:
    """What git leaves out where only the diff is not ASCII; `git send-email` would ask for it."""
    if mail.content.isascii() or b"\nContent-Transfer-Encoding: " in mail.head:
        return ""
    try:
        mail.content.decode("utf-8")
    except UnicodeDecodeError:
        return ""  # no encoding is true of it
    return (
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        "Content-Transfer-Encoding: 8bit\n"
    )


_ADDRESS = re.compile(r"(?:(?P<name>[^<>]*)<)?(?P<address>[^\s<>,\"]+@[^\s<>,\"@]+)>?")


def split_address(one: str) -> tuple[str, str] | None:
    """Name (may be empty) and address of ``Name <address>`` or ``address``; ``None`` for others."""
    found = _ADDRESS.fullmatch(one.strip())
    if found is None or ("<" in one) != (">" in one) or not one.isprintable():
        return None
    return (found["name"] or "").strip().strip('"'), found["address"]


def key(one: str) -> str:
    """What two spellings of one address have in common."""
    found = split_address(one)
    return found[1].lower() if found else ""


def _addresses(header: str, them: Sequence[str]) -> str:
    """The header, one address a line; names that are not ASCII are encoded."""
    shown = [formataddr(found, "utf-8") for one in them if (found := split_address(one))]
    return f"{header}: " + ",\n ".join(shown) + "\n" if shown else ""
