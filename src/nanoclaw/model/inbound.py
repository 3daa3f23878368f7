"""What a channel hands to intake: somebody else's words, not stored yet."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from nanoclaw.model.message import MediaKind, Quote
from nanoclaw.model.names import Jid


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A file that came with a message, as its channel has it: somebody else's words and bytes."""

    kind: MediaKind
    mime: str
    size: int
    """In bytes; what the sender claimed, for one that was not fetched."""
    original_name: str = ""
    """As the sender called it; empty for what has no name."""
    source: Path | None = None
    """Where the channel keeps it until intake has stored the message; None: it was not fetched."""
    sha256: str = ""
    problem: str = ""
    """Why it was not fetched, for the agent and the person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundMessage:
    """What a channel hands to intake. Unique by (account, chat, sender, ext_id)."""

    channel: str
    account: str
    chat: Jid
    chat_name: str
    sender: str
    """One person has one address here, whichever of theirs the platform used."""
    sender_name: str
    ext_id: str
    text: str
    """A caption, for one with attachments."""
    sent_at: datetime
    attachments: tuple[Attachment, ...] = ()
    quote: Quote | None = None
    addressed: bool = False
    """Whether it mentions the assistant by the platform's own means, or answers something that it said."""
    from_owner: bool = False
    """Whether the account's own user wrote it, on another of their devices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundEdit:
    """The text of an earlier message is another now."""

    account: str
    chat: Jid
    sender: str
    ext_id: str
    """Of the message that was edited."""
    text: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundDeletion:
    """An earlier message was taken back, by its sender or by an administrator of the chat."""

    account: str
    chat: Jid
    sender: str
    """Of the message that was deleted."""
    ext_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundReaction:
    """Somebody put an emoji on a message, or took it away."""

    account: str
    chat: Jid
    sender: str
    sender_name: str
    target_sender: str
    """Empty: the assistant."""
    target_ext_id: str
    emoji: str
    """Empty: taken away."""
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """Somebody in a chat."""

    address: str
    name: str
    admin: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundChat:
    """A chat exists, has this name and these members."""

    channel: str
    chat: Jid
    name: str
    is_group: bool
    members: tuple[Member, ...] | None = None
    """None: not known."""
    active_at: datetime | None = None
    """When something was said there, if that is why it is told."""


ReceiptState = Literal["server", "device", "read"]
"""How far a reply has come: the platform has it, somebody's device has it, somebody has read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundReceipt:
    """How far something that we sent has come."""

    chat: Jid
    platform_id: str
    state: ReceiptState
    at: datetime
    key: str | None = None
    """Of a send whose outcome was unknown, where this receipt tells that it is the one."""


Inbound = InboundMessage | InboundEdit | InboundDeletion | InboundReaction | InboundChat | InboundReceipt
"""Everything that a channel hands to intake; only a message can wake an agent."""
