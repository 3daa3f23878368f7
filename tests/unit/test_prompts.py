"""The text that hands messages to an agent."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.formatting import printable
from nanoclaw.model import Jid, Message, Seq
from nanoclaw.prompts import messages_prompt

_AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def a_message(text: str, sender: str = "Bob") -> Message:
    return Message(
        seq=Seq(1), chat=Jid("local:a"), sender="local:Bob", sender_name=sender, text=text, sent_at=_AT, received_at=_AT
    )


def test_messages_carry_sender_and_local_time() -> None:
    prompt = messages_prompt([a_message("hi"), a_message("you", "Eve")], ZoneInfo("Europe/Berlin"))
    assert prompt == (
        "<messages>\n"
        '<message sender="Bob" time="2026-01-31T13:00:00+01:00">hi</message>\n'
        '<message sender="Eve" time="2026-01-31T13:00:00+01:00">you</message>\n'
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
