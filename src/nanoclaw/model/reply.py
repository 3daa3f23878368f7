"""What goes out to a chat."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from nanoclaw.model.names import Jid, RunId, Seq


class OutboxState(StrEnum):
    """Where a reply stands."""

    READY = "ready"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"


OutboxKind = Literal["reply", "message", "notice"]
"""A run's final answer; what an agent sent through its mailbox; what the host has to say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingFile:
    """A file that an agent sends: the host's own copy of it."""

    file: str
    """Its path below `data/outgoing/`."""
    name: str
    """As people are shown it."""
    mime: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxItem:
    """A reply on its way, or what became of it. `key` is unique for ever: the same key is the same reply."""

    id: int
    key: str
    chat: Jid
    kind: OutboxKind
    text: str
    run_id: RunId | None
    state: OutboxState
    attempt: int
    created_at: datetime
    sent_at: datetime | None
    platform_id: str | None
    """Of its last part."""
    error: str | None
    files: tuple[OutgoingFile, ...] = ()
    answers: Seq | None = None
    """The message that it is to be shown as an answer to."""
