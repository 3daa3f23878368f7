"""What people can rely on in a conversation: context, memory, levels, order, fairness, and an orderly stop."""

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from nanoclaw.cli.runs import run_json
from nanoclaw.client import Client
from nanoclaw.clock import SystemClock
from nanoclaw.config import load_settings
from nanoclaw.host import Host
from nanoclaw.selftest import echo
from nanoclaw.store import runs
from nanoclaw.store.database import connect
from nanoclaw.testing.models import Conversation, Script, Step, say, shell, steps
from nanoclaw.testing.world import World, make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_KEY = "sk-test-0123456789"
_PROVIDERS = ("codex", "claude")


@asynccontextmanager
async def talking(
    script: Script,
    provider: str = "codex",
    settings: str = "",
    **group: Any,  # noqa: ANN401
) -> AsyncGenerator[tuple[World, Client]]:
    """A host whose `main` thinks with `provider`, under bubblewrap."""
    with make_world(script, script, engine="bubblewrap", settings=settings) as world:
        world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
        world.register("main", provider=provider, **group)
        async with world.hosting() as client:
            yield world, client


async def texts(world: World, client: Client, folder: str, text: str) -> list[str]:
    return [reply["text"] for reply in await world.ask(client, folder, text)]


async def test_codex_is_shown_the_last_exchanges() -> None:
    async with talking(say(lambda conversation: conversation.prompt), "codex") as (world, client):
        world.openai.script = say("Your cat is called Tom.")
        await texts(world, client, "main", "my cat is called Tom")
        world.openai.script = say(echo)
        await texts(world, client, "main", "what is my cat called?")
        shown = world.openai.conversations[-1]
    assert "my cat is called Tom" in shown.prompt
    assert "Your cat is called Tom." in shown.prompt
    assert shown.messages == ("what is my cat called?",)


async def test_claude_goes_on_with_the_groups_session() -> None:
    async with talking(say(echo), "claude") as (world, client):
        await texts(world, client, "main", "my cat is called Tom")
        await texts(world, client, "main", "what is my cat called?")
        body = world.anthropic.requests[-1].body
    assert body is not None
    said = str(body["messages"])
    assert "my cat is called Tom" in said
    assert "You said: my cat is called Tom" in said


@pytest.mark.parametrize("provider", _PROVIDERS)
async def test_global_and_group_memory_reach_the_agent(provider: str) -> None:
    async with talking(say(echo), provider) as (world, client):
        (world.home.groups / "global" / "CLAUDE.md").write_text("The house rule is blue.", encoding="utf-8")
        (world.home.groups / "main" / "CLAUDE.md").write_text("The cat's name is Tom.", encoding="utf-8")
        await texts(world, client, "main", "hello")
        server = world.openai if provider == "codex" else world.anthropic
        shown = server.conversations[0].system + server.conversations[0].prompt
    assert "The house rule is blue." in shown
    assert "The cat's name is Tom." in shown


@pytest.mark.parametrize("provider", _PROVIDERS)
@pytest.mark.parametrize(("level", "outcome"), [("readonly", "refused"), ("auto", "written"), ("full", "written")])
async def test_the_level_decides_whether_the_groups_files_can_be_written(
    provider: str, level: str, outcome: str
) -> None:
    touch = "touch /workspace/group/note 2>/dev/null && echo written || echo refused"
    mail = """cd /workspace/ipc/messages && echo '{"type":"message","text":"by mail"}' > .x && mv .x x.json"""
    script = steps(shell(touch), shell(mail), say(lambda conversation: conversation.tool_outputs[0].split()[0]))
    async with talking(script, provider, providerConfig={provider: {"approvalPolicy": level}}) as (world, client):
        assert sorted(await texts(world, client, "main", "write")) == ["by mail", outcome]


@pytest.mark.parametrize("provider", _PROVIDERS)
async def test_an_agent_keeps_its_files_from_run_to_run(provider: str) -> None:
    async with talking(steps(shell("echo kept > note; cat note"), say("done")), provider) as (world, client):
        await texts(world, client, "main", "write")
        read = steps(shell("cat note"), say(lambda conversation: conversation.tool_outputs[-1].split()[0]))
        world.openai.script = world.anthropic.script = read
        assert await texts(world, client, "main", "read") == ["kept"]


async def test_typing_shows_while_a_run_works() -> None:
    async with talking(say(echo)) as (world, client):
        events = client.stream("/v1/events", chat="local:main")
        await anext(events)
        await texts(world, client, "main", "hello")
        with anyio.fail_after(10):
            seen = [await anext(events) for _ in range(3)]
        await events.aclose()
    assert [event["on"] for event in seen if event["type"] == "typing"] == [True, False]
    assert [event["text"] for event in seen if event["type"] == "reply"] == ["You said: hello"]


