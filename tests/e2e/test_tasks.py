"""Scheduling through files, by real agents in real sandboxes, and what comes of it."""

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import anyio
import pytest

from nanoclaw.client import Client
from nanoclaw.clock import SystemClock, from_iso, iso
from nanoclaw.store.database import connect
from nanoclaw.testing.models import Conversation, Script, Step, say, shell, steps, tool
from nanoclaw.testing.world import World, make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_KEY = "sk-test-0123456789"
_PROVIDERS = ("codex", "claude")
_ADDED = "Shell cwd was reset to /workspace/group"


def mail(directory: str, **document: object) -> str:
    """A shell command that writes a file as the prompt teaches it, and shows the host's answer."""
    text = json.dumps(document).replace("'", "'\\''")
    return (
        f"cd /workspace/ipc/{directory} && printf %s '{text}' > .new && mv .new ask.json"
        " && for i in $(seq 200); do [ -e ../results/ask.json ] && break; sleep 0.05; done; cat ../results/ask.json"
    )


def tell(conversation: Conversation) -> str:
    """The answer file, without what a CLI adds to a command's output."""
    return _answer(conversation.tool_outputs[-1])


def _answer(output: str) -> str:
    return output.strip().removesuffix(_ADDED).strip()


def agent(*before: Step) -> Script:
    """Does these steps when people write, and greets when a task runs."""
    chatting = steps(*before)

    def script(conversation: Conversation) -> Step:
        if "<task " in conversation.prompt:
            return say("the task says hello")
        assert callable(chatting)
        return chatting(conversation)

    return script


def a_world(provider: str, script: Script) -> Any:  # noqa: ANN401
    class _Signed:
        def __enter__(self) -> World:
            self._made = make_world(script, script, engine="bubblewrap")
            world = self._made.__enter__()
            world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
            world.register("main", provider=provider)
            world.register("family", provider=provider)
            return world

        def __exit__(self, *error: Any) -> None:  # noqa: ANN401
            self._made.__exit__(*error)

    return _Signed()


async def next_reply(events: AsyncGenerator[dict[str, Any]]) -> dict[str, Any]:
    async for event in events:
        if event["type"] == "reply":
            return event
    raise AssertionError("the host ended the stream")


async def tasks_of(client: Client) -> list[dict[str, Any]]:
    """What the host holds, as main's agents are shown it."""
    return (await client.get("/v1/tasks"))["tasks"]


@pytest.mark.parametrize("provider", _PROVIDERS)
async def test_an_agent_schedules_a_task_by_a_file_and_it_runs(provider: str) -> None:
    ask = mail("tasks", type="schedule_task", prompt="say hello", schedule_type="interval", schedule_value="1500")
    with a_world(provider, agent(shell(ask), say(tell))) as world:
        async with world.hosting() as client:
            with anyio.fail_after(60):
                events = client.stream("/v1/events", chat="local:family")
                await anext(events)
                (answer,) = await world.ask(client, "family", "@Andy every second and a half, say hello")
                told = json.loads(answer["text"])
                assert (told["ok"], told["groupFolder"]) == (True, "family")
                assert (await next_reply(events))["text"] == answer["text"]
                assert [(await next_reply(events))["text"] for _ in range(2)] == ["the task says hello"] * 2
                assert [task["id"] for task in await tasks_of(client)] == [told["taskId"]]
                await events.aclose()


async def test_a_wrong_schedule_is_corrected_in_the_same_run() -> None:
    wrong = mail("tasks", type="schedule_task", prompt="x", schedule_type="cron", schedule_value="every monday")
    right = mail("tasks", type="schedule_task", prompt="x", schedule_type="cron", schedule_value="0 9 * * 1")
    again = right.replace("ask.json", "again.json")
    report = say(lambda conversation: "\n".join(_answer(output) for output in conversation.tool_outputs))
    with a_world("codex", agent(shell(wrong), shell(again), report)) as world:
        async with world.hosting() as client:
            (answer,) = await world.ask(client, "main", "every monday at nine")
            first, second = (json.loads(line) for line in answer["text"].splitlines())
    assert not first["ok"]
    assert "five fields" in first["error"]
    assert second["ok"]
    assert second["schedule"] == f"At 09:00 on Monday ({second['timezone']})"


