"""Replies in a mailbox: which patch each is about, and which trailers it gives."""

from __future__ import annotations

import mailbox
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from patchgen.engine.series import Entry, Series
from patchgen.errors import BadMailbox, StorageError
from patchgen.mails import OURS, key, split_address
from patchgen.reviews import KEYS, Review

_TRAILER = re.compile(rf"({'|'.join(KEYS)})\s*:\s*(.*)", re.IGNORECASE)
_ID = re.compile(r"<[^<>\s]+>")
_SUBJECT = re.compile(
    r"(?:\w+:\s*)+\[[^\]]*?PATCH(?:[^\]]*?\bv(?P<version>\d+))?[^\]]*?(?P<number>\d+)/\d+\]\s*(?P<subject>.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Ignored:
    """A trailer that was not taken.

    :ivar mail: Message-ID of the reply, or its subject
    """

    mail: str
    trailer: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What a mailbox gave.

    :ivar mails: how many there are in it
    :ivar replies: how many of them answer to mails of the series
    """

    mails: int
    replies: int
    reviews: tuple[Review, ...]
    ignored: tuple[Ignored, ...]


@dataclass(frozen=True)
class _Target:
    """The mail of the series that a reply is about.

    :ivar entry: the patch; ``None`` for the cover letter
    :ivar content: of the patch as it was sent; its first 12 digits
    """

    version: int
    entry: Entry | None
    content: str
    message_id: str


def read_replies(path: Path, series: Series, *, any_sender: bool) -> Found:
    """The trailers in the mailbox *path*.

    A reply to the cover letter is about the patches whose mails are in the mailbox as well. What is
    quoted, and what stands below a signature, does not count.

    :param any_sender: take trailers of others than who sent the reply
    :raise BadMailbox: it is no mailbox, or has no mail
    :raise StorageError: it cannot be read
    """
    mails = _read(path)
    return _Reader(mails, series, any_sender).read()


def _read(path: Path) -> list[EmailMessage]:
    if path.is_dir():
        raise BadMailbox(f"{path} is a directory", "give a file in mbox format")
    try:
        with path.open("rb") as file:
            if not file.readline().startswith(b"From "):
                raise BadMailbox(
                    f"{path} is no mailbox: it does not begin with 'From '",
                    "give a file in mbox format, as `b4 mbox` and mail programs save it",
                )
        raw = [box.as_bytes() for box in mailbox.mbox(path, create=False)]
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror}", "look at its name") from exc
    found = []
    for data in raw:
        parsed = message_from_bytes(data, policy=policy.default)
        if isinstance(parsed, EmailMessage):
            found.append(parsed)
    return found


def _header(mail: EmailMessage, name: str) -> str:
    """A header as text; what cannot be parsed counts as missing."""
    try:
        return " ".join(str(mail[name] or "").split())
    except (ValueError, IndexError, KeyError, AttributeError):
        return ""  # the parser stumbles over some malformed addresses


def _ids(mail: EmailMessage, name: str) -> list[str]:
    return _ID.findall(_header(mail, name))


def _text(mail: EmailMessage) -> str:
    """The text of a mail; empty if it has none."""
    try:
        part = mail.get_body(preferencelist=("plain",))
        content = part.get_content() if part is not None else ""
    except (LookupError, ValueError, AttributeError, TypeError):
        # An unknown encoding, or parts that are not as they say.
        payload = mail.get_payload(decode=True)
        content = payload.decode("latin-1") if isinstance(payload, bytes) else ""
    return content if isinstance(content, str) else ""


class _Reader:
    def __init__(self, mails: Iterable[EmailMessage], series: Series, any_sender: bool) -> None:
        self._mails = list(mails)
        self._any_sender = any_sender
        self._by_change = {entry.change_id[1:13]: entry for entry in series.entries}
        self._by_subject = {entry.patch.subject: entry for entry in series.entries}
        self._by_id = {one: mail for mail in self._mails for one in _ids(mail, "Message-ID")}
        self._sent = self._of_series()
        self._reviews: dict[tuple[str, str, str], Review] = {}
        self._ignored: list[Ignored] = []

    def _of_series(self) -> Mapping[str, list[_Target]]:
        """The patches whose mails are here, by the Message-ID of what they answer to."""
        sent: dict[str, list[_Target]] = {}
        for mail in self._mails:
            target = self._named(" ".join(_ids(mail, "Message-ID")))
            for parent in _ids(mail, "In-Reply-To"):
                if target is not None:
                    sent.setdefault(parent, []).append(target)
        return sent

    def read(self) -> Found:
        replies = 0
        for mail in self._mails:
            if self._named(_header(mail, "Message-ID")) is not None:
                continue  # one of ours
            target = self._target(mail)
            replies += target is not None
            for trailer in self._trailers(mail):
                self._take(mail, target, trailer)
        return Found(len(self._mails), replies, tuple(self._reviews.values()), tuple(self._ignored))

    def _named(self, ids: str) -> _Target | None:
        """What one of the Message-IDs says by itself."""
        found = OURS.search(ids)
        if found is None:
            return None
        if found["change"] == "cover":
            return _Target(int(found["version"]), None, "", found[0])
        entry = self._by_change.get(found["change"])
        if entry is None:
            return None
        return _Target(int(found["version"]), entry, found["content"], found[0])

    def _target(self, mail: EmailMessage) -> _Target | None:
        """The mail of the series that this one answers to, be it through others."""
        seen: set[str] = set()
        at: EmailMessage | None = mail
        while at is not None:
            parents = _ids(at, "In-Reply-To")
            for one in (*parents, *reversed(_ids(at, "References"))):
                target = self._named(one)
                if target is not None:
                    return target
            known = [one for one in parents if one in self._by_id and one not in seen]
            seen.update(known)
            at = self._by_id[known[0]] if known else None
        return self._by_its_subject(mail)

    def _by_its_subject(self, mail: EmailMessage) -> _Target | None:
        """Where a list or a mail program made Message-IDs of its own, the subject must do."""
        found = _SUBJECT.fullmatch(_header(mail, "Subject"))
        entry = self._by_subject.get(found["subject"].strip()) if found else None
        if found is None or entry is None:
            return None
        return _Target(int(found["version"] or 1), entry, entry.content[:12], "")

    def _trailers(self, mail: EmailMessage) -> list[str]:
        """The lines that are trailers, as they stand there."""
        lines = []
        for line in _text(mail).splitlines():
            if line.rstrip("\r") == "-- ":
                break
            if _TRAILER.fullmatch(line.strip()) and not line.startswith((">", "|", "+", "-")):
                lines.append(line.strip())
        return lines

    def _take(self, mail: EmailMessage, target: _Target | None, line: str) -> None:
        where = _header(mail, "Message-ID") or _header(mail, "Subject")
        reason = ""
        found = _TRAILER.fullmatch(line)
        assert found is not None
        who, hash_, note = (part.strip() for part in found[2].partition(" #"))
        sender = key(_header(mail, "From"))
        if (
            not line.isprintable()
            or len(line) > 200
            or split_address(who) is None
            or "<" not in who
        ):
            reason = "it is not of the form Name <address>"
        elif target is None:
            reason = "the mail does not answer to one of the series"
        elif key(who) != sender and not self._any_sender:
            reason = f"the mail is from {sender or 'nobody'}; --any-sender takes it"
        targets = [target] if target is not None else []
        if not reason and target is not None and target.entry is None:
            targets = self._sent.get(target.message_id, [])
            if not targets:
                reason = "it is for the whole series, whose mails are not in this mailbox"
        if reason:
            self._ignored.append(Ignored(where, line, reason))
            return
        kind = next(one for one in KEYS if one.lower() == found[1].lower())
        trailer = f"{kind}: {who}" + (f" # {note}" if hash_ and note else "")
        for one in targets:
            if one.entry is not None:
                subject = one.entry.patch.subject
                review = Review(
                    one.entry.change_id, subject, trailer, one.version, one.content, where
                )
                before = self._reviews.get(review.identity)
                if before is None or before.version <= review.version:
                    self._reviews[review.identity] = review
