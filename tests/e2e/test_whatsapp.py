"""A whole installation in WhatsApp: linked by QR, spoken to in a group, with the real CLIs on scripted models and the
unmodified WhatsApp library on the fake server."""

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing

import anyio
import anyio.to_thread
import pytest

from nanoclaw import channels
from nanoclaw.channels.base import Channel
from nanoclaw.channels.whatsapp.channel import WhatsAppChannel
from nanoclaw.client import Client
from nanoclaw.clock import Clock, SystemClock, iso
from nanoclaw.config import Home, Settings, load_settings
from nanoclaw.firstfiles import make_group_directory
from nanoclaw.groups import Entries, change_groups, new_entry
from nanoclaw.selftest import echo
from nanoclaw.store.database import connect
from nanoclaw.testing.models import Conversation, Script, Step, say, shell, steps
from nanoclaw.testing.world import World, make_world
from tests.fakes.whatsapp import Device, FakeWhatsApp, Group, Peer
from tests.integration.whatsapp_rig import link

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_KEY = "sk-test-0123456789"
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
_SETTINGS = "[whatsapp]\nenabled = true\npace_seconds = 0.0\n"
_ANSWER_SECONDS = 90.0  # a run takes less than a second; a busy machine takes its time


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the file, in which the server lives."""
    return "asyncio"


@pytest.fixture(scope="module")
async def wa(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FakeWhatsApp]:
    async with FakeWhatsApp(tmp_path_factory.mktemp("whatsapp")) as server:
        yield server


@pytest.fixture(scope="module")
async def bob(wa: FakeWhatsApp) -> Peer:
    return await wa.peer(wa.account("15550002", "Bob"))


@asynccontextmanager
async def living(wa: FakeWhatsApp, script: Script, phone: str, more: str = "") -> AsyncGenerator[tuple[World, Device]]:
    """A home that is linked to an account of its own; hosts on it find the fake server."""

    def make(home: Home, settings: Settings, clock: Clock) -> Channel:
        return WhatsAppChannel(home, settings, clock, command=wa.launcher)

    usual = channels.CHANNELS["whatsapp"]
    channels.CHANNELS["whatsapp"] = make
    try:
        with make_world(script, script, engine="bubblewrap") as world:
            with world.home.settings.open("a", encoding="utf-8") as file:
                file.write(_SETTINGS + more)
            world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
            device = await link(wa, world.home, load_settings(world.home), wa.account(phone, "Andy"))
            yield world, device
    finally:
        channels.CHANNELS["whatsapp"] = usual


def register(world: World, jid: str, folder: str, **fields: object) -> None:
    """As `nanoclaw groups add` does."""

    def change(entries: Entries) -> None:
        for old in [each for each, entry in entries.items() if entry["folder"] == folder]:
            del entries[old]
        entries[jid] = {**new_entry(folder.title(), folder, "@Andy", iso(SystemClock().now())), **fields}

    change_groups(world.home.registered_groups, change)
    make_group_directory(world.home, folder)


@asynccontextmanager
async def hosting(world: World) -> AsyncGenerator[Client]:
    """A host that is connected to WhatsApp."""
    async with world.hosting() as client:
        with anyio.fail_after(_ANSWER_SECONDS):
            while not any(each["connected"] and each["name"] == "whatsapp" for each in await _channels(client)):  # noqa: ASYNC110
                await anyio.sleep(0.05)
        yield client


async def _channels(client: Client) -> list[dict[str, object]]:
    return (await client.get("/v1/status"))["channels"]


def answers_of(wa: FakeWhatsApp, device: Device) -> int:
    """How many messages it sent, reactions aside."""
    return len([message for message in wa.sent_by(device) if message.type == "text"])


def answer(conversation: Conversation) -> str:
    return f"**{conversation.messages[-1].removeprefix('@Andy ')}**"


async def test_codex_and_claude_answer_in_their_groups(wa: FakeWhatsApp, bob: Peer) -> None:
    async with living(wa, say(answer), "15550011") as (world, device):
        groups: dict[str, Group] = {}
        for provider in ("codex", "claude"):
            groups[provider] = await bob.create_group(provider, [device.account])
            register(world, groups[provider].jid, provider, provider=provider)
        async with hosting(world):
            for provider, group in groups.items():
                await bob.send_text(group, "not for you")
                asked = await bob.send_text(group, f"@Andy hello {provider}")
                heard = await bob.next_message(text=f"*hello {provider}*", within=_ANSWER_SECONDS)
                assert (heard.chat, heard.quoted_id) in ((group.jid, asked), (group.jid, ""))
        assert answers_of(wa, device) == 2


async def test_media_goes_both_ways(wa: FakeWhatsApp, bob: Peer) -> None:
    script = steps(
        shell("cp /workspace/media/* /workspace/group/copy.png && nanoclaw-ipc send --file copy.png 2>&1; true"),
        say("sent"),
    )
    async with living(wa, script, "15550012") as (world, device):
        group = await bob.create_group("pictures", [device.account])
        register(world, group.jid, "pictures", provider="codex")
        async with hosting(world):
            await bob.send_image(group, _PNG, caption="@Andy send it back")
            await bob.next_message(text="sent", within=_ANSWER_SECONDS)
            back = await bob.next_message(kind="image", within=_ANSWER_SECONDS)
            assert await bob.download(back) == _PNG
            kept = list(world.home.media("pictures").iterdir())  # pyright: ignore[reportArgumentType]
            assert [path.read_bytes() for path in kept] == [_PNG]
        assert "image" in world.openai.conversations[0].prompt


async def test_on_a_shared_number_it_says_its_name_and_never_answers_itself(wa: FakeWhatsApp) -> None:
    async with living(wa, say(echo), "15550013", "shared_number = true\n") as (world, device):
        phone = await wa.peer(device.account)
        register(world, device.account.pn, "main", provider="codex")
        async with hosting(world):
            await phone.send_text(device.account, "remember the milk")
            heard = await phone.next_message(text=lambda text: text.startswith("*Andy:*"), within=_ANSWER_SECONDS)
            assert "remember the milk" in heard.text
            await phone.send_text(device.account, "and the bread")
            await phone.next_message(
                text=lambda text: "and the bread" in text and "Andy" in text, within=_ANSWER_SECONDS
            )
        assert answers_of(wa, device) == 2


class Gate:
    """An agent that thinks until it is opened."""

    def __init__(self) -> None:
        self.thinking = threading.Event()
        self.open = threading.Event()

    def __call__(self, conversation: Conversation) -> Step:
        self.thinking.set()
        self.open.wait(60)
        return say(echo(conversation))


async def test_a_waiting_message_is_amended_by_its_edit_and_withdrawn_by_its_deletion(
    wa: FakeWhatsApp, bob: Peer
) -> None:
    gate = Gate()
    async with living(wa, gate, "15550014") as (world, device):
        group = await bob.create_group("changes", [device.account])
        register(world, group.jid, "changes", provider="codex")
        async with hosting(world):
            await bob.send_text(group, "@Andy think")
            assert await anyio.to_thread.run_sync(gate.thinking.wait, 60)
            first = await bob.send_text(group, "@Andy first")
            await bob.edit(group, first, "@Andy corrected")
            second = await bob.send_text(group, "@Andy forget this")
            await bob.revoke(group, second)
            last = await bob.send_text(group, "that is all")
            await wa.until(lambda: "read" in [each.type for each in wa.message(last).receipts], "all is stored")
            gate.open.set()
            await bob.next_message(text=lambda text: "corrected" in text, within=_ANSWER_SECONDS)
        shown = world.openai.conversations[-1].prompt.rpartition("<messages>")[2]
        assert "@Andy corrected" in shown
        assert "first" not in shown
        assert "forget this" not in shown


async def test_a_person_at_two_devices_is_one_person_and_who_holds_the_accounts_own_phone_is_heard_as_its_owner(
    wa: FakeWhatsApp, bob: Peer
) -> None:
    async with living(wa, say(echo), "15550016") as (world, device):
        desktop, phone = await wa.peer(bob.account), await wa.peer(device.account)
        group = await bob.create_group("devices", [device.account])
        register(world, group.jid, "devices", provider="codex")
        async with hosting(world):
            for number, peer in enumerate((bob, desktop, phone), 1):
                await peer.send_text(group, "not for the assistant")
                await peer.send_text(group, f"@Andy number {number}")
                for reader in (bob, desktop, phone):
                    await reader.next_message(
                        text=lambda text, wanted=f"number {number}": text.startswith("You said:") and wanted in text,
                        within=_ANSWER_SECONDS,
                    )
        assert answers_of(wa, device) == 3
        with closing(connect(world.home.database, SystemClock().now())) as db:
            senders = [row["sender"] for row in db.execute("SELECT sender FROM message ORDER BY seq")]
        assert senders == [bob.account.pn] * 4 + [device.account.pn] * 2
