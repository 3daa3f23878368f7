"""The contract of `channels.base.Channel`, for every channel there is. A rig plays the platform behind it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import anyio
import pytest

from nanoclaw.channels.base import Channel, MessageRef, Outbound, OutboundFile
from nanoclaw.channels.local import LocalChannel, local_message
from nanoclaw.channels.whatsapp.channel import WhatsAppChannel
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, Settings
from nanoclaw.errors import ChannelUnavailable, StoreError
from nanoclaw.model import Inbound, InboundMessage, Jid
from tests.fakes.whatsapp import FakeWhatsApp, Group, HeardMessage, Peer
from tests.integration.whatsapp_rig import QUICK, link

pytestmark = pytest.mark.anyio

_SECONDS = 60.0  # until a test is given up


class Rig(Protocol):
    """A channel that is not connected yet, a chat that it follows, and the platform."""

    channel: Channel
    chat: Jid

    async def say(self, text: str) -> None:
        """Somebody writes in the chat."""
        ...

    async def send(self, message: Outbound) -> str:
        """Let the channel send; answers the platform's id."""
        ...

    async def arrived(self) -> list[tuple[str, bytes | None]]:
        """What people see of it: text, and the content of a file."""
        ...


class LocalRig:
    """Who reads this chat reads what was sent, by its key."""

    chat = Jid("local:family")

    def __init__(self) -> None:
        self._local = LocalChannel()
        self.channel: Channel = self._local
        self._shown: dict[str, tuple[str, bytes | None]] = {}

    async def say(self, text: str) -> None:
        message = local_message(self.chat, "Bob", text, SystemClock())
        while True:  # as the command line does
            try:
                return await self._local.submit(message)
            except StoreError:
                continue

    async def send(self, message: Outbound) -> str:
        receipt = await self.channel.send(self.chat, message)
        self._shown[receipt.platform_id] = (message.text, message.file.path.read_bytes() if message.file else None)
        return receipt.platform_id

    async def arrived(self) -> list[tuple[str, bytes | None]]:
        return list(self._shown.values())


class WhatsAppRig:
    """A group of Bob and the account, on the fake server. The worker remembers keys: each rig has its own."""

    def __init__(self, wa: FakeWhatsApp, home: Home, bob: Peer, group: Group) -> None:
        self.chat = Jid(group.jid)
        self.channel: Channel = WhatsAppChannel(home, Settings(whatsapp=QUICK), SystemClock(), command=wa.launcher)
        self._wa = wa
        self._bob = bob
        self._sent: list[str] = []
        self._name = uuid4().hex

    async def say(self, text: str) -> None:
        await self._bob.send_text(self.chat, text)

    async def send(self, message: Outbound) -> str:
        receipt = await self.channel.send(self.chat, replace(message, key=f"{self._name}/{message.key}"))
        self._sent.append(receipt.platform_id)
        return receipt.platform_id

    async def arrived(self) -> list[tuple[str, bytes | None]]:
        heard: list[HeardMessage] = []
        for ext_id in dict.fromkeys(self._sent):
            await self._wa.until(lambda wanted=ext_id: bool(self._heard(wanted)), "Bob hears what was sent")
            heard += self._heard(ext_id)
        return [(message.text, await self._bob.download(message) if message.size else None) for message in heard]

    def _heard(self, ext_id: str) -> list[HeardMessage]:
        """A key comes with the same id as the first message that needs it."""
        return [message for message in self._bob.heard if message.id == ext_id and message.kind != "other"]


MakeRig = Callable[[], Rig]


@asynccontextmanager
async def local(_directory: Path) -> AsyncGenerator[MakeRig]:
    yield LocalRig


@asynccontextmanager
async def whatsapp(directory: Path) -> AsyncGenerator[MakeRig]:
    async with FakeWhatsApp(directory / "wa") as wa:
        bob, andy = await wa.peer(wa.account("15550002", "Bob")), wa.account("15550001", "Andy")
        group, home = wa.create_group("Family", by=bob.account, members=[andy]), Home(directory / "home")
        await link(wa, home, Settings(whatsapp=QUICK), andy)
        yield lambda: WhatsAppRig(wa, home, bob, group)


PLATFORMS: dict[str, Callable[[Path], AbstractAsyncContextManager[MakeRig]]] = {"local": local, "whatsapp": whatsapp}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the file: a platform's server lives in it."""
    return "asyncio"


@pytest.fixture(scope="module", params=PLATFORMS)
async def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[MakeRig]:
    async with PLATFORMS[request.param](tmp_path_factory.mktemp("platform")) as make:
        yield make


@pytest.fixture
def rig(platform: MakeRig) -> Rig:
    return platform()


