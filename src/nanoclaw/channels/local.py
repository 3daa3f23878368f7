"""The built-in chat: messages come through the control socket, replies are read there.

It has no platform outside, so a reply is delivered by the very transaction that marks it `sent`: who reads this chat
reads the outbox. That makes delivery exact whatever crashes when.
"""

from collections.abc import AsyncGenerator, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from mimetypes import guess_type
from pathlib import Path
from typing import Final
from uuid import uuid4

from nanoclaw.channels.base import ChannelState, MessageRef, Outbound, Receipt, Receive
from nanoclaw.clock import Clock
from nanoclaw.errors import ChannelUnavailable
from nanoclaw.model import Attachment, InboundMessage, Jid, MediaKind
from nanoclaw.pulse import Pulse

PREFIX: Final = "local:"
MAX_FILE_BYTES: Final = 25 << 20
"""Of a file that somebody sends here."""

_KINDS: Final[dict[str, MediaKind]] = {"image": "image", "audio": "audio", "video": "video"}


def local_message(
    chat: Jid,
    sender: str,
    text: str,
    clock: Clock,
    ext_id: str | None = None,
    attachments: tuple[Attachment, ...] = (),
) -> InboundMessage:
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
        attachments=attachments,
    )


def local_file(path: Path, name: str) -> Attachment:
    """A file that somebody sends here; what it is, its name tells."""
    mime = guess_type(name)[0] or "application/octet-stream"
    kind = _KINDS.get(mime.partition("/")[0], "document")
    return Attachment(kind=kind, mime=mime, size=path.stat().st_size, original_name=name, source=path)


class LocalChannel:
    """See the module."""

    name = "local"
    title = "local"
    repeatable = True
    text_limit = 65_536
    send_seconds = 60.0

    def __init__(self) -> None:
        self.changed = Pulse()
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
        self.changed.fire()
        try:
            yield
        finally:
            self._receive = None
            self.changed.fire()

    async def submit(self, message: InboundMessage) -> None:
        """Somebody typed this; returns once it is stored.

        Raises:
            ChannelUnavailable: the host is starting or stopping.
        """
        if self._receive is None:
            raise ChannelUnavailable("the local chat is closed", "start the host")
        await self._receive(message)

    def state(self) -> ChannelState:
        """`open` while the host runs, else `closed`."""
        is_open = self._receive is not None
        return ChannelState(state="open" if is_open else "closed", connected=is_open)

    def follow(self, chats: Set[Jid]) -> None:
        """Nothing comes from a chat that is not registered: the control socket refuses it."""

    def formatted(self, text: str) -> str:
        """Who reads this chat reads Markdown."""
        return text

    async def send(self, chat: Jid, message: Outbound) -> Receipt:
        """See `Channel.send`; the reply shows once the outbox says `sent`."""
        if self._receive is None:
            raise ChannelUnavailable("the local chat is closed", "start the host")
        return Receipt(platform_id=message.key)

    async def set_typing(self, chat: Jid, typing: bool) -> None:
        """See `Channel.set_typing`."""
        self.typing = self.typing | {chat} if typing else self.typing - {chat}
        self.typing_changed.fire()

    async def react(self, chat: Jid, to: MessageRef, emoji: str) -> None:
        """There is nowhere to show it."""

    async def refresh(self) -> None:
        """There is nobody to ask: these chats are the registered ones."""