class Gate:
    """A model that answers only when it is let, and counts how many wait at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self._lock = threading.Lock()
        self.waiting = 0
        self.most = 0
        self.arrived = threading.Semaphore(0)

    def __call__(self, conversation: Conversation) -> Step:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        self.arrived.release()
        self.open.wait(60)
        with self._lock:
            self.waiting -= 1
        return say(echo(conversation))

    async def someone_waits(self) -> None:
        assert await anyio.to_thread.run_sync(self.arrived.acquire, True, 60)


async def test_groups_run_in_parallel_under_the_cap_and_each_strictly_serial() -> None:
    gate = Gate()
    async with talking(gate, settings="[runs]\nmax_concurrent = 2\n") as (world, client):
        folders = ["a", "b", "c", "d"]
        for folder in folders:
            world.register(folder, provider="codex", requiresTrigger=False)
        await client.post("/v1/groups/reload", {})
        answers: dict[str, list[str]] = {}

        async def talk(folder: str) -> None:
            answers[folder] = await texts(world, client, folder, f"hello from {folder}")

        async with anyio.create_task_group() as group:
            for folder in folders:
                group.start_soon(talk, folder)
            await gate.someone_waits()
            await gate.someone_waits()
            status = await client.get("/v1/status")
            assert (status["running"], status["waiting"]) == (2, 2)
            gate.open.set()
    assert answers == {folder: [f"You said: hello from {folder}"] for folder in folders}
    assert gate.most == 2


async def test_a_message_during_a_run_is_answered_by_the_next() -> None:
    gate = Gate()
    async with talking(gate) as (_, client):
        first = await client.post("/v1/messages", {"chat": "local:main", "sender": "Bob", "text": "one"})
        await gate.someone_waits()
        second = await client.post("/v1/messages", {"chat": "local:main", "sender": "Bob", "text": "two"})
        gate.open.set()
        told: list[str] = []
        for seq in (first["seq"], second["seq"]):
            answer = await client.get("/v1/answers", 60, chat="local:main", seq=seq, wait=60)
            told += [reply["text"] for reply in answer["replies"]]
    assert told == ["You said: one", "You said: two"]
    assert gate.most == 1


@pytest.mark.parametrize(("grace", "attempts"), [(30.0, 1), (0.1, 2)])
async def test_a_host_that_stops_lets_an_agent_end_within_the_grace_and_puts_back_the_rest(
    grace: float, attempts: int
) -> None:
    gate = Gate()
    settings = f"[runs]\nshutdown_grace_seconds = {grace}\n"
    with make_world(gate, gate, engine="bubblewrap", settings=settings) as world:
        world.secrets(OPENAI_API_KEY=_KEY)
        world.register("main", provider="codex")
        host = Host(world.home, load_settings(world.home))
        async with anyio.create_task_group() as group:
            await group.start(host.run)
            async with Client(world.home) as client:
                await client.post("/v1/messages", {"chat": "local:main", "sender": "Bob", "text": "hello"})
            await gate.someone_waits()
            host.stop()
            if attempts == 1:
                gate.open.set()
        gate.open.set()
        async with world.hosting() as client:
            answer = await client.get("/v1/answers", 60, chat="local:main", seq=1, wait=60)
        assert [reply["text"] for reply in answer["replies"]] == ["You said: hello"]
        db = connect(world.home.database, SystemClock().now())
        (run,) = [run_json(run) for run in runs.recent(db, 10)]
        db.close()
    assert (run["state"], run["attempts"], run["failure"]) == ("done", attempts, None)


async def test_what_an_interrupted_attempt_has_sent_is_told_to_the_next() -> None:
    mail = 'cd /workspace/ipc/messages && echo \'{"type":"message","text":"already told"}\' > .x && mv .x x.json'
    die = "kill -9 $(pgrep -f nanoclaw_runner) ; sleep 5"
    settings = "[runs]\nretry_base_seconds = 0.1\n"

    def script(conversation: Conversation) -> Step:
        if "already told" in conversation.prompt:
            return say("I go on")
        return shell(mail) if not conversation.tool_outputs else shell(die)

    async with talking(script, settings=settings) as (world, client):
        assert await texts(world, client, "main", "hello") == ["already told", "I go on"]


async def test_a_runner_that_dies_is_told() -> None:
    settings = "[runs]\nretry_base_seconds = 0.1\nmax_attempts = 2\n"
    script = steps(shell("kill -9 $(pgrep -f nanoclaw_runner) ; sleep 5"), say("never said"))
    async with talking(script, settings=settings) as (world, client):
        (notice,) = await world.ask(client, "main", "hello")
    assert notice["kind"] == "notice"
    assert "stopped unexpectedly" in notice["text"]
    assert "2 times" in notice["text"]
