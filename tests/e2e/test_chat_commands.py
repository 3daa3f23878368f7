"""Commands that the host itself answers, on the local channel."""

import re
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from nanoclaw.errors import UsageError
from nanoclaw.testing.models import say, shell, steps
from nanoclaw.testing.world import World, make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]


async def told(world: World, client: object, folder: str, text: str) -> str:
    """What the chat says to one message."""
    (reply,) = await world.ask(client, folder, text)  # pyright: ignore[reportArgumentType]
    return reply["text"]


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    with anyio.fail_after(60):
        while not happened():  # noqa: ASYNC110 - it happens in a sandbox
            await anyio.sleep(0.05)


async def test_what_an_answer_came_of_and_cost_is_told(tmp_path: Path) -> None:
    with make_world(
        say("x"),
        steps(shell("echo hello"), say("There you are.")),
        engine="bubblewrap",
        directory=tmp_path,
        settings='timezone = "Europe/Berlin"\n',
    ) as world:
        world.secrets(ANTHROPIC_API_KEY="sk-ant-synthetic")
        async with world.hosting() as client:
            assert "I do not know that message" in await told(world, client, "main", "/why")
            assert await told(world, client, "main", "look around") == "There you are."
            why = await told(world, client, "main", "/why")
            for part in (
                "It came of what Bob wrote, received",
                "Run 1, with Claude Code",
                "echo hello",
                "tokens in",
                "sent ",
            ):
                assert part in why
            assert re.search(r"received \w{3} \d\d \w{3}, \d\d:\d\d:\d\d \(Europe/Berlin\)", why)
            status = await told(world, client, "main", "/status")
            assert "I think with Claude Code here, at the level auto." in status
            assert "I am waiting for a message." in status
            requests = len(world.anthropic.requests)
            assert await told(world, client, "main", "/retry") == "There is nothing that I have not answered."
            with pytest.raises(UsageError, match="nothing in main is unanswered"):
                await client.post("/v1/runs/retry", {"folder": "main"})
            assert "/stop" in await told(world, client, "main", "/help")
            assert "nothing" in await told(world, client, "main", "/tasks")
            task = {"type": "schedule_task", "prompt": "water", "schedule_type": "cron", "schedule_value": "0 9 * * 1"}
            await client.post("/v1/commands", task)
            listed = await told(world, client, "main", "/tasks")
            assert re.search(r"water; next Mon \d\d \w{3}, 09:00 \(Europe/Berlin\)", listed)
            assert len(world.anthropic.requests) == requests, "no model was asked"
            assert await told(world, client, "main", "and now?") == "There you are."
            asked = str(world.anthropic.requests[-1].body)
            assert "and now?" in asked
            assert ">/help<" not in asked, "agents are told nothing of commands"


@pytest.mark.timeout(300)
async def test_an_agent_is_stopped_at_once_and_its_message_is_not_answered_later(tmp_path: Path) -> None:
    with make_world(
        say("x"), steps(shell("touch begun; sleep 60"), say("late")), engine="bubblewrap", directory=tmp_path
    ) as world:
        world.secrets(ANTHROPIC_API_KEY="sk-ant-synthetic")
        async with world.hosting() as client:
            chat = "local:main"
            await client.post("/v1/messages", {"chat": chat, "sender": "Bob", "text": "take your time"})
            await until(lambda: (world.home.groups / "main" / "begun").exists())
            assert "at work for" in await told(world, client, "main", "/status")
            assert await told(world, client, "main", "/stop") == "Stopped."
            await until(lambda: not list(Path("/proc").glob("*/root/workspace/group/begun")))
            assert await told(world, client, "main", "/stop") == "I was not at work."
            (world.home.groups / "main" / "begun").unlink()
            await client.post("/v1/messages", {"chat": chat, "sender": "Bob", "text": "once more"})
            await until(lambda: (world.home.groups / "main" / "begun").exists())
            stopped = await client.post("/v1/runs/stop", {"run": 2})
            assert stopped == {"stopped": True, "forgotten": 0}
            await until(lambda: not list(Path("/proc").glob("*/root/workspace/group/begun")))
            assert "stopped" in await told(world, client, "main", "/status")
            assert (await client.get("/v1/status"))["waiting"] == 0


async def test_the_owner_changes_provider_and_level_and_a_member_does_not(tmp_path: Path) -> None:
    with make_world(say("Codex here."), say("Claude here."), engine="bubblewrap", directory=tmp_path) as world:
        world.secrets(ANTHROPIC_API_KEY="sk-ant-synthetic", OPENAI_API_KEY="sk-synthetic")
        world.register("family")
        async with world.hosting() as client:
            changed = await told(world, client, "main", "/provider codex")
            assert changed == "From the next message on OpenAI Codex thinks here, at the level auto."
            assert await told(world, client, "main", "who are you?") == "Codex here."
            assert "readonly" in await told(world, client, "main", "/level readonly")
            assert (
                await told(world, client, "main", "/level much")
                == "Write /level auto or /level readonly or /level full."
            )
            member = await client.post(
                "/v1/messages", {"chat": "local:family", "sender": "Eve", "text": "/provider codex"}
            )
            answer = await client.get("/v1/answers", 10, chat="local:family", seq=int(member["seq"]), wait=0)
            assert answer["state"] == "not_addressed"
            assert await told(world, client, "family", "@Andy who are you?") == "Claude here."
