"""The seam to a chat platform."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from nanoclaw.model import InboundMessage, Jid

Receive = Callable[[InboundMessage], Awaitable[None]]
"""Intake: returns once the message is stored for good; a second delivery of the same message is harmless."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The platform took it."""

    platform_id: str


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

    def owns(self, chat: Jid) -> bool:
        """Whether this address is one of this platform's."""
        ...

    def connect(self, receive: Receive) -> AbstractAsyncContextManager[None]:
        """Be connected for as long as the context lasts; hand every inbound message to `receive`."""
        ...

    async def send(self, chat: Jid, text: str, key: str) -> Receipt:
        """Send one reply. `key` is the same when the same reply is tried again.

        Raises:
            ChannelUnavailable: nothing was sent, later it may go.
            DeliveryRejected: it will never go.
            DeliveryUnknown: it may have been sent.
        """
        ...

    async def set_typing(self, chat: Jid, typing: bool) -> None:
        """Show or hide that the assistant is at work; never raises for a lost connection."""
        ...
