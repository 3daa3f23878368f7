"""What a WhatsApp message says: unwrapped, as text and file. Pure."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from google.protobuf.message import Message as Proto
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import ContextInfo, Message

from nanoclaw.model import MediaKind

_DEEPEST: Final = 8  # wrappers in wrappers: nobody sends more than two or three
_WRAPPERS: Final = (
    "ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension",
    "documentWithCaptionMessage", "editedMessage", "deviceSentMessage", "groupMentionedMessage", "lottieStickerMessage",
    "associatedChildMessage", "pollCreationMessageV4", "pollCreationOptionImageMessage", "eventCoverImage",
    "botInvokeMessage", "botForwardedMessage", "statusMentionMessage", "limitSharingMessage", "spoilerMessage",
)  # fmt: skip
_SEEN_ONCE: Final = ("viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension")
_KEYS: Final = ("senderKeyDistributionMessage", "fastRatchetKeySenderKeyDistributionMessage")
_SILENT: Final = frozenset({
    "senderKeyDistributionMessage", "fastRatchetKeySenderKeyDistributionMessage", "messageContextInfo",
    "protocolMessage", "reactionMessage", "encReactionMessage", "pollUpdateMessage", "keepInChatMessage",
    "pinInChatMessage", "albumMessage", "stickerSyncRmrMessage", "encEventResponseMessage", "secretEncryptedMessage",
    "messageHistoryBundle", "messageHistoryNotice", "groupRootKeyShare", "rootSecretDistributeMessage",
    "statusNotificationMessage", "pollAddOptionMessage", "placeholderMessage", "call", "chat",
})  # fmt: skip
"""Parts that say nothing that a person would read."""
_MEDIA: Final[dict[str, MediaKind]] = {
    "imageMessage": "image", "videoMessage": "video", "ptvMessage": "video", "audioMessage": "audio",
    "documentMessage": "document", "stickerMessage": "sticker",
}  # fmt: skip
_POLLS: Final = ("pollCreationMessage", "pollCreationMessageV2", "pollCreationMessageV3", "pollCreationMessageV5")


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """A file that a message brings, still on the platform's servers."""

    kind: MediaKind
    mime: str
    size: int
    name: str
    seen_once: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Another message that this one is about, in the words of who sent this one."""

    ext_id: str
    participant: str
    from_sender: bool
    """Whether the sender of this one wrote that one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A message, unwrapped."""

    kind: Literal["message", "reaction", "edit", "revoke", "expiration", "nothing"]
    text: str = ""
    """What is written; a caption; the emoji of a reaction; the new text of an edit."""
    media: Media | None = None
    target: Target | None = None
    context: ContextInfo = field(default_factory=ContextInfo)
    expiration: int | None = None
    """Seconds, where the message tells what applies in its chat."""


def unwrap(message: Message) -> tuple[Message, bool]:
    """What is inside all wrappers, and whether it may be seen only once."""
    once = False
    for _ in range(_DEEPEST):
        name = next((name for name in _WRAPPERS if message.HasField(name)), "")  # pyright: ignore[reportArgumentType]
        if not name:
            break
        once = once or name in _SEEN_ONCE
        message = getattr(message, name).message
    return message, once


def content(message: Message, *, seen_once: bool = False) -> Content:
    """What a message says."""
    inner, once = unwrap(message)
    if inner.HasField("protocolMessage"):
        return _protocol(inner)
    if inner.HasField("reactionMessage"):
        reaction = inner.reactionMessage
        return Content(kind="reaction", text=reaction.text, target=_target(reaction))
    context = _context(inner)
    expiration = context.expiration if context.HasField("expiration") else None
    media = _media(inner, seen_once=once or seen_once)
    text = text_of(inner)
    if media is None and not text:
        return Content(kind="nothing", context=context)
    return Content(kind="message", text=text, media=media, context=context, expiration=expiration)


def _protocol(message: Message) -> Content:
    protocol = message.protocolMessage
    match protocol.type:
        case protocol.REVOKE:
            return Content(kind="revoke", target=_target(protocol))
        case protocol.MESSAGE_EDIT:
            inner, _ = unwrap(protocol.editedMessage)
            return Content(kind="edit", text=text_of(inner), target=_target(protocol), context=_context(inner))
        case protocol.EPHEMERAL_SETTING:
            return Content(kind="expiration", expiration=protocol.ephemeralExpiration)
        case _:
            return Content(kind="nothing")


def _target(part: Any) -> Target:  # noqa: ANN401  # the library leaves the type of `key` open
    key = part.key
    return Target(ext_id=key.ID, participant=key.participant, from_sender=key.fromMe)


def _context(message: Message) -> ContextInfo:
    for _, part in message.ListFields():
        if isinstance(part, Proto) and "contextInfo" in part.DESCRIPTOR.fields_by_name and part.HasField("contextInfo"):
            return part.contextInfo  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    return ContextInfo()


def _media(message: Message, *, seen_once: bool) -> Media | None:
    name = media_field(message)
    if not name:
        return None
    part = getattr(message, name)
    kind = "voice" if name == "audioMessage" and part.PTT else _MEDIA[name]
    return Media(
        kind=kind,
        mime=part.mimetype.split(";")[0].strip(),
        size=part.fileLength,
        name=part.fileName if name == "documentMessage" else "",
        seen_once=seen_once or bool(getattr(part, "viewOnce", False)),
    )


def is_key_only(message: Message) -> bool:
    """Whether it brings nothing but a key: the message itself comes right after, with the same id."""
    names = {descriptor.name for descriptor, _ in message.ListFields()}
    return bool(names) and names <= {*_KEYS, "messageContextInfo"} and not names.isdisjoint(_KEYS)


def media_field(message: Message) -> str:
    """The name of the part that is a file; empty if there is none."""
    return next((name for name in _MEDIA if message.HasField(name)), "")  # pyright: ignore[reportArgumentType]


def text_of(message: Message) -> str:
    """A message in words: what is written in it, or a line that says what it is. Empty if it says nothing."""
    if message.conversation:
        return message.conversation
    for descriptor, part in message.ListFields():
        if descriptor.name not in _SILENT:
            return _words(descriptor.name, part)
    return ""


def _words(name: str, part: Any) -> str:  # noqa: ANN401, C901  # one case a kind
    match name:
        case "extendedTextMessage":
            return part.text
        case "imageMessage" | "videoMessage" | "ptvMessage" | "documentMessage":
            return part.caption
        case "audioMessage" | "stickerMessage":
            return ""
        case "contactMessage":
            return _contact(part)
        case "contactsArrayMessage":
            return "\n".join(_contact(contact) for contact in part.contacts)
        case "locationMessage" | "liveLocationMessage":
            return _location(part)
        case name if name in _POLLS:
            return f"[poll: {part.name} — {' / '.join(option.optionName for option in part.options)}]"
        case "eventMessage":
            return f"[event: {part.name}{f' — {part.description}' if part.description else ''}]"
        case "groupInviteMessage":
            return f"[invitation to the group {part.groupName}]"
        case "listResponseMessage" | "buttonsResponseMessage" | "templateButtonReplyMessage":
            return getattr(part, "title", "") or getattr(part, "selectedDisplayText", "") or "[a choice]"
        case "commentMessage":
            return text_of(part.message)
        case "callLogMesssage":
            return "[a call]"
        case _:
            return f"[a message of a kind that cannot be shown here: {name.removesuffix('Message')}]"


def _contact(part: Any) -> str:  # noqa: ANN401
    numbers = [
        line.rpartition(":")[2].strip() for line in part.vcard.splitlines() if "TEL" in line.partition(":")[0].upper()
    ]
    return f"[contact: {' '.join([part.displayName, *numbers]).strip()}]"


def _location(part: Any) -> str:  # noqa: ANN401
    words = [getattr(part, name, "") for name in ("name", "address", "caption", "URL")]
    place = ", ".join(word for word in words if word)
    return f"[location: {place + ', ' if place else ''}{part.degreesLatitude:.5f}, {part.degreesLongitude:.5f}]"
