"""Review trailers that are kept from one version of the mails to the next, by change id."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from patchgen.engine.series import Series
from patchgen.errors import ReviewsError, StorageError
from patchgen.mails import key

KEYS = ("Reviewed-by", "Acked-by", "Tested-by")
_HEAD = """# What reviewers gave; written by `patchgen trailers`, read by `patchgen export`.
# A trailer belongs to a change id. `content` is that of the patch that was looked at: where the
# patch has become another one since, the trailer is not carried on.
"""


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One trailer.

    :ivar change: change id of the patch
    :ivar subject: of the patch, for the reader
    :ivar trailer: the whole line
    :ivar version: of the mails that it was given to
    :ivar content: first 12 digits of :attr:`patchgen.engine.series.Entry.content`, as it was then
    :ivar mail: Message-ID of the reply
    """

    change: str
    subject: str
    trailer: str
    version: int
    content: str
    mail: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two of them the same: patch, kind and address."""
        kind, _, who = self.trailer.partition(":")
        return self.change, kind.lower(), key(who.partition(" #")[0]) or who.strip()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    review: list[Review] = []


@dataclass(frozen=True)
class Carried:
    """Which of the kept trailers go on the next mails.

    :ivar trailers: change id -> lines, in the order in which they were given
    :ivar stale: of patches that have changed since
    """

    trailers: dict[str, tuple[str, ...]]
    stale: tuple[Review, ...]


def load_reviews(*files: Path) -> list[Review]:
    """What the files hold, none of it twice; a file that does not exist holds nothing.

    :raise ReviewsError: a file is malformed
    :raise StorageError: it cannot be read
    """
    found: dict[tuple[str, str, str], Review] = {}
    for path in dict.fromkeys(files):
        try:
            data = tomllib.loads(path.read_bytes().decode("utf-8"))
            reviews = msgspec.convert(data, _File).review
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise StorageError(
                f"{path} cannot be read: {exc.strerror}", "mend its permissions"
            ) from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as exc:
            raise ReviewsError(
                f"{path}: {exc}", "mend the file, or move it away and read the mails again"
            ) from exc
        for review in reviews:
            if not review.trailer.isprintable() or not review.trailer.startswith(KEYS):
                raise ReviewsError(f"{path}: {review.trailer!r} is no trailer", "mend the file")
            found[review.identity] = review
    return list(found.values())


def carried(series: Series, reviews: Iterable[Review]) -> Carried:
    """Sort the trailers of the patches of *series* by whether the patch is still the same."""
    contents = {entry.change_id: entry.content[:12] for entry in series.entries}
    trailers: dict[str, tuple[str, ...]] = {}
    stale = []
    for one in reviews:
        if one.change not in contents:
            continue
        if one.content == contents[one.change]:
            trailers[one.change] = (*trailers.get(one.change, ()), one.trailer)
        else:
            stale.append(one)
    return Carried(trailers, tuple(stale))


def save_reviews(path: Path, reviews: Sequence[Review]) -> None:
    """Write the file anew, in one step.

    :raise StorageError: it cannot be written
    """
    lines = [_HEAD]
    for one in reviews:
        lines.append("\n[[review]]\n")
        fields = msgspec.structs.asdict(one)
        lines += [f"{name} = {_toml(value)}\n" for name, value in fields.items()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".reviews-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write("".join(lines))
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise StorageError(
            f"{path} cannot be written: {exc.strerror}",
            "mend its permissions, or set PATCHGEN_REVIEWS to another file",
        ) from exc


def _toml(value: str | int) -> str:
    """A value that TOML reads as it is; its strings are those of JSON, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
