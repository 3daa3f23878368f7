"""From the library's events to what a channel hands over. Pure, but for what it asks the directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, cast

from neonize.proto.Neonize_pb2 import JID, GroupInfo, MessageSource
from neonize.proto.Neonize_pb2 import Message as MessageEvent
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message

from nanoclaw.channels.whatsapp.protocol import UNREADABLE
from nanoclaw.channels.whatsapp.worker.content import Content, Target, content, text_of, unwrap
from nanoclaw.channels.whatsapp.worker.legible import make_legible
from nanoclaw.model import (
    Attachment,
    Inbound,
    InboundChat,
    InboundDeletion,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    Jid,
    Member,
    Quote,
)

CHANNEL: Final = "whatsapp"
_PHONE: Final = "s.whatsapp.net"
_HIDDEN: Final = "lid"
_GROUP: Final = "g.us"
_CHATS: Final = (_PHONE, _HIDDEN, _GROUP)  # no broadcasts, status, newsletters, bots of the platform
_EDIT_BY_ADMIN: Final = "8"
_LAST_INSTANT: Final = 253_402_300_799  # the end of the year 9999, the last that a datetime can hold
_LATEST_SECOND: Final = 100_000_000_000  # seconds until the year 5138; what is larger are milliseconds


class Directory(Protocol):
    """Who is who, and which chats matter."""

    @property
    def own(self) -> Sequence[str]:
        """Our own addresses, the phone number first."""
        ...

    @property
    def shared(self) -> bool:
        """Whether the account is also a person's own."""
        ...

    def person(self, addresses: Sequence[str], name: str = "") -> str:
        """The one address of whom these addresses mean; `name` is what they call themselves."""
        ...

    def chat(self, addresses: Sequence[str]) -> Jid:
        """The one address of a chat."""
        ...

    def name(self, address: str) -> str:
        """What somebody, or a chat, is called; empty if that is not known."""
        ...

    def follows(self, chat: Jid) -> bool:
        """Whether this chat's content is kept."""
        ...

    def is_ours(self, ext_id: str) -> bool:
        """Whether the assistant sent the message with this id."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """Who wrote where, in which words of the platform."""

    chat: Jid
    sender: str
    is_group: bool
    from_me: bool
    ext_id: str
    at: datetime


def address(jid: JID) -> str:
    """An address without its device; empty for none."""
    return f"{jid.User}@{jid.Server}" if jid.User and jid.Server else ""


def bare(text: str) -> str:
    """An address in text, without its device."""
    user, at, server = text.partition("@")
    return f"{user.partition(':')[0].partition('.')[0]}{at}{server}"


def instant(number: int) -> datetime:
    """A moment as the library tells it: messages come with milliseconds, receipts with seconds."""
    seconds = number / 1000 if number > _LATEST_SECOND else number
    return datetime.fromtimestamp(min(max(seconds, 0), _LAST_INSTANT), UTC)


def is_chat(source: MessageSource) -> bool:
    """Whether this is a chat between people."""
    return source.Chat.Server in _CHATS


def phone_first(addresses: Sequence[str]) -> list[str]:
    """Each once, phone numbers before hidden addresses."""
    known = dict.fromkeys(address for address in addresses if address)
    return sorted(known, key=lambda address: not address.endswith(f"@{_PHONE}"))


def chat_of(source: MessageSource, directory: Directory) -> Jid:
    """The chat that something happened in."""
    if source.IsGroup or source.Chat.Server == _GROUP:
        return Jid(address(source.Chat))
    other = source.RecipientAlt if source.IsFromMe else source.SenderAlt
    chat = address(source.Chat)
    return directory.chat(phone_first([*(directory.own if chat in directory.own else ()), chat, address(other)]))


def envelope(event: MessageEvent, directory: Directory) -> Envelope:
    """Who wrote this, where and when."""
    source = event.Info.MessageSource
    written_by = [address(source.Sender), address(source.SenderAlt)]
    addresses = directory.own if source.IsFromMe else phone_first(written_by)
    return Envelope(
        chat=chat_of(source, directory),
        sender=directory.person(addresses, "" if source.IsFromMe else event.Info.Pushname),
        is_group=source.IsGroup,
        from_me=source.IsFromMe,
        ext_id=event.Info.ID,
        at=instant(event.Info.Timestamp),
    )


def normalise(event: MessageEvent, directory: Directory) -> tuple[Inbound | None, Content]:
    """What the host is told of a message event, if anything, and what the event says."""
    make_legible(event)
    message = cast("Message", event.Message)  # pyright: ignore[reportUnknownMemberType]
    says = content(message, seen_once=event.IsViewOnce or event.IsViewOnceV2 or event.IsViewOnceV2Extension)
    if not is_chat(event.Info.MessageSource) or says.kind in ("nothing", "expiration"):
        return None, says
    came = envelope(event, directory)
    if came.from_me and directory.is_ours(came.ext_id):
        return None, says
    if not directory.follows(came.chat):
        name = _chat_name(came, event, directory)
        chat = InboundChat(channel=CHANNEL, chat=came.chat, name=name, is_group=came.is_group, active_at=came.at)
        return chat, says
    match says.kind:
        case "reaction" if says.target:
            return _reaction(came, event, says.text, says.target, directory), says
        case "edit" if says.target:
            return _edit(came, says.text, says.target, directory), says
        case "revoke" if says.target:
            return _revoke(came, says.target, directory, by_admin=event.Info.Edit == _EDIT_BY_ADMIN), says
        case _:
            return _message(came, event, says, directory), says


def _message(came: Envelope, event: MessageEvent, says: Content, directory: Directory) -> InboundMessage:
    quote = _quote(came, says, directory)
    mentions = {bare(mention) for mention in says.context.mentionedJID}
    mentioned = not directory.shared and not mentions.isdisjoint(directory.own)
    return InboundMessage(
        channel=CHANNEL,
        account=_account(directory),
        chat=came.chat,
        chat_name=_chat_name(came, event, directory),
        sender=came.sender,
        sender_name=directory.name(came.sender) or event.Info.Pushname or came.sender.partition("@")[0],
        ext_id=came.ext_id,
        text=says.text,
        sent_at=came.at,
        attachments=_attachments(says),
        quote=quote,
        addressed=mentioned or (quote is not None and quote.ours),
        from_owner=came.from_me,
    )


def unreadable(event: MessageEvent, directory: Directory) -> InboundMessage:
    """What stands for a message that we could not make sense of, or that was lost on the way to the disk."""
    came = envelope(event, directory)
    return _message(came, event, Content(kind="message", text=UNREADABLE), directory)


def _account(directory: Directory) -> str:
    return directory.own[0] if directory.own else ""


def _chat_name(came: Envelope, event: MessageEvent, directory: Directory) -> str:
    known = directory.name(came.chat)
    if known or came.is_group:
        return known
    return came.chat.partition("@")[0] if came.from_me else event.Info.Pushname or came.chat.partition("@")[0]


def _attachments(says: Content) -> tuple[Attachment, ...]:
    media = says.media
    if media is None:
        return ()
    problem = "it was sent to be seen only once" if media.seen_once else ""
    return (Attachment(kind=media.kind, mime=media.mime, size=media.size, original_name=media.name, problem=problem),)


def _quote(came: Envelope, says: Content, directory: Directory) -> Quote | None:
    context = says.context
    if not context.stanzaID:
        return None
    sender = bare(context.participant)
    by_us = sender in directory.own
    person = directory.person(directory.own if by_us else [sender]) if sender else ""
    inner, _ = unwrap(context.quotedMessage)
    return Quote(
        ext_id=context.stanzaID,
        sender=person,
        sender_name=directory.name(person) or person.partition("@")[0],
        text=text_of(inner),
        ours=directory.is_ours(context.stanzaID) or (by_us and not directory.shared),
    )


def _author(came: Envelope, target: Target, directory: Directory) -> str:
    """Who wrote the message that this one is about; empty: the assistant."""
    if directory.is_ours(target.ext_id):
        return ""
    if target.from_sender:
        return came.sender
    if target.participant:
        named = bare(target.participant)
        if named not in directory.own:
            return directory.person([named])
    elif came.from_me:
        return directory.person([came.chat])
    return directory.person(directory.own) if directory.shared else ""


def _reaction(came: Envelope, event: MessageEvent, emoji: str, target: Target, directory: Directory) -> InboundReaction:
    return InboundReaction(
        account=_account(directory),
        chat=came.chat,
        sender=came.sender,
        sender_name=directory.name(came.sender) or event.Info.Pushname or came.sender.partition("@")[0],
        target_sender=_author(came, target, directory),
        target_ext_id=target.ext_id,
        emoji=emoji,
        at=came.at,
    )


def _edit(came: Envelope, text: str, target: Target, directory: Directory) -> InboundEdit:
    """Nobody can edit what another wrote: whatever an edit claims, its target is its sender's."""
    account = _account(directory)
    return InboundEdit(account=account, chat=came.chat, sender=came.sender, ext_id=target.ext_id, text=text, at=came.at)


def _revoke(came: Envelope, target: Target, directory: Directory, *, by_admin: bool) -> InboundDeletion | None:
    """Only an administrator can take back what another wrote; the server marks it as such."""
    author = came.sender
    if by_admin and target.participant and not target.from_sender:
        author = _author(came, target, directory)
        if not author:
            return None
    return InboundDeletion(account=_account(directory), chat=came.chat, sender=author, ext_id=target.ext_id, at=came.at)


def group_chat(group: GroupInfo, directory: Directory) -> InboundChat:
    """A group with its name, and with its members if it is followed."""
    chat = Jid(address(group.JID))
    members: list[Member] = []
    follows = directory.follows(chat)
    for one in group.Participants if follows else ():
        addresses = phone_first([address(one.PhoneNumber), address(one.JID), address(one.LID)])
        person = directory.person(addresses, one.DisplayName)
        name = directory.name(person) or person.partition("@")[0]
        members.append(Member(address=person, name=name, admin=one.IsAdmin or one.IsSuperAdmin))
    return InboundChat(
        channel=CHANNEL,
        chat=chat,
        name=group.GroupName.Name,
        is_group=True,
        members=tuple(members) if follows else None,
    )
