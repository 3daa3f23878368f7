"""What people write, as it is stored."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from nanoclaw.model.names import Jid, Seq

Standing = Literal["owner", "member", "stranger"]
"""Who somebody is to a group: one of the people who own the assistant; somebody in the chat; somebody whom the group's
sender policy does not name, who cannot wake the agent."""
MediaKind = Literal["image", "video", "audio", "voice", "document", "sticker"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """What a message answers."""

    ext_id: str
    sender: str
    sender_name: str
    text: str
    ours: bool
    """Whether the assistant had said it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaFile:
    """A file that came with a stored message."""

    kind: MediaKind
    mime: str
    size: int
    name: str
    """As the sender called it; empty for what has no name."""
    file: str = ""
    """Its name in the group's media directory; empty: it is not there."""
    sha256: str = ""
    problem: str = ""
    """Why it is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A stored message."""

    seq: Seq
    chat: Jid
    sender: str
    sender_name: str
    text: str
    sent_at: datetime
    received_at: datetime
    ext_id: str = ""
    standing: Standing = "member"
    quote: Quote | None = None
    files: tuple[MediaFile, ...] = ()
    edited_at: datetime | None = None


ChangeKind = Literal["edit", "deletion", "reaction"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What became of a message after an agent had been given it, or of one that the assistant wrote."""

    kind: ChangeKind
    actor_name: str
    standing: Standing
    text: str
    """The new text; the emoji of a reaction."""
    about: str
    """What the message said."""
    ours: bool
    """Whether the assistant had said it."""
    at: datetime
