"""Which messages wake an agent, and who their senders are to it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nanoclaw.model import Attachment, Folder, InboundMessage, Jid, RegisteredGroup, SenderPolicy, Standing
from nanoclaw.routing import is_quoted, standing, starts_with_trigger, wakes

_PHONE = "4915112345678@s.whatsapp.net"


def a_group(
    folder: str = "family",
    trigger: str = "@Andy",
    *,
    requires_trigger: bool = True,
    jid: str = "",
    senders: SenderPolicy = SenderPolicy(),  # noqa: B008  # frozen
) -> RegisteredGroup:
    return RegisteredGroup(
        jid=Jid(jid or f"local:{folder}"),
        name=folder,
        folder=Folder(folder),
        trigger=trigger,
        added_at="",
        requires_trigger=requires_trigger,
        senders=senders,
    )


def a_message(text: str) -> InboundMessage:
    return InboundMessage(
        channel="local",
        account="local",
        chat=Jid("local:family"),
        chat_name="",
        sender="local:bob",
        sender_name="Bob",
        ext_id="1",
        text=text,
        sent_at=datetime(2026, 1, 31, tzinfo=UTC),
    )


def is_woken(group: RegisteredGroup, text: str, who: Standing = "member") -> bool:
    return wakes(group, a_message(text), who)


def allowing(*names: str) -> SenderPolicy:
    return SenderPolicy(policy="allowlist", allow=names)


@pytest.mark.parametrize("text", ["@Andy hi", "@andy hi", "  @ANDY", "@Andy, hi", "@Andy\nhi", "@Andy's turn"])
def test_a_message_that_begins_with_the_trigger_wakes(text: str) -> None:
    assert is_woken(a_group(), text)


@pytest.mark.parametrize("text", ["hi @Andy", "Andy hi", "@Andyman hi", "@An", "", "@Andy_2 hi"])
def test_a_message_that_does_not_begin_with_the_trigger_does_not_wake(text: str) -> None:
    assert not is_woken(a_group(), text)


def test_main_needs_no_trigger() -> None:
    assert is_woken(a_group("main"), "hi")


def test_a_group_that_requires_none_needs_no_trigger() -> None:
    assert is_woken(a_group(requires_trigger=False), "hi")


def test_an_empty_message_wakes_nobody() -> None:
    assert not is_woken(a_group("main"), " \n")


@pytest.mark.parametrize("trigger", ["@A.C", "(bot)", "@+1", "a|b", "@Zoë"])
def test_the_trigger_is_text_and_no_pattern(trigger: str) -> None:
    assert starts_with_trigger(trigger, f"{trigger} hi")
    assert not starts_with_trigger(trigger, "@AxC hi")


def test_a_mention_or_an_answer_to_the_assistant_wakes_without_the_trigger() -> None:
    assert wakes(a_group(), replace(a_message("what do you think?"), addressed=True), "member")


def test_a_picture_without_a_word_wakes_where_no_trigger_is_needed() -> None:
    picture = replace(a_message(""), attachments=(Attachment(kind="image", mime="image/png", size=1),))
    assert wakes(a_group("main"), picture, "owner")
    assert not wakes(a_group(), picture, "member")


def test_a_stranger_never_wakes() -> None:
    message = replace(a_message("@Andy hi"), addressed=True)
    for group in (a_group("main"), a_group(), a_group(requires_trigger=False)):
        assert not wakes(group, message, "stranger")


@pytest.mark.parametrize(
    ("owners", "sender", "who"),
    [
        ((), _PHONE, "owner"),
        (("4915112345678",), _PHONE, "owner"),
        (("+49 151 1234-5678",), _PHONE, "owner"),
        (("4915112345678",), "4915112345678:7@s.whatsapp.net", "owner"),
        ((_PHONE,), _PHONE, "owner"),
        (("4915112345678",), "4915112345678@lid", "stranger"),
        (("4915112345678",), "14915112345678@s.whatsapp.net", "stranger"),
        (("",), _PHONE, "stranger"),
        (("123@lid",), "123@lid", "owner"),
    ],
)
def test_in_main_everybody_is_the_owner_until_owners_are_named(
    owners: tuple[str, ...], sender: str, who: Standing
) -> None:
    assert standing(a_group("main", jid="1@g.us"), sender, owners) == who


def test_whoever_sits_at_the_machine_is_the_owner_in_main_and_there_alone() -> None:
    assert standing(a_group("main"), "local:whoever", ("4915112345678",)) == "owner"
    assert standing(a_group("family"), "local:whoever", ("4915112345678",)) == "member"


def test_the_user_of_the_account_is_the_owner_everywhere() -> None:
    group = a_group("family", jid="1@g.us", senders=allowing())
    assert standing(group, "me@lid", ("4915112345678",), from_owner=True) == "owner"


def test_where_senders_are_listed_others_are_strangers_but_owners() -> None:
    group = a_group("family", jid="1@g.us", senders=allowing("4915112345678", "local:bob"))
    assert standing(group, _PHONE, ()) == "member"
    assert standing(group, "local:bob", ()) == "member"
    assert standing(group, "local:eve", ()) == "stranger"
    assert standing(group, "49999@s.whatsapp.net", ("49999",)) == "owner"
    assert standing(a_group("main", jid="1@g.us", senders=allowing("1")), _PHONE, ()) == "stranger"


def test_a_list_is_of_no_effect_while_everyone_may() -> None:
    group = a_group(senders=SenderPolicy(policy="everyone", allow=("local:bob",)))
    assert standing(group, "local:eve", ()) == "member"


def test_a_reply_is_shown_as_an_answer_where_others_have_spoken_since() -> None:
    assert is_quoted(is_group=True, spoken_since=True)
    assert not is_quoted(is_group=True, spoken_since=False)
    assert not is_quoted(is_group=False, spoken_since=True)