async def test_a_group_has_no_power_over_anothers_tasks_from_inside_its_sandbox() -> None:
    with a_world("codex", agent(say("…"))) as world:
        async with world.hosting() as client:
            made = await client.post(
                "/v1/commands",
                {"type": "schedule_task", "prompt": "x", "schedule_type": "cron", "schedule_value": "0 9 * * 1"},
            )
            for verb in ("pause_task", "resume_task", "cancel_task", "run_task", "update_task"):
                world.openai.script = agent(shell(mail("tasks", type=verb, taskId=made["taskId"])), say(tell))
                (answer,) = await world.ask(client, "family", f"@Andy {verb}")
                assert not json.loads(answer["text"])["ok"], verb
            for verb, fields in _FOR_MAIN_ALONE.items():
                world.openai.script = agent(shell(mail("tasks", type=verb, **fields)), say(tell))
                (answer,) = await world.ask(client, "family", f"@Andy {verb}")
                refused = json.loads(answer["text"])
                assert not refused["ok"], verb
                assert "main" in refused["error"] or "only for itself" in refused["error"]
            (task,) = await tasks_of(client)
            assert task["status"] == "active"


_FOR_MAIN_ALONE: dict[str, dict[str, object]] = {
    "schedule_task": {
        "prompt": "x",
        "schedule_type": "cron",
        "schedule_value": "0 9 * * 1",
        "target_group": "main",
    },
    "register_group": {"jid": "local:evil", "name": "Evil", "folder": "evil", "trigger": "@Andy"},
    "update_group": {"folder": "family", "provider": "claude"},
    "unregister_group": {"folder": "main"},
    "refresh_groups": {},
}


async def test_main_registers_a_group_and_it_answers_at_once() -> None:
    ask = mail(
        "tasks", type="register_group", jid="local:new", name="New", folder="new", trigger="@Andy", provider="codex"
    )
    with a_world("codex", agent(shell(ask), say(tell))) as world:
        async with world.hosting() as client:
            (answer,) = await world.ask(client, "main", "register the new group")
            assert json.loads(answer["text"])["ok"]
            world.openai.script = say("I am new here")
            (answer,) = await world.ask(client, "new", "@Andy who are you?")
            assert answer["text"] == "I am new here"


async def test_agents_see_their_own_tasks_and_main_sees_all() -> None:
    look = steps(shell("cat /workspace/ipc/current_tasks.json"), say(tell))
    with a_world("codex", look) as world:
        async with world.hosting() as client:
            schedule = {"type": "schedule_task", "prompt": "x", "schedule_type": "cron", "schedule_value": "0 9 * * 1"}
            own = await client.post("/v1/commands", {**schedule, "target_group": "family"})
            await client.post("/v1/commands", schedule)
            (seen,) = await world.ask(client, "family", "@Andy list my tasks")
            assert [task["id"] for task in json.loads(seen["text"])] == [own["taskId"]]
            (seen,) = await world.ask(client, "main", "list all tasks")
            assert len(json.loads(seen["text"])) == 2


def life_of(task: str) -> list[tuple[str, str, dict[str, str]]]:
    """What can be done with a task that exists: words of the command, tool, and what the tool is given."""
    tuesday = {"schedule_type": "cron", "schedule_value": "0 10 * * 2"}
    return [
        (f"pause {task}", "pause_task", {"taskId": task}),
        (f"resume {task}", "resume_task", {"taskId": task}),
        (f"update {task} --cron '0 10 * * 2'", "update_task", {"taskId": task, **tuesday}),
        (f"run {task}", "run_task", {"taskId": task}),
        ("tasks", "list_tasks", {}),
        (f"cancel {task}", "cancel_task", {"taskId": task}),
        (f"cancel {task}", "cancel_task", {"taskId": task}),
    ]


