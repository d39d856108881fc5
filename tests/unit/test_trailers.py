"""Review trailers: what replies give, where it is kept, and which mails have it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
import pytest

from patchgen import paths
from patchgen.cli import run
from patchgen.engine.series import load_default_series
from patchgen.reviews import Review, carried, load_reviews, save_reviews
from tests.fakeqemu import ERAS, fake_tree
from tests.minirepo import git, make_repo
from tests.unit.test_cli import checked
from tests.unit.test_export import refused
from tests.unit.test_export_mails import export, mails

ERA = ERAS["meson"]
SERIES = load_default_series()
COUNT = len(SERIES.entries)
ANN = "Ann Other <ann@example.com>"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repo(tmp_path / "qemu", fake_tree(ERA), ERA.tag)


@pytest.fixture
def sent(repo: Path, tmp_path: Path) -> list[Any]:
    """The mails of a first version."""
    assert export(repo, tmp_path / "v1") == 0
    return mails(tmp_path / "v1")


def reply(to: Any, text: str, sender: str = ANN, **headers: str) -> EmailMessage:
    """An answer to one of the mails."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["Subject"] = f"Re: {to['Subject']}"
    mail["Message-ID"] = f"<{abs(hash((text, sender, to['Message-ID'])))}@example.com>"
    if to["Message-ID"]:
        mail["In-Reply-To"] = to["Message-ID"]
        mail["References"] = to["Message-ID"]
    for name, value in headers.items():
        del mail[name.replace("_", "-")]
        if value:
            mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail


@pytest.fixture
def read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Read mails with `patchgen trailers`; the result."""

    def _read(*them: Any, more: tuple[str, ...] = ()) -> dict[str, Any]:
        box = tmp_path / "replies.mbox"
        text = b"".join(b"From x Mon Sep 17 00:00:00 2001\n" + bytes(one) + b"\n" for one in them)
        box.write_bytes(text)
        capsys.readouterr()
        assert run(["trailers", str(box), "--json", *more]) == 0
        result = checked("trailers", capsys.readouterr().out)["result"]
        assert isinstance(result, dict)
        return result

    return _read


def taken(result: dict[str, Any]) -> list[tuple[int, str]]:
    return [(one["number"], one["trailer"]) for one in result["trailers"]]


def test_a_review_goes_with_the_next_version(
    sent: list[Any], read: Any, repo: Path, tmp_path: Path
) -> None:
    result = read(
        reply(sent[2], f"> Reviewed-by: Quoted <q@example.com>\nFine.\n\nReviewed-by: {ANN}\n"),
        reply(sent[3], f"acked-by:  {ANN} # the QAPI part\n-- \nTested-by: {ANN}\n"),
    )
    assert taken(result) == [
        (2, f"Reviewed-by: {ANN}"),
        (3, f"Acked-by: {ANN} # the QAPI part"),
    ]
    assert (result["mails"], result["replies"], result["written"]) == (2, 2, True)
    out = tmp_path / "v2"
    assert export(repo, out, "-v2", "--signoff", off="checkpatch,maintainers,compile") == 0
    second = mails(out, "v2-")
    me = "Signed-off-by: Test User <test@example.org>"
    assert f"\nPatchgen: 02-handler-mode-mask\nReviewed-by: {ANN}\n{me}\n---\n" in (
        second[2].get_content()
    )
    assert "Reviewed-by" not in "".join(mail.get_content() for mail in (*second[:2], *second[3:]))
    # On any other tag it is the same patch.
    other = ERAS["make-rst"]
    place = make_repo(tmp_path / "other", fake_tree(other), other.tag)
    assert export(place, tmp_path / "o", tag=other.tag) == 0
    assert f"\nReviewed-by: {ANN}\n" in mails(tmp_path / "o")[2].get_content()


def test_reading_again_changes_nothing(sent: list[Any], read: Any) -> None:
    answer = reply(sent[1], f"Reviewed-by: {ANN}\n")
    first = read(answer)
    before = Path(first["file"]).read_bytes()
    again = read(answer, answer)
    assert again["written"] is False and [one["state"] for one in again["trailers"]] == ["kept"]
    assert Path(first["file"]).read_bytes() == before
    # The address makes it the same, however the name is written.
    assert len(read(reply(sent[1], "Reviewed-by: A. Other <ANN@example.com>\n"))["trailers"]) == 1


def test_dry_run_keeps_nothing(sent: list[Any], read: Any) -> None:
    result = read(reply(sent[1], f"Reviewed-by: {ANN}\n"), more=("--dry-run",))
    assert [one["state"] for one in result["trailers"]] == ["new"]
    assert not result["written"] and not Path(result["file"]).exists()


def test_a_reply_to_the_cover_letter(sent: list[Any], read: Any) -> None:
    answer = reply(sent[0], f"For all:\n\nTested-by: {ANN}\n")
    (ignored,) = read(answer)["ignored"]
    assert "not in this mailbox" in ignored["reason"]
    assert taken(read(answer, *sent[:3])) == [(1, f"Tested-by: {ANN}"), (2, f"Tested-by: {ANN}")]


def test_a_reply_to_a_reply(sent: list[Any], read: Any) -> None:
    first = reply(sent[4], "What about this?\n", "Bob <bob@example.com>")
    second = reply(first, f"Right. Reviewed-by: no\nReviewed-by: {ANN}\n")
    assert taken(read(first, second)) == [(4, f"Reviewed-by: {ANN}")]


def test_a_mail_program_without_references(sent: list[Any], read: Any) -> None:
    lost = {"In_Reply_To": "", "References": ""}
    assert taken(read(reply(sent[2], f"Acked-by: {ANN}\n", **lost))) == [(2, f"Acked-by: {ANN}")]
    other = reply(sent[2], f"Acked-by: {ANN}\n", **lost, Subject="Re: something else")
    (ignored,) = read(other)["ignored"]
    assert "does not answer" in ignored["reason"]


@pytest.mark.parametrize(
    ("line", "sender", "why"),
    [
        ("Reviewed-by: Ann Other", ANN, "not of the form"),
        ("Reviewed-by: <>", ANN, "not of the form"),
        ("Reviewed-by: A\x1b[31m <ann@example.com>", ANN, "not of the form"),
        ("Reviewed-by: " + 200 * "x" + " <ann@example.com>", ANN, "not of the form"),
        (f"Reviewed-by: {ANN}", "Eve <eve@example.com>", "the mail is from eve@example.com"),
    ],
)
def test_what_is_not_taken(line: str, sender: str, why: str, sent: list[Any], read: Any) -> None:
    result = read(reply(sent[1], line + "\n", sender))
    assert result["trailers"] == [] and not result["written"]
    assert [why in one["reason"] for one in result["ignored"]] == [True]


def test_any_sender(sent: list[Any], read: Any) -> None:
    answer = reply(sent[1], f"Reviewed-by: {ANN}\n", "Bob <bob@example.com>")
    assert len(read(answer, more=("--any-sender",))["trailers"]) == 1


def test_our_own_mails_give_nothing(sent: list[Any], read: Any, repo: Path, tmp_path: Path) -> None:
    read(reply(sent[1], f"Reviewed-by: {ANN}\n"))
    assert export(repo, tmp_path / "v2", "-v2") == 0
    result = read(*mails(tmp_path / "v2", "v2-"))
    assert result["replies"] == 0 and not result["written"]


def test_odd_mails(sent: list[Any], read: Any) -> None:
    """HTML alone, an unknown encoding, malformed headers: no trailer, and no crash."""
    html = reply(sent[1], "x")
    html.set_content(f"<p>Reviewed-by: {ANN}</p>", subtype="html")
    unknown = bytes(reply(sent[1], "x")).replace(b"utf-8", b"klingon")
    torn = b"From: <<<@@\nSubject: =?x?=\nMessage-ID: <\nIn-Reply-To: >\n\nReviewed-by: x\n"
    assert read(html, unknown, torn)["trailers"] == []


@pytest.mark.parametrize("what", ["missing", "directory", "empty", "text"])
def test_no_mailbox(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "box"
    if what == "directory":
        place.mkdir()
    elif what != "missing":
        place.write_text("" if what == "empty" else "Dear all,\n", encoding="ascii")
    assert run(["trailers", str(place)]) == 2
    refused(capsys, "PG104" if what == "missing" else "PG135")


def test_a_patch_that_has_changed_since(
    sent: list[Any], read: Any, repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    read(reply(sent[1], f"Reviewed-by: {ANN}\n"), reply(sent[2], f"Reviewed-by: {ANN}\n"))

    def patched(number: int, **fields: Any) -> Any:
        def changed(entry: Any) -> Any:
            if entry.number != number:
                return entry
            return replace(entry, patch=msgspec.structs.replace(entry.patch, **fields))

        new = replace(SERIES, entries=tuple(map(changed, SERIES.entries)))
        monkeypatch.setattr("patchgen.engine.series.load_default_series", lambda: new)
        return new

    # Other words are no other patch.
    patched(1, message="Other words.\n")
    assert export(repo, tmp_path / "2", "-v2") == 0
    assert f"Reviewed-by: {ANN}" in mails(tmp_path / "2", "v2-")[1].get_content()
    edits = SERIES.entries[0].patch.edit
    patched(1, edit=(msgspec.structs.replace(edits[0], why="another reason"), *edits[1:]))
    capsys.readouterr()
    assert export(repo, tmp_path / "3", "-v3") == 0
    assert f"left out: 1: Reviewed-by: {ANN}" in capsys.readouterr().err
    cover, first, second, *_ = mails(tmp_path / "3", "v3-")
    assert "trailers were left out:\n1.\n" in cover.get_content()
    assert "Reviewed-by" not in first.get_content()
    assert f"Reviewed-by: {ANN}" in second.get_content()
    assert run(["trailers"]) == 0
    assert "(the patch has changed since, so it is left out)" in capsys.readouterr().out


# --- where they are kept --------------------------------------------------------------------------


def a_review(trailer: str = f"Reviewed-by: {ANN}") -> Review:
    entry = SERIES.entries[0]
    what = entry.patch.subject
    return Review(entry.change_id, what, trailer, 1, entry.content[:12], '<a"\\ü\x7f@b>')


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "new" / "reviews.toml"
    them = [a_review(), a_review('Acked-by: "Zoë \\ O\'Q" <zoe@example.com>')]
    save_reviews(file, them)
    assert load_reviews(file, file) == them
    assert list(file.parent.iterdir()) == [file]
    assert carried(SERIES, them).trailers[them[0].change] == tuple(one.trailer for one in them)


def test_what_came_with_the_package_counts_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel has its data below the package; what is written goes to the user's directory."""
    series = tmp_path / "site" / "patchgen" / "data" / "series"
    save_reviews(series / "reviews.toml", [a_review()])
    with monkeypatch.context() as installed:
        installed.setattr(paths, "_PACKAGE", series.parents[1])
        installed.delenv("PATCHGEN_REVIEWS")
        installed.setenv("XDG_DATA_HOME", str(tmp_path / "data home"))
        paths.data_dir.cache_clear()
        try:
            shipped, mine = paths.reviews_files()
        finally:
            paths.data_dir.cache_clear()
    assert shipped == series / "reviews.toml"
    assert mine == tmp_path / "data home" / "patchgen" / "reviews.toml"
    save_reviews(mine, [a_review(f"Acked-by: {ANN}")])
    assert len(load_reviews(shipped, mine)) == 2


def test_a_checkout_keeps_them_with_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, mine = paths.reviews_files()
    assert shipped.parent == paths.data_dir("series") and mine != shipped
    monkeypatch.delenv("PATCHGEN_REVIEWS")
    assert paths.reviews_files() == (shipped, shipped)


@pytest.mark.parametrize(
    "text",
    ["[", "review = 3\n", "[[review]]\nchange = 'x'\n", "other = []\n", "\xff"],
)
def test_a_malformed_file(
    text: str, repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = tmp_path / "r.toml"
    file.write_bytes(text.encode("latin-1"))
    monkeypatch.setenv("PATCHGEN_REVIEWS", str(file))
    assert export(repo, tmp_path / "out") == 2
    refused(capsys, "PG136")
    assert "cpr/" not in git(repo, "branch")


def test_a_trailer_that_would_end_the_message(tmp_path: Path) -> None:
    from patchgen.errors import ReviewsError

    file = tmp_path / "r.toml"
    for bad in ("Reviewed-by: x\n---\ndiff", "Signed-off-by: Somebody Else <x@example.com>"):
        save_reviews(file, [a_review(bad)])
        with pytest.raises(ReviewsError):
            load_reviews(file)