class Taken:
    """Plays intake; `failures` messages are refused before one is taken."""

    def __init__(self, failures: int = 0) -> None:
        self._failures = failures
        self._some = anyio.Event()
        self.messages: list[InboundMessage] = []

    async def receive(self, inbound: Inbound) -> None:
        if not isinstance(inbound, InboundMessage):
            return
        if self._failures:
            self._failures -= 1
            raise StoreError("the disk is full")
        self.messages.append(inbound)
        self._some.set()

    async def first(self) -> InboundMessage:
        await self._some.wait()
        return self.messages[0]


@asynccontextmanager
async def connected(rig: Rig, taken: Taken | None = None) -> AsyncGenerator[None]:
    """The channel at work."""
    rig.channel.follow({rig.chat})
    with anyio.fail_after(_SECONDS):
        async with rig.channel.connect((taken or Taken()).receive):
            while not rig.channel.state().connected:
                seen = rig.channel.changed.count
                if not rig.channel.state().connected:
                    await rig.channel.changed.after(seen)
            yield


def a_reference(message: InboundMessage) -> MessageRef:
    return MessageRef(sender=message.sender, ext_id=message.ext_id, text=message.text)


async def test_a_channel_owns_its_chats_and_no_others(rig: Rig) -> None:
    assert rig.channel.owns(rig.chat)
    assert not rig.channel.owns(Jid("nowhere:x"))


async def test_nothing_can_be_sent_before_and_after(rig: Rig) -> None:
    for _ in range(2):
        assert not rig.channel.state().connected
        with pytest.raises(ChannelUnavailable):
            await rig.channel.send(rig.chat, Outbound(key="early/1", text="hello"))
        await rig.channel.set_typing(rig.chat, True)
        await rig.channel.react(rig.chat, MessageRef(sender="x", ext_id="1", text=""), "👍")
        async with connected(rig):
            assert rig.channel.state().connected
    assert await rig.arrived() == []


async def test_what_somebody_writes_is_handed_over_with_all_that_names_it(rig: Rig) -> None:
    taken = Taken()
    async with connected(rig, taken):
        await rig.say("hello")
        message = await taken.first()
    assert (message.channel, message.chat, message.text) == (rig.channel.name, rig.chat, "hello")
    assert message.account
    assert message.sender
    assert message.sender_name
    assert message.ext_id
    assert not message.from_owner


async def test_what_could_not_be_stored_is_handed_over_again(rig: Rig) -> None:
    taken = Taken(failures=2)
    async with connected(rig, taken):
        await rig.say("hello")
        message = await taken.first()
    assert message.text == "hello"


async def test_what_is_sent_arrives_once_however_often_its_key_is_tried(rig: Rig) -> None:
    async with connected(rig):
        message = Outbound(key="run-1/1", text="hello")
        first = await rig.send(message)
        if rig.channel.repeatable:
            assert await rig.send(message) == first
        second = await rig.send(Outbound(key="run-1/2", text="again"))
        assert first != second
        assert await rig.arrived() == [("hello", None), ("again", None)]


async def test_a_text_of_the_greatest_length_goes_as_one_message(rig: Rig) -> None:
    text = "x" * rig.channel.text_limit
    async with connected(rig):
        await rig.send(Outbound(key="k/1", text=text))
        assert await rig.arrived() == [(text, None)]


async def test_a_file_arrives_with_its_caption(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(b"%PDF-1.7 report")
    file = OutboundFile(path=path, name="report.pdf", mime="application/pdf")
    async with connected(rig):
        await rig.send(Outbound(key="k/1", text="here", file=file))
        assert await rig.arrived() == [("here", b"%PDF-1.7 report")]


async def test_an_answer_is_sent_with_what_it_answers(rig: Rig) -> None:
    taken = Taken()
    async with connected(rig, taken):
        await rig.say("how are you?")
        asked = a_reference(await taken.first())
        await rig.channel.set_typing(rig.chat, True)
        await rig.send(Outbound(key="k/1", text="fine", answers=asked))
        await rig.channel.set_typing(rig.chat, False)
        await rig.channel.react(rig.chat, asked, "👍")
        await rig.channel.react(rig.chat, replace(asked, text=""), "")
        assert await rig.arrived() == [("fine", None)]


async def test_a_platform_can_be_asked_for_its_chats(rig: Rig) -> None:
    async with connected(rig):
        await rig.channel.refresh()


@pytest.mark.parametrize("text", ["hello", "", "**bold** _it_ `x < 1`", "```py\nx = 1\n```", "<&>\n\n- a\n- b"])
async def test_formatting_says_the_same_each_time(rig: Rig, text: str) -> None:
    assert rig.channel.formatted(text) == rig.channel.formatted(text)
    assert bool(rig.channel.formatted(text)) == bool(text)
