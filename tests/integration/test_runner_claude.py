"""The runner with the real Claude Code."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from nanoclaw.testing.models import ScriptedAnthropic, fault, first, say, shell, steps, tool
from nanoclaw.testing.models.script import FaultKind
from nanoclaw.wire import GLOBAL_DIRECTORY, GROUP_DIRECTORY, IPC_DIRECTORY, MAX_EVENT_BYTES, MEDIA_DIRECTORY
from nanoclaw_runner.verbs import VERBS
from tests.integration.runner_rig import DOT, Rig, answering

pytestmark = pytest.mark.anyio

KEY = {"x-api-key": "sk-ant-real"}
TOKEN = "sk-ant-oat01-synthetic"


async def test_a_session_goes_on_and_memory_is_read_anew_each_time(tmp_path: Path) -> None:
    with ScriptedAnthropic(say("Nothing much.")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            ours, everybodys = (rig.place(place) / "CLAUDE.md" for place in (GROUP_DIRECTORY, GLOBAL_DIRECTORY))
            ours.write_text("Alice is Bob's sister.")
            everybodys.write_text("Everybody likes tea.")
            begun = await rig.run()
            everybodys.write_text("Everybody likes coffee.")
            server.script = say("Still nothing.")
            resumed = await rig.run(sessionId=begun.end["sessionId"])
    assert (begun.output, resumed.output) == ("Nothing much.", "Still nothing.")
    assert resumed.end == begun.end
    assert "with everything" not in begun.stderr  # the SDK could be imported lightly
    assert begun.usage == resumed.usage  # its own, not the session's sum
    assert (begun.usage["inputTokens"], begun.usage["cachedInputTokens"], begun.usage["outputTokens"]) == (14, 4, 3)
    assert begun.usage["costUsd"] > 0
    before, after = server.conversations
    assert before.messages == after.messages == ("What is new?",)
    assert before.headers["x-api-key"] == "sk-ant-real"
    assert "You are Andy" in before.system
    assert "Alice is Bob's sister." in before.system
    assert "Everybody likes tea." in before.system
    assert "Everybody likes coffee." in after.system
    assert "Everybody likes tea." not in after.system
    last = server.requests[-1].body
    assert last is not None
    assert "Nothing much." in json.dumps(last["messages"])


async def test_a_session_that_is_gone_begins_anew(tmp_path: Path) -> None:
    with ScriptedAnthropic(say("Hello.")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            outcome = await rig.run(sessionId="11111111-1111-4111-8111-111111111111")
    assert outcome.output == "Hello."
    assert outcome.end["sessionId"] != "11111111-1111-4111-8111-111111111111"


async def test_a_subscriptions_token_is_in_no_environment_argument_or_file(tmp_path: Path) -> None:
    search = f"cat /proc/*/environ /proc/*/cmdline; grep -r {TOKEN[:-1]} /home /tmp /workspace; echo looked"
    with ScriptedAnthropic(steps(shell(search), say(lambda seen: seen.tool_outputs[-1]))) as server:
        async with Rig.open(tmp_path, server) as rig:
            outcome = await rig.run(credential="oauth_token", secret=TOKEN)
    assert outcome.output is not None
    assert "looked" in outcome.output
    assert TOKEN not in outcome.output
    assert server.conversations[-1].headers["authorization"] == f"Bearer {TOKEN}"


async def test_claude_has_the_hosts_verbs_as_tools_from_its_first_request_on(tmp_path: Path) -> None:
    schedule = tool(
        "mcp__nanoclaw__schedule_task", prompt="Water the plants", schedule_type="cron", schedule_value="9 o'clock"
    )
    with ScriptedAnthropic(steps(schedule, say(lambda seen: seen.tool_outputs[-1]))) as server:
        async with (
            Rig.open(tmp_path, server, KEY) as rig,
            answering(rig.place(IPC_DIRECTORY), {"ok": False, "error": "write five fields"}) as asked,
        ):
            outcome = await rig.run()
            await rig.run(isMain=True)
    request = {"prompt": "Water the plants", "schedule_type": "cron", "schedule_value": "9 o'clock"}
    assert asked == [{**request, "type": "schedule_task"}] * 2
    assert outcome.output is not None
    assert '{"ok": false, "error": "write five fields"}' in outcome.output
    first_request, *_ = [each.body for each in server.requests if each.path.endswith("/v1/messages")]
    assert offered(first_request) == {verb.tool for verb in VERBS if not verb.main}
    assert offered(server.requests[-1].body) == {verb.tool for verb in VERBS}


def offered(body: dict[str, Any] | None) -> set[str]:
    assert body is not None
    names = {offer["name"] for offer in body["tools"]}
    return {name.removeprefix("mcp__nanoclaw__") for name in names if name.startswith("mcp__")}


async def test_what_is_to_be_compacted_is_kept_first(tmp_path: Path) -> None:
    with ScriptedAnthropic(say("The milk is sour.")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            begun = await rig.run()
            server.script = first(1, fault("context_too_long"), say("Where were we?"))
            outcome = await rig.run(sessionId=begun.end["sessionId"])
            (kept,) = (rig.place(GROUP_DIRECTORY) / "conversations").iterdir()
            assert "The milk is sour." in kept.read_text()
    assert outcome.output == "Where were we?"


async def test_what_people_write_is_neither_a_command_nor_a_file_to_be_read(tmp_path: Path) -> None:
    with ScriptedAnthropic(say("Hello.")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            (rig.place(GROUP_DIRECTORY) / "diary.txt").write_text("Dear diary")
            outcome = await rig.run(prompt="Look: @/workspace/group/diary.txt")
    assert outcome.output == "Hello."
    assert "Dear diary" not in json.dumps(server.requests[-1].body)


@pytest.mark.parametrize(
    ("what", "kind", "retryable"),
    [
        ("auth", "auth", False),
        ("billing", "billing", False),
        ("context_too_long", "context_too_long", False),
        ("empty", "no_answer", True),
    ],
)
async def test_what_the_model_server_refuses_ends_as_its_kind(
    tmp_path: Path, what: FaultKind, kind: str, retryable: bool
) -> None:
    with ScriptedAnthropic(fault(what)) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            outcome = await rig.run()
    assert (outcome.end["type"], outcome.end["kind"], outcome.end["retryable"]) == ("failed", kind, retryable), outcome


async def test_a_used_up_subscription_says_until_when(tmp_path: Path) -> None:
    with ScriptedAnthropic(fault("usage_limit")) as server:
        async with Rig.open(tmp_path, server) as rig:
            outcome = await rig.run(credential="oauth_token", secret=TOKEN)
    assert outcome.end["kind"] == "usage_limit"
    assert outcome.end["resetsAt"].endswith("+00:00")


async def test_closing_stdin_ends_the_run(tmp_path: Path) -> None:
    with ScriptedAnthropic(fault("silent")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig, rig.start(rig.request()) as process:
            await anyio.to_thread.run_sync(server.wait_for, 1)
            await process.close_stdin()
            events = [json.loads(line) async for line in process.lines(MAX_EVENT_BYTES)]
            assert await process.wait() == 0
    assert (events[-1]["type"], events[-1]["kind"]) == ("failed", "crashed")


async def test_a_cli_that_is_killed_is_reported(tmp_path: Path) -> None:
    with ScriptedAnthropic(steps(shell("kill -9 $PPID"), say("unreachable"))) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            outcome = await rig.run()
    assert (outcome.end["kind"], outcome.end["retryable"]) == ("crashed", True)
    assert "status -9" in outcome.end["text"]


async def test_images_reach_the_model_with_the_prompt(tmp_path: Path) -> None:
    with ScriptedAnthropic(say("A dot.")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            paths = [f"{MEDIA_DIRECTORY}/{name}" for name in ("dot.png", "second dot.png", "text.png", "gone.png")]
            for path in paths[:2]:
                (rig.place(MEDIA_DIRECTORY) / path.rsplit("/", 1)[1]).write_bytes(DOT)
            (rig.place(MEDIA_DIRECTORY) / "text.png").write_text("no image, whatever its name")
            outcome = await rig.run(images=paths)
    assert outcome.output == "A dot."
    sent = json.dumps(server.requests[-1].body)
    assert "What is new?" in sent
    assert sent.count('"media_type": "image/png"') == 2
