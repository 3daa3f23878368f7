"""The seam to a chat platform."""

from collections.abc import Awaitable, Callable, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from nanoclaw.model import Inbound, Jid
from nanoclaw.pulse import Pulse

Receive = Callable[[Inbound], Awaitable[None]]
"""Intake: returns once it is stored for good; a second delivery of the same thing is harmless."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The platform took it."""

    platform_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageRef:
    """A message that others wrote in the chat, as the platform knows it."""

    sender: str
    ext_id: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundFile:
    """A file to send: the host's own copy, which no agent can change any more."""

    path: Path
    name: str
    mime: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outbound:
    """One message to send: text of at most `text_limit` characters in the platform's own formatting, or one file, with
    `text` as its caption."""

    key: str
    """The same when the same message is tried again."""
    text: str
    file: OutboundFile | None = None
    answers: MessageRef | None = None
    """To be shown as an answer to this, where the platform has such a thing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelState:
    """How a channel stands, for `status`, `doctor` and the log."""

    state: str
    """One word: `connected`, `connecting`, `logged_out`, …; each channel documents its own."""
    connected: bool
    problem: str = ""
    """What is wrong, for people; empty when nothing is."""
    hint: str = ""
    """What to do about it."""
    since: datetime | None = None
    """When this state began."""
    last_inbound: datetime | None = None
    account: str = ""
    """Who we are there."""
    facts: dict[str, str] = field(default_factory=dict[str, str])
    """More that may help, by name."""


class Channel(Protocol):
    """A chat platform. Knows nothing of groups, runs or the database.

    Before `connect` is entered and after it is left, `send` raises `ChannelUnavailable`.
    """

    name: str
    """As in the channel table, e.g. `local`."""
    title: str
    """As people and agents call it, e.g. `WhatsApp`."""
    repeatable: bool
    """Whether sending the same key again shows nothing twice. If not, what a crash interrupted is not repeated."""
    text_limit: int
    """Characters that one message can hold; a longer text is sent in parts."""
    send_seconds: float
    """`send` has answered by then, one way or the other, with the largest file on the slowest line; else it hangs, and
    nobody knows what became of the message."""

    @property
    def changed(self) -> Pulse:
        """Fires when `state` has changed."""
        ...

    def owns(self, chat: Jid) -> bool:
        """Whether this address is one of this platform's."""
        ...

    def connect(self, receive: Receive) -> AbstractAsyncContextManager[None]:
        """Be connected, or try to be, for as long as the context lasts; hand everything inbound to `receive`.

        Entering does not wait for a connection: what stands in its way is told by `state`.
        """
        ...

    def state(self) -> ChannelState:
        """How it stands now."""
        ...

    def follow(self, chats: Set[Jid]) -> None:
        """These chats are registered: of all others nothing but name and time is kept. Called at start, before
        `connect`, and at every change."""
        ...

    def formatted(self, text: str) -> str:
        """An agent's Markdown in the platform's own formatting. Pure."""
        ...

    async def send(self, chat: Jid, message: Outbound) -> Receipt:
        """Send one message.

        Raises:
            ChannelUnavailable: nothing was sent, later it may go.
            DeliveryRejected: it will never go.
            DeliveryUnknown: it may have been sent; an `InboundReceipt` with its key tells later, if anything does.
        """
        ...

    async def set_typing(self, chat: Jid, typing: bool) -> None:
        """Show or hide that the assistant is at work; never raises for a lost connection."""
        ...

    async def react(self, chat: Jid, to: MessageRef, emoji: str) -> None:
        """Put an emoji on a message, or take ours away with an empty one; never raises for a lost connection."""
        ...

    async def refresh(self) -> None:
        """Ask the platform anew which chats there are and who is in them; they come as `InboundChat`.

        Raises:
            ChannelUnavailable: it cannot be asked now.
        """
        ...