async def test_a_task_lives_by_the_command() -> None:
    with a_world("codex", say("…")) as world:
        async with world.hosting() as client:

            async def ask(words: str) -> tuple[str, Any]:
                world.openai.script = agent(shell(f"nanoclaw-ipc {words} --json; echo status $?"), say(tell))
                (answer,) = await world.ask(client, "family", "@Andy go on")
                said, status = answer["text"].splitlines()
                return status, json.loads(said)

            with anyio.fail_after(110):
                events = client.stream("/v1/events", chat="local:family")
                await anext(events)
                status, made = await ask('schedule "say hello" --cron "0 9 * * 1" --timezone Asia/Tokyo --isolated')
                assert (status, made["timezone"], made["context_mode"]) == ("status 0", "Asia/Tokyo", "isolated")
                said: list[tuple[str, Any]] = []
                for words, verb, _ in life_of(made["taskId"]):
                    said.append(await ask(words))
                    if verb == "run_task":
                        await heard(events, "the task says hello")  # a task that is cancelled first does not run
                check_life(made["taskId"], [answer for _, answer in said])
                assert [status for status, _ in said] == ["status 0"] * 6 + ["status 1"]
                await events.aclose()


async def test_a_task_lives_by_claudes_tools() -> None:
    with a_world("claude", say("…")) as world:
        async with world.hosting() as client:

            async def ask(name: str, **fields: str) -> Any:  # noqa: ANN401  # JSON
                world.anthropic.script = agent(tool(f"mcp__nanoclaw__{name}", **fields), say(tell))
                *_, answer = await world.ask(client, "family", "@Andy go on")
                return json.loads(answer["text"])

            with anyio.fail_after(110):
                events = client.stream("/v1/events", chat="local:family")
                await anext(events)
                wrong = await ask("schedule_task", prompt="say hello", schedule_type="cron", schedule_value="mondays")
                assert "five fields" in wrong["error"]
                made = await ask("schedule_task", prompt="say hello", schedule_type="cron", schedule_value="0 9 * * 1")
                said: list[Any] = []
                for _, verb, fields in life_of(made["taskId"]):
                    said.append(await ask(verb, **fields))
                    if verb == "run_task":
                        await heard(events, "the task says hello")
                check_life(made["taskId"], said)
                assert (await ask("send_message", text="one more minute"))["ok"]
                await heard(events, "one more minute")
                await events.aclose()


async def heard(events: AsyncGenerator[dict[str, Any]], text: str) -> None:
    """Wait for that reply, whatever is said before it."""
    while (await next_reply(events))["text"] != text:
        pass


def check_life(task: str, answers: list[Any]) -> None:
    """What the host answers to `life_of`."""
    paused, resumed, updated, started, listed, cancelled, again = answers
    assert [paused["status"], resumed["status"], updated["status"]] == ["paused", "active", "active"]
    assert updated["schedule_value"] == "0 10 * * 2"
    assert started["ok"]
    assert [each["id"] for each in listed] == [task]
    assert cancelled == {"ok": True, "taskId": task}
    assert not again["ok"]


async def test_a_task_that_was_missed_runs_once_and_says_that_it_is_late() -> None:
    with a_world("codex", agent(say("…"))) as world:
        async with world.hosting() as client:
            schedule = {
                "type": "schedule_task",
                "prompt": "x",
                "schedule_type": "cron",
                "schedule_value": "*/5 * * * *",
                "timezone": "UTC",
            }
            made = await client.post("/v1/commands", {**schedule, "target_group": "family"})
        due = SystemClock().now().replace(second=0, microsecond=0) - timedelta(days=2)
        db = connect(world.home.database, SystemClock().now())
        db.execute("UPDATE task SET next_at = ? WHERE id = ?", (iso(due), made["taskId"]))
        db.close()
        async with world.hosting() as client:
            with anyio.fail_after(60):
                reply = await next_reply(client.stream("/v1/events", chat="local:family", after=0))
            (task,) = await tasks_of(client)
    assert "the task says hello" in reply["text"]
    assert reply["text"].startswith(f"(This was due at {due:%Y-%m-%dT%H:%M}")
    assert 'late="true">x</task>' in world.openai.conversations[-1].prompt
    assert from_iso(task["next_run"]) > SystemClock().now()
