"""The built-in chat: messages come through the control socket, replies are read there.

It has no platform outside, so a reply is delivered by the very transaction that marks it `sent`: who reads this chat
reads the outbox. That makes delivery exact whatever crashes when.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

from nanoclaw.channels.base import Receipt, Receive
from nanoclaw.clock import Clock, SystemClock
from nanoclaw.errors import ChannelUnavailable
from nanoclaw.model import InboundMessage, Jid
from nanoclaw.pulse import Pulse

PREFIX = "local:"


def local_message(chat: Jid, sender: str, text: str, clock: Clock, ext_id: str | None = None) -> InboundMessage:
    """A message as somebody types it here. `ext_id` makes a repetition recognisable; without one it is new."""
    return InboundMessage(
        channel="local",
        account="local",
        chat=chat,
        chat_name=chat.removeprefix(PREFIX),
        sender=f"{PREFIX}{sender}",
        sender_name=sender,
        ext_id=ext_id or uuid4().hex,
        text=text,
        sent_at=clock.now(),
    )


class LocalChannel:
    """See the module."""

    name = "local"
    title = "local"
    repeatable = True

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._receive: Receive | None = None
        self.typing: frozenset[Jid] = frozenset()
        self.typing_changed = Pulse()

    def owns(self, chat: Jid) -> bool:
        """Every address that begins with `local:`."""
        return chat.startswith(PREFIX)

    def connect(self, receive: Receive) -> AbstractAsyncContextManager[None]:
        """There is nothing to connect to; `submit` works while the context lasts."""
        return self._connected(receive)

    @asynccontextmanager
    async def _connected(self, receive: Receive) -> AsyncGenerator[None]:
        self._receive = receive
        try:
            yield
        finally:
            self._receive = None

    async def submit(self, message: InboundMessage) -> None:
        """Somebody typed this; returns once it is stored.

        Raises:
            ChannelUnavailable: the host is starting or stopping.
        """
        if self._receive is None:
            raise ChannelUnavailable("the local chat is closed", "start the host")
        await self._receive(message)

    async def send(self, chat: Jid, text: str, key: str) -> Receipt:
        """See `Channel.send`; the reply shows once the outbox says `sent`."""
        if self._receive is None:
            raise ChannelUnavailable("the local chat is closed", "start the host")
        return Receipt(platform_id=key)

    async def set_typing(self, chat: Jid, typing: bool) -> None:
        """See `Channel.set_typing`."""
        self.typing = self.typing | {chat} if typing else self.typing - {chat}
        self.typing_changed.fire()
