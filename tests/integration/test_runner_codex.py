"""The runner with the real Codex CLI."""

import json
from pathlib import Path

import anyio
import pytest

from nanoclaw.testing.models import ACCOUNT_ID, ScriptedOpenAI, fault, say, shell, steps, synthetic_auth_json
from nanoclaw.testing.models.script import FaultKind
from nanoclaw.wire import AGENT_HOME, GLOBAL_DIRECTORY, GROUP_DIRECTORY, IPC_DIRECTORY, MAX_EVENT_BYTES, MEDIA_DIRECTORY
from tests.integration.runner_rig import DOT, Rig, answering

pytestmark = pytest.mark.anyio

KEY = {"authorization": "Bearer sk-real"}
CODEX_HOME = f"{AGENT_HOME}/.codex"


async def test_codex_is_told_all_that_it_needs_and_its_last_message_is_the_answer(tmp_path: Path) -> None:
    with ScriptedOpenAI(say("Nothing much.")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            (rig.place(GROUP_DIRECTORY) / "CLAUDE.md").write_text("Alice is Bob's sister.")
            (rig.place(GLOBAL_DIRECTORY) / "CLAUDE.md").write_text("Everybody likes tea.")
            outcome = await rig.run()
    assert outcome.output == "Nothing much."
    assert outcome.end == {"type": "done"}
    assert outcome.usage == {"type": "usage", "inputTokens": 10, "cachedInputTokens": 4, "outputTokens": 3}
    (conversation,) = server.conversations
    assert conversation.messages == ("What is new?",)
    assert "Alice is Bob's sister." in conversation.prompt
    assert "Everybody likes tea." in conversation.prompt
    assert conversation.headers["authorization"] == "Bearer sk-real"


async def test_the_agents_shell_is_in_the_group_with_the_proxy_and_without_a_credential(tmp_path: Path) -> None:
    mailbox = "cd /workspace/ipc/messages; echo {} > .x; mv .x x.json"
    look = f"pwd; env; {mailbox}"
    with ScriptedOpenAI(steps(shell(look), say(lambda seen: seen.tool_outputs[-1]))) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            outcome = await rig.run()
            (written,) = rig.place(f"{IPC_DIRECTORY}/messages").iterdir()
    assert outcome.output is not None
    directory, *lines = outcome.output.splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert directory == GROUP_DIRECTORY
    assert environment["HTTPS_PROXY"] == environment["http_proxy"] == "http://127.0.0.1:3128"
    assert environment["TZ"] == "Europe/Berlin"
    assert not {name for name in environment if "KEY" in name or "TOKEN" in name}
    assert "placeholder" not in outcome.output
    assert written.name == "x.json"
    assert any(event["type"] == "activity" and "pwd; env" in event["text"] for event in outcome.events)


async def test_the_agents_shell_asks_the_host_and_reads_its_answer(tmp_path: Path) -> None:
    ask = 'nanoclaw-ipc schedule "Water the plants" --every 2h --isolated; echo status $?'
    with ScriptedOpenAI(steps(shell(ask), say(lambda seen: seen.tool_outputs[-1]))) as server:
        async with (
            Rig.open(tmp_path, server, KEY) as rig,
            answering(rig.place(IPC_DIRECTORY), {"ok": False, "error": "tasks are full"}) as asked,
        ):
            outcome = await rig.run()
    assert asked == [
        {
            "prompt": "Water the plants",
            "schedule_type": "interval",
            "schedule_value": "7200000",
            "context_mode": "isolated",
            "type": "schedule_task",
        }
    ]
    assert outcome.output is not None
    assert outcome.output.splitlines() == ["refused: tasks are full", "status 1"]


async def test_a_chatgpt_login_is_used_when_the_run_is_told_to(tmp_path: Path) -> None:
    login = synthetic_auth_json()
    with ScriptedOpenAI(say("Hello.")) as server:
        async with Rig.open(tmp_path, server) as rig:
            (rig.place(CODEX_HOME) / "auth.json").write_text(json.dumps(login))
            outcome = await rig.run(credential="chatgpt")
    assert outcome.output == "Hello."
    (conversation,) = server.conversations
    assert conversation.headers["authorization"] == f"Bearer {login['tokens']['access_token']}"
    assert conversation.headers["chatgpt-account-id"] == ACCOUNT_ID


async def test_a_login_that_happens_to_be_there_is_not_used_with_an_api_key(tmp_path: Path) -> None:
    with ScriptedOpenAI(say("Hello.")) as server:
        async with Rig.open(tmp_path, server) as rig:  # a gateway that adds nothing: what Codex itself sends is seen
            (rig.place(CODEX_HOME) / "auth.json").write_text(json.dumps(synthetic_auth_json()))
            outcome = await rig.run()
    assert outcome.output == "Hello."
    (conversation,) = server.conversations
    assert conversation.headers["authorization"] == "Bearer placeholder"
    assert "chatgpt-account-id" not in conversation.headers


async def test_the_config_is_written_once_and_then_the_users(tmp_path: Path) -> None:
    with ScriptedOpenAI(say("Hello.")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            config = rig.place(CODEX_HOME) / "config.toml"
            await rig.run()
            first = config.read_text()
            config.write_text('model = "gpt-5.5"\n')
            await rig.run()
            assert config.read_text() == 'model = "gpt-5.5"\n'
            config.write_text('approval_policy = "auto"\nmodel = 3\n')
            broken = await rig.run()
    assert "it is yours" in first
    assert [conversation.model for conversation in server.conversations][1:] == ["gpt-5.5"]
    assert broken.end["kind"] == "bad_request"
    assert "model" in broken.end["text"]
    assert not broken.end["retryable"]


@pytest.mark.parametrize(
    ("what", "kind", "retryable"),
    [
        ("auth", "auth", False),
        ("usage_limit", "usage_limit", False),
        ("context_too_long", "context_too_long", False),
        ("overloaded", "overloaded", True),
        ("empty", "no_answer", True),
    ],
)
async def test_what_the_model_server_refuses_ends_as_its_kind(
    tmp_path: Path, what: FaultKind, kind: str, retryable: bool
) -> None:
    with ScriptedOpenAI(fault(what)) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            outcome = await rig.run()
    assert (outcome.end["type"], outcome.end["kind"], outcome.end["retryable"]) == ("failed", kind, retryable), outcome
    assert ("resetsAt" in outcome.end) == (what == "usage_limit")
    assert "127.0.0.1" not in outcome.end["text"]


async def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with ScriptedOpenAI(fault("no_headers")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            outcome = await rig.run(timeoutSeconds=1.0)
    assert outcome.end["kind"] == "timeout"


async def test_closing_stdin_ends_the_run(tmp_path: Path) -> None:
    with ScriptedOpenAI(fault("silent")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig, rig.start(rig.request()) as process:
            await anyio.to_thread.run_sync(server.wait_for, 1)
            await process.close_stdin()
            events = [json.loads(line) async for line in process.lines(MAX_EVENT_BYTES)]
            assert await process.wait() == 0
    assert (events[-1]["type"], events[-1]["kind"]) == ("failed", "crashed")


async def test_a_signal_to_stop_ends_the_run(tmp_path: Path) -> None:
    with ScriptedOpenAI(steps(shell("pkill -TERM -o -f nanoclaw_runner; read never"), say("unreachable"))) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            outcome = await rig.run()
    assert outcome.end["text"] == "the sandbox was told to stop"


async def test_a_cli_that_is_killed_is_reported(tmp_path: Path) -> None:
    with ScriptedOpenAI(steps(shell("kill -9 $(pgrep -x codex)"), say("unreachable"))) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            outcome = await rig.run()
    assert outcome.end == {
        "type": "failed", "kind": "crashed", "retryable": True, "text": "Codex ended with status -9: it said nothing",
    }  # fmt: skip


async def test_images_reach_the_model_with_the_prompt(tmp_path: Path) -> None:
    with ScriptedOpenAI(say("A dot.")) as server:
        async with Rig.open(tmp_path, server, KEY) as rig:
            paths = [f"{MEDIA_DIRECTORY}/{name}" for name in ("dot.png", "second dot.png", "gone.png")]
            for path in paths[:2]:
                (rig.place(MEDIA_DIRECTORY) / path.rsplit("/", 1)[1]).write_bytes(DOT)
            outcome = await rig.run(images=paths)
    assert outcome.output == "A dot."
    (conversation,) = server.conversations
    assert "What is new?" in conversation.prompt
    sent = json.dumps(server.requests[-1].body)
    assert sent.count("data:image/png;base64,") == 2
