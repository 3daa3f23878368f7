"""A WhatsApp channel on the fake server, linked, with somebody who keeps what it hands over."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio

from nanoclaw.channels.base import ChannelState, Outbound, OutboundFile, Receive
from nanoclaw.channels.whatsapp.channel import WhatsAppChannel
from nanoclaw.channels.whatsapp.linking import Chats, Code, Linked, login_whatsapp
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, Settings, WhatsAppSettings
from nanoclaw.model import Inbound, InboundMessage, InboundReceipt, Jid
from tests.fakes.whatsapp import PATIENCE, Account, Device, FakeWhatsApp

T = TypeVar("T", bound=Inbound)

QUICK = WhatsAppSettings(enabled=True, pace_seconds=0.0, per_chat_minute=10_000, media_megabytes=1)


class Rig:
    """One installation's WhatsApp: what came in is in `inbound`, in order."""

    def __init__(self, wa: FakeWhatsApp, home: Home, settings: Settings) -> None:
        self.wa = wa
        self.home = home
        self.settings = settings
        self.inbound: list[Inbound] = []
        self.news = anyio.Event()
        self.also: Receive | None = None
        self.followed: set[Jid] = set()
        self._known: set[tuple[str, str, str]] = set()
        self.channel = self.make()

    def make(self, **changes: Any) -> WhatsAppChannel:  # noqa: ANN401
        """A channel on this home, as a host makes it at each start."""
        self.channel = WhatsAppChannel(self.home, self.settings, SystemClock(), command=self.wa.launcher, **changes)
        self.channel.follow(self.followed)
        return self.channel

    def follow(self, *chats: str) -> None:
        """Register these chats."""
        self.followed |= {Jid(chat) for chat in chats}
        self.channel.follow(self.followed)

    async def receive(self, inbound: Inbound) -> None:
        """Intake."""
        if self.also:
            await self.also(inbound)
        if isinstance(inbound, InboundMessage):
            identity = (inbound.chat, inbound.sender, inbound.ext_id)
            if identity in self._known:
                return  # as intake does
            self._known.add(identity)
        self.inbound.append(inbound)
        self.news.set()
        self.news = anyio.Event()

    def of(self, kind: type[T], **fields: object) -> list[T]:
        """What came in of this kind, with these fields."""
        found = [one for one in self.inbound if isinstance(one, kind)]
        return [one for one in found if all(getattr(one, name) == value for name, value in fields.items())]

    def texts(self) -> list[str]:
        """The messages' texts."""
        return [message.text for message in self.of(InboundMessage)]

    async def next(self, kind: type[T], **fields: object) -> T:
        """Wait for something of this kind with these fields."""
        with anyio.fail_after(PATIENCE):
            while not (found := self.of(kind, **fields)):
                await self.news.wait()
        return found[-1]

    async def until(self, wanted: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until this is so of what came in."""
        with anyio.fail_after(seconds):
            while not wanted():
                await self.news.wait()

    async def state(self, *wanted: str, seconds: float = PATIENCE) -> ChannelState:
        """Wait until the channel's state is one of these."""
        with anyio.fail_after(seconds):
            while True:
                seen = self.channel.changed.count
                if self.channel.state().state in wanted:
                    return self.channel.state()
                await self.channel.changed.after(seen)

    async def send(self, chat: str, text: str, key: str, path: Path | None = None, mime: str = "") -> str:
        """Send; answers the platform's id."""
        file = path and OutboundFile(path=path, name=path.name, mime=mime)
        receipt = await self.channel.send(Jid(chat), Outbound(key=key, text=text, file=file))
        return receipt.platform_id

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[None]:
        """Connected, as a running host is."""
        async with self.channel.connect(self.receive):
            await self.state("connected")
            yield


async def link(wa: FakeWhatsApp, home: Home, settings: Settings, account: Account) -> Device:
    """Link a home to an account by QR."""
    device: Device | None = None
    linked = False
    chats: Chats | None = None
    async for event in login_whatsapp(home, settings, command=wa.launcher):
        match event:
            case Code() if device is None:
                device = await wa.scan(event.text, account)
            case Linked():
                linked = True
            case Chats():
                chats = event
            case _:
                pass
    assert chats is not None
    assert linked
    assert device is not None
    return device


@asynccontextmanager
async def a_rig(
    wa: FakeWhatsApp,
    directory: Path,
    account: Account,
    follow: Iterable[str] = (),
    **whatsapp: Any,  # noqa: ANN401
) -> AsyncGenerator[tuple[Rig, Device]]:
    """Linked and connected, following these chats."""
    settings = Settings(whatsapp=replace(QUICK, **whatsapp))
    home = Home(directory)
    device = await link(wa, home, settings, account)
    rig = Rig(wa, home, settings)
    rig.follow(*follow)
    async with rig.connected():
        yield rig, device


def receipts(rig: Rig, key: str) -> list[InboundReceipt]:
    """What was told of a message of ours."""
    return rig.of(InboundReceipt, key=key)
