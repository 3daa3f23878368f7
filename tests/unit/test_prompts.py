"""The text that hands messages to an agent."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.formatting import printable
from nanoclaw.model import Change, Jid, MediaFile, Message, Quote, Seq
from nanoclaw.prompts import MOST_IMAGE_BYTES, MOST_IMAGES, images_of, messages_prompt

_AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def a_message(text: str, sender: str = "Bob") -> Message:
    return Message(
        seq=Seq(1), chat=Jid("local:a"), sender="local:Bob", sender_name=sender, text=text, sent_at=_AT, received_at=_AT
    )


def test_messages_carry_sender_and_local_time() -> None:
    prompt = messages_prompt([a_message("hi"), a_message("you", "Eve")], ZoneInfo("Europe/Berlin"))
    assert prompt == (
        "<messages>\n"
        '<message sender="Bob" time="2026-01-31T13:00:00+01:00" from="member">hi</message>\n'
        '<message sender="Eve" time="2026-01-31T13:00:00+01:00" from="member">you</message>\n'
        "</messages>"
    )


def test_what_is_left_out_is_counted() -> None:
    assert messages_prompt([], ZoneInfo("UTC"), 7).startswith('<messages omitted_before="7">')


@given(st.text(), st.text(min_size=1))
def test_nothing_that_people_write_can_leave_its_element(text: str, sender: str) -> None:
    text, sender = printable(text).replace("\ufffe", "").replace("\uffff", ""), printable(sender)
    sender = sender.replace("\ufffe", "").replace("\uffff", "")
    tree = ET.fromstring(messages_prompt([a_message(text, sender)], ZoneInfo("UTC")))
    assert [child.tag for child in tree] == ["message"]
    assert (tree[0].text or "") == text


def a_file(name: str = "photo.jpg", mime: str = "image/jpeg", size: int = 1000, problem: str = "") -> MediaFile:
    return MediaFile(
        kind="image", mime=mime, size=size, name=name, file="" if problem else f"x-{name}", problem=problem
    )


def test_a_message_shows_who_wrote_it_what_it_answers_what_came_with_it_and_that_it_was_edited() -> None:
    quote = Quote(ext_id="1", sender="local:eve", sender_name="Eve", text="where?", ours=False)
    files = (a_file(), a_file("big.mp4", "video/mp4", 99, "larger than 25 MB"))
    message = replace(a_message("here"), standing="stranger", quote=quote, files=files, edited_at=_AT)
    tree = ET.fromstring(messages_prompt([message], ZoneInfo("UTC")))[0]
    assert (tree.get("from"), tree.get("edited")) == ("stranger", "2026-01-31T12:00:00+00:00")
    quoted, photo, video = tree
    assert (quoted.tag, quoted.get("sender"), quoted.text) == ("quoted", "Eve", "where?")
    assert (photo.get("path"), photo.get("name")) == ("/workspace/media/x-photo.jpg", "photo.jpg")
    assert (video.get("missing"), video.get("path")) == ("larger than 25 MB", None)
    assert (video.tail or "").strip() == "here"


def test_an_answer_to_the_assistant_shows_its_own_words() -> None:
    quote = Quote(ext_id="1", sender="", sender_name="", text="done", ours=True)
    (quoted,) = ET.fromstring(messages_prompt([replace(a_message("thanks"), quote=quote)], ZoneInfo("UTC")))[0]
    assert (quoted.get("sender"), quoted.text) == ("you", "done")


def test_what_became_of_earlier_messages_is_told_first() -> None:
    def a_change(**fields: object) -> Change:
        known: dict[str, object] = {"actor_name": "Bob", "standing": "member", "text": "", "ours": False, "at": _AT}
        return Change(**{**known, **fields})  # pyright: ignore[reportArgumentType]

    changes = [
        a_change(kind="edit", text="at six", about="at five"),
        a_change(kind="deletion", about="a secret"),
        a_change(kind="reaction", text="👍", about="Done.", ours=True),
    ]
    edited, deleted, reaction, _ = ET.fromstring(messages_prompt([a_message("hi")], ZoneInfo("UTC"), changes=changes))
    assert (edited.tag, edited.text, edited.get("message")) == ("edited", "at six", "at five")
    assert (deleted.tag, deleted.get("message")) == ("deleted", "a secret")
    assert (reaction.get("emoji"), reaction.get("your_message")) == ("👍", "Done.")


_ANY = st.text(st.sampled_from("<>&\"' a") | st.characters()).map(
    lambda text: printable(text).replace("\ufffe", "").replace("\uffff", "")
)


@given(_ANY, _ANY, _ANY, _ANY)
def test_names_quotes_files_and_changes_stay_inside_their_elements(a: str, b: str, c: str, d: str) -> None:
    quote = Quote(ext_id=a, sender=b, sender_name=c, text=d, ours=False)
    files = (replace(a_file(a), mime=b), a_file(c, problem=d))
    change = Change(kind="edit", actor_name=a, standing="stranger", text=b, about=c, ours=False, at=_AT)
    message = replace(a_message(d), quote=quote, files=files)
    tree = ET.fromstring(messages_prompt([message], ZoneInfo("UTC"), changes=[change]))
    assert [child.tag for child in tree] == ["edited", "message"]
    assert [child.tag for child in tree[1]] == ["quoted", "file", "file"]


def test_images_are_shown_as_such_the_newest_of_a_right_type_and_size() -> None:
    odd = [
        a_file("a.svg", "image/svg+xml"),
        a_file("b.jpg", size=MOST_IMAGE_BYTES + 1),
        a_file("c.jpg", problem="gone"),
    ]
    many = [a_file(f"{number}.jpg") for number in range(MOST_IMAGES + 2)]
    messages = [replace(a_message(""), files=(file,)) for file in [*many, *odd]]
    assert images_of(messages) == [f"/workspace/media/x-{number}.jpg" for number in range(2, MOST_IMAGES + 2)]


def test_images_together_are_no_more_than_a_provider_takes() -> None:
    files = tuple(a_file(f"{number}.jpg", size=3_500_000) for number in range(8))
    assert len(images_of([replace(a_message(""), files=files)])) == 5
