"""How the files that people sent are kept."""

import os
import re
import stat
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw import media
from nanoclaw.errors import StoreError
from nanoclaw.media import KEPT, MOST_FILES, file_name
from nanoclaw.model import Attachment, InboundMessage, Jid

_NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def a_message(*attachments: Attachment, ext_id: str = "1") -> InboundMessage:
    return InboundMessage(
        channel="whatsapp",
        account="me",
        chat=Jid("1@g.us"),
        chat_name="",
        sender="bob",
        sender_name="Bob",
        ext_id=ext_id,
        text="",
        sent_at=_NOW,
        attachments=attachments,
    )


def a_file(tmp_path: Path, name: str = "photo.jpg", content: bytes = b"image") -> Attachment:
    source = tmp_path / "from-channel"
    source.write_bytes(content)
    return Attachment(kind="image", mime="image/jpeg", size=0, original_name=name, source=source)


@pytest.fixture
def private_umask() -> Generator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private_umask")
def test_a_file_is_copied_to_where_agents_may_read_it(tmp_path: Path) -> None:
    (kept,) = media.keep(tmp_path / "media", a_message(a_file(tmp_path)))
    path = tmp_path / "media" / kept.file
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"image", 0o644)
    assert (kept.name, kept.size, path.suffix) == ("photo.jpg", 5, ".jpg")


def test_the_same_message_again_takes_the_same_place(tmp_path: Path) -> None:
    message = a_message(a_file(tmp_path))
    assert media.keep(tmp_path / "media", message) == media.keep(tmp_path / "media", message)
    assert len(list((tmp_path / "media").iterdir())) == 1
    media.keep(tmp_path / "media", replace(message, ext_id="2"))
    assert len(list((tmp_path / "media").iterdir())) == 2


def test_what_was_not_fetched_or_is_gone_is_named_with_the_reason(tmp_path: Path) -> None:
    absent = Attachment(kind="video", mime="video/mp4", size=10**9, problem="larger than 25 MB")
    lost = replace(a_file(tmp_path), source=tmp_path / "nowhere")
    large, gone = media.keep(tmp_path / "media", a_message(absent, lost))
    assert (large.file, large.problem, large.size) == ("", "larger than 25 MB", 10**9)
    assert (gone.file, gone.problem) == ("", "it was lost on the way")


def test_of_very_many_files_the_last_are_left_out(tmp_path: Path) -> None:
    kept = media.keep(tmp_path / "media", a_message(*[a_file(tmp_path)] * (MOST_FILES + 2)))
    assert [bool(file.file) for file in kept] == [True] * MOST_FILES + [False] * 2


def test_a_disk_that_fails_makes_the_message_come_again(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("no directory")
    with pytest.raises(StoreError):
        media.keep(tmp_path / "media", a_message(a_file(tmp_path)))


@pytest.mark.parametrize(
    ("name", "kind", "mime", "ending"),
    [
        ("../../etc/passwd", "document", "text/plain", "etc_passwd.txt"),
        ("report.pdf", "document", "application/octet-stream", "report.pdf"),
        ("photo.exe", "image", "image/jpeg", "photo.exe.jpg"),
        ("photo.JPG", "image", "image/jpeg", "photo.jpg"),
        ("", "voice", "audio/ogg; codecs=opus", "voice.ogg"),
        (".hidden", "document", "", "hidden"),
        ("Grüße an alle.txt", "document", "text/plain", "Grüße_an_alle.txt"),
    ],
)
def test_a_file_is_called_after_its_own_name_and_what_it_is(name: str, kind: str, mime: str, ending: str) -> None:
    attachment = Attachment(kind=kind, mime=mime, size=0, original_name=name)  # pyright: ignore[reportArgumentType]
    assert re.fullmatch(r"20260131-[0-9a-f]{10}-(.*)", file_name(a_message(), 1, attachment))[1] == ending  # pyright: ignore[reportOptionalSubscript]


@given(st.text(), st.text())
def test_no_name_is_a_path_hidden_or_long(name: str, mime: str) -> None:
    attachment = Attachment(kind="document", mime=mime, size=0, original_name=name)
    called = file_name(a_message(), 1, attachment)
    assert re.fullmatch(r"20260131-[0-9a-f]{10}-[\w.-]+", called)
    assert len(os.fsencode(called)) <= 120


def test_old_files_go_and_beyond_the_limit_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = tmp_path / "media" / "family"
    family.mkdir(parents=True)
    for age in (100, 80, 3):
        path = family / f"{age}-days-old"
        path.write_bytes(b"x" * 10)
        at = (_NOW - timedelta(days=age)).timestamp()
        os.utime(path, (at, at))
    media.prune(tmp_path / "media", _NOW)
    assert timedelta(days=80) < KEPT < timedelta(days=100)
    assert {path.name for path in family.iterdir()} == {"80-days-old", "3-days-old"}
    monkeypatch.setattr(media, "MOST_BYTES", 20)
    (kept,) = media.keep(family, a_message(a_file(tmp_path)))
    assert {path.name for path in family.iterdir()} == {"3-days-old", kept.file}
    media.prune(tmp_path / "nowhere", _NOW)


def test_what_is_withdrawn_is_deleted_once_or_twice(tmp_path: Path) -> None:
    (kept,) = media.keep(tmp_path / "media", a_message(a_file(tmp_path)))
    media.remove(tmp_path / "media", [kept.file])
    media.remove(tmp_path / "media", [kept.file])
    assert not list((tmp_path / "media").iterdir())
