"""From the library's events to what the host is told, on messages built by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from neonize.proto.Neonize_pb2 import JID, GroupInfo, MessageInfo, MessageSource
from neonize.proto.Neonize_pb2 import Message as MessageEvent
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import ContextInfo, ExtendedTextMessage, Message

from nanoclaw.channels.whatsapp.worker.content import content, is_key_only
from nanoclaw.channels.whatsapp.worker.normalise import group_chat, instant, normalise, unreadable
from nanoclaw.model import (
    Inbound,
    InboundChat,
    InboundDeletion,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    Jid,
)

GROUP = "120363000000000001@g.us"
ANDY, ANDY_LID = "15550001@s.whatsapp.net", "900001@lid"
BOB, BOB_LID = "15550002@s.whatsapp.net", "900002@lid"
CAROL, CAROL_LID = "15550003@s.whatsapp.net", "900003@lid"
SECONDS = 1_795_000_000


class Directory:
    """Everybody is known by phone number; everything is followed."""

    def __init__(self, *, shared: bool = False, ours: Sequence[str] = (), follows: bool = True) -> None:
        self.own: Sequence[str] = (ANDY, ANDY_LID)
        self.shared = shared
        self._ours = ours
        self._follows = follows
        self._phones = {ANDY_LID: ANDY, BOB_LID: BOB, CAROL_LID: CAROL}

    def person(self, addresses: Sequence[str], name: str = "") -> str:
        return self._phones.get(addresses[0], addresses[0])

    def chat(self, addresses: Sequence[str]) -> Jid:
        return Jid(self.person(addresses))

    def name(self, address: str) -> str:
        return {GROUP: "Family", BOB: "Bob", CAROL: "Carol"}.get(address, "")

    def follows(self, chat: Jid) -> bool:
        return self._follows

    def is_ours(self, ext_id: str) -> bool:
        return ext_id in self._ours


def jid(text: str) -> JID:
    user, _, server = text.partition("@")
    user, _, device = user.partition(":")
    return JID(User=user, Server=server, Device=int(device or 0))


def event(
    message: Message,
    *,
    chat: str = GROUP,
    sender: str = f"{BOB_LID[:-4]}:7@lid",
    alternate: str = BOB,
    **more: Any,  # noqa: ANN401
) -> MessageEvent:
    source = MessageSource(
        Chat=jid(chat),
        Sender=jid(sender),
        SenderAlt=jid(alternate) if alternate else None,
        IsGroup=chat.endswith("@g.us"),
        IsFromMe=more.pop("from_me", False),
    )
    info = MessageInfo(
        MessageSource=source, ID=more.pop("ext_id", "ID1"), Pushname="Bobby", Timestamp=SECONDS * 1000,
        Edit=more.pop("edit", ""),
    )  # fmt: skip
    return MessageEvent(Info=info, Message=message, **more)


def told(message: Message, directory: Directory | None = None, **more: Any) -> Inbound | None:  # noqa: ANN401
    return normalise(event(message, **more), directory or Directory())[0]


def message_of(message: Message, directory: Directory | None = None, **more: Any) -> InboundMessage:  # noqa: ANN401
    found = told(message, directory, **more)
    assert isinstance(found, InboundMessage)
    return found


def text(words: str, **context: Any) -> Message:  # noqa: ANN401
    return Message(extendedTextMessage=ExtendedTextMessage(text=words, contextInfo=ContextInfo(**context)))


def wrap(name: str, inner: Message) -> Message:
    outer = Message()
    getattr(outer, name).message.CopyFrom(inner)
    return outer


def test_a_message_names_chat_sender_and_time_without_device() -> None:
    message = message_of(Message(conversation="hello"))
    assert (message.chat, message.chat_name, message.sender, message.sender_name) == (GROUP, "Family", BOB, "Bob")
    assert message.sent_at == datetime.fromtimestamp(SECONDS, UTC)
    assert (message.account, message.channel) == (ANDY, "whatsapp")


def test_milliseconds_and_seconds_are_told_apart() -> None:
    assert instant(SECONDS * 1000) == instant(SECONDS) == datetime.fromtimestamp(SECONDS, UTC)


@pytest.mark.parametrize("message", [Message(conversation="here"), text("here")])
@pytest.mark.parametrize(
    "wrappers",
    [
        (),
        ("ephemeralMessage",),
        ("deviceSentMessage",),
        ("documentWithCaptionMessage",),
        ("editedMessage",),
        ("ephemeralMessage", "groupMentionedMessage"),
        ("deviceSentMessage", "ephemeralMessage", "viewOnceMessage"),
    ],
)
def test_text_is_found_wherever_it_stands(message: Message, wrappers: Sequence[str]) -> None:
    for name in reversed(wrappers):
        message = wrap(name, message)
    assert message_of(message).text == "here"


def test_wrappers_without_end_are_not_followed_without_end() -> None:
    message = Message(conversation="deep")
    for _ in range(50):
        message = wrap("ephemeralMessage", message)
    assert told(message) is not None or told(message) is None


@pytest.mark.parametrize("wrapper", ["viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension"])
def test_what_may_be_seen_once_is_not_to_be_fetched(wrapper: str) -> None:
    image = Message()
    image.imageMessage.mimetype = "image/jpeg"
    (attachment,) = message_of(wrap(wrapper, image)).attachments
    assert "once" in attachment.problem


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("imageMessage", "image"),
        ("videoMessage", "video"),
        ("ptvMessage", "video"),
        ("audioMessage", "audio"),
        ("documentMessage", "document"),
        ("stickerMessage", "sticker"),
    ],
)
def test_files_are_told_with_kind_type_and_size(field: str, kind: str) -> None:
    message = Message()
    part = getattr(message, field)
    part.mimetype = "x/y; codecs=z"
    part.fileLength = 12
    (attachment,) = message_of(message).attachments
    assert (attachment.kind, attachment.mime, attachment.size) == (kind, "x/y", 12)


def test_a_voice_note_is_told_from_music() -> None:
    message = Message()
    message.audioMessage.PTT = True
    assert message_of(message).attachments[0].kind == "voice"


def test_a_caption_and_a_file_name_come_along() -> None:
    message = Message()
    message.documentMessage.caption = "for you"
    message.documentMessage.fileName = "a.pdf"
    found = message_of(wrap("documentWithCaptionMessage", message))
    assert (found.text, found.attachments[0].original_name) == ("for you", "a.pdf")


@pytest.mark.parametrize("mentioned", [ANDY, ANDY_LID, "15550001:3@s.whatsapp.net"])
def test_a_mention_by_either_address_addresses_the_assistant(mentioned: str) -> None:
    assert message_of(text("@x", mentionedJID=[mentioned])).addressed
    assert not message_of(text("@x", mentionedJID=[mentioned]), Directory(shared=True)).addressed
    assert not message_of(text("@x", mentionedJID=[BOB])).addressed


def test_a_reply_to_the_assistant_addresses_it() -> None:
    quoted = Message(conversation="what I said")
    found = message_of(text("and?", stanzaID="Q1", participant=ANDY_LID, quotedMessage=quoted))
    assert found.addressed
    assert found.quote is not None
    assert (found.quote.text, found.quote.ours) == ("what I said", True)


def test_on_a_shared_number_only_what_the_assistant_sent_is_its_own() -> None:
    reply = text("and?", stanzaID="Q1", participant=ANDY_LID, quotedMessage=Message(conversation="x"))
    assert not message_of(reply, Directory(shared=True)).addressed
    assert message_of(reply, Directory(shared=True, ours=["Q1"])).addressed


def test_a_reply_to_somebody_else_names_them() -> None:
    found = message_of(text("no", stanzaID="Q1", participant=CAROL_LID, quotedMessage=Message(conversation="yes")))
    assert found.quote is not None
    assert (found.quote.sender, found.quote.sender_name, found.quote.ours) == (CAROL, "Carol", False)
    assert not found.addressed


def test_what_the_owner_types_elsewhere_is_theirs_and_what_we_sent_is_nothing() -> None:
    mine: dict[str, Any] = {"sender": ANDY_LID, "alternate": ANDY, "from_me": True}
    found = message_of(Message(conversation="note to self"), chat=ANDY, **mine)
    assert (found.chat, found.sender, found.from_owner) == (ANDY, ANDY, True)
    assert told(Message(conversation="ours"), Directory(ours=["ID1"]), chat=ANDY, **mine) is None


def test_a_direct_chat_has_one_address_whichever_is_used() -> None:
    by_lid = message_of(Message(conversation="x"), chat=BOB_LID, sender=BOB_LID, alternate=BOB)
    by_phone = message_of(Message(conversation="x"), chat=BOB, sender=BOB, alternate=BOB_LID)
    assert by_lid.chat == by_phone.chat == by_lid.sender == by_phone.sender == BOB


def point(part: Any, ext_id: str, participant: str, from_me: bool) -> None:  # noqa: ANN401  # the library leaves its type open
    part.key.ID, part.key.participant, part.key.fromMe = ext_id, participant, from_me


def reaction(ext_id: str, emoji: str, *, participant: str = "", from_me: bool = False) -> Message:
    message = Message()
    point(message.reactionMessage, ext_id, participant, from_me)
    message.reactionMessage.text = emoji
    return message


def test_a_reaction_names_whose_message_it_is_about() -> None:
    found = told(reaction("R1", "👍", participant=CAROL_LID))
    assert isinstance(found, InboundReaction)
    assert (found.sender, found.target_sender, found.target_ext_id, found.emoji) == (BOB, CAROL, "R1", "👍")
    own = told(reaction("R1", "👍", from_me=True))
    assert isinstance(own, InboundReaction)
    assert own.target_sender == BOB
    ours = told(reaction("R1", "", participant=ANDY_LID))
    assert isinstance(ours, InboundReaction)
    assert (ours.target_sender, ours.emoji) == ("", "")
    direct = told(reaction("R1", "👍"), chat=BOB, sender=BOB, alternate=BOB_LID)
    assert isinstance(direct, InboundReaction)
    assert direct.target_sender == ""


def edit(ext_id: str, words: str, participant: str = "") -> Message:
    message = Message()
    protocol = message.protocolMessage
    protocol.type = protocol.MESSAGE_EDIT
    point(protocol, ext_id, participant, from_me=True)
    protocol.editedMessage.conversation = words
    return message


def test_an_edit_is_its_senders_whatever_it_claims() -> None:
    found = told(wrap("editedMessage", edit("E1", "better", participant=CAROL)))
    assert isinstance(found, InboundEdit)
    assert (found.sender, found.ext_id, found.text) == (BOB, "E1", "better")


def revoke(ext_id: str, participant: str = "", *, from_me: bool = False) -> Message:
    message = Message()
    protocol = message.protocolMessage
    protocol.type = protocol.REVOKE
    point(protocol, ext_id, participant, from_me)
    return message


def test_only_an_administrator_takes_back_what_another_wrote() -> None:
    own = told(revoke("D1", from_me=True))
    assert isinstance(own, InboundDeletion)
    assert own.sender == BOB
    claimed = told(revoke("D1", CAROL_LID), edit="7")
    assert isinstance(claimed, InboundDeletion)
    assert claimed.sender == BOB
    by_admin = told(revoke("D1", CAROL_LID), edit="8")
    assert isinstance(by_admin, InboundDeletion)
    assert (by_admin.sender, by_admin.ext_id) == (CAROL, "D1")


def test_other_kinds_become_a_line_that_says_what_they_are() -> None:
    contact = Message()
    contact.contactMessage.displayName = "Dave"
    contact.contactMessage.vcard = "BEGIN:VCARD\nitem1.TEL;waid=1555:+1 555\nEND:VCARD"
    assert message_of(contact).text == "[contact: Dave +1 555]"
    place = Message()
    place.locationMessage.name = "Home"
    place.locationMessage.degreesLatitude = 52.5
    place.locationMessage.degreesLongitude = 13.4
    assert message_of(place).text == "[location: Home, 52.50000, 13.40000]"
    poll = Message()
    poll.pollCreationMessageV3.name = "When?"
    poll.pollCreationMessageV3.options.add(optionName="now")
    poll.pollCreationMessageV3.options.add(optionName="later")
    assert message_of(poll).text == "[poll: When? — now / later]"
    odd = Message()
    odd.requestPaymentMessage.noteMessage.conversation = "x"
    assert message_of(odd).text == "[a message of a kind that cannot be shown here: requestPayment]"


def test_what_says_nothing_becomes_nothing() -> None:
    key = Message()
    key.senderKeyDistributionMessage.groupID = "g"
    assert told(key) is None
    assert is_key_only(key)
    key.conversation = "and text"
    assert not is_key_only(key)
    vote = Message()
    vote.pollUpdateMessage.senderTimestampMS = 1
    assert told(vote) is None
    history = Message()
    history.protocolMessage.type = history.protocolMessage.HISTORY_SYNC_NOTIFICATION
    assert told(history) is None


def test_how_long_messages_last_is_told() -> None:
    assert content(text("x", expiration=86400)).expiration == 86400
    assert content(text("x")).expiration is None
    setting = Message()
    setting.protocolMessage.type = setting.protocolMessage.EPHEMERAL_SETTING
    setting.protocolMessage.ephemeralExpiration = 60
    assert (content(setting).kind, content(setting).expiration) == ("expiration", 60)


@pytest.mark.parametrize("chat", ["status@broadcast", "1203@newsletter", "1@bot"])
def test_what_is_no_chat_between_people_is_nothing(chat: str) -> None:
    assert told(Message(conversation="x"), chat=chat) is None


def test_a_chat_that_is_not_followed_is_told_by_name_and_time_only() -> None:
    found = told(Message(conversation="secret"), Directory(follows=False))
    assert found == InboundChat(
        channel="whatsapp",
        chat=Jid(GROUP),
        name="Family",
        is_group=True,
        active_at=datetime.fromtimestamp(SECONDS, UTC),
    )


def test_a_message_that_makes_no_sense_still_says_who_and_where() -> None:
    found = unreadable(event(Message()), Directory())
    assert (found.chat, found.sender, found.ext_id) == (GROUP, BOB, "ID1")
    assert "could not be read" in found.text


def test_a_groups_members_are_told_if_it_is_followed() -> None:
    group = GroupInfo(JID=jid(GROUP))
    group.GroupName.Name = "Family"
    group.Participants.add(JID=jid(BOB_LID), PhoneNumber=jid(BOB), LID=jid(BOB_LID), IsAdmin=True)
    found = group_chat(group, Directory())
    assert found.members is not None
    assert [(member.address, member.name, member.admin) for member in found.members] == [(BOB, "Bob", True)]
    assert group_chat(group, Directory(follows=False)).members is None
