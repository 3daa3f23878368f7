"""Commands that the host itself answers, and what a chat sees of a run, in WhatsApp."""

import re
from collections.abc import AsyncGenerator

import pytest

from nanoclaw.testing.models import say
from tests.e2e.test_whatsapp import hosting, living, register
from tests.fakes.whatsapp import FakeWhatsApp, Peer

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_SECONDS = 90.0  # a run takes less than a second; a busy machine takes its time


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


async def test_the_host_answers_commands_by_itself_and_marks_what_an_agent_answers(wa: FakeWhatsApp, bob: Peer) -> None:
    async with living(wa, say("There you are."), "15550021") as (world, device):
        group = await bob.create_group("family", [device.account])
        register(world, group.jid, "family", provider="codex")

        async def told(command: str) -> str:
            await bob.send_text(group, command)
            return (await bob.next_message(chat=group, kind="text", within=_SECONDS)).text

        async with hosting(world):
            asked = await bob.send_text(group, "@Andy look around")
            seen = await bob.next_message(kind="reaction", within=_SECONDS)
            assert (seen.target, seen.text) == (asked, "\N{EYES}")
            reply = await bob.next_message(text="There you are.", within=_SECONDS)
            done = await bob.next_message(kind="reaction", within=_SECONDS)
            assert (done.target, done.text) == (asked, "\N{WHITE HEAVY CHECK MARK}")
            await bob.reply(reply, "/why")
            why = (await bob.next_message(chat=group, kind="text", within=_SECONDS)).text
            assert "It came of what Bob wrote, received" in why
            assert re.search(r"Run 1, with OpenAI Codex.*tokens in.*sent ", why, re.DOTALL)
            requests = len(world.openai.requests)
            assert "I think with OpenAI Codex here" in await told("/status")
            assert "I was not at work." in await told("@Andy /stop")
            assert "nothing that I have not answered" in await told("/retry")
            assert "I do nothing here by myself" in await told("/tasks")
            assert "/provider" not in await told("/help"), "Bob is a member"
            assert len(world.openai.requests) == requests, "no model was asked"


async def test_an_owner_changes_level_and_provider_from_any_chat(wa: FakeWhatsApp, bob: Peer) -> None:
    async with living(wa, say("hello"), "15550022") as (world, device):
        settings = world.home.settings.read_text(encoding="utf-8")
        world.home.settings.write_text('owners = ["15550002"]\n' + settings, encoding="utf-8")
        group = await bob.create_group("family", [device.account])
        register(world, group.jid, "family")
        async with hosting(world):
            for command, answer in (("/level readonly", "at the level readonly"), ("/provider codex", "OpenAI Codex")):
                await bob.send_text(group, command)
                heard = await bob.next_message(chat=group, kind="text", within=_SECONDS)
                assert answer in heard.text
