"""Claude's tools, as its client speaks to them."""

import json
from pathlib import Path
from typing import Any

import pytest

from nanoclaw_runner.mcp import respond, tools
from nanoclaw_runner.verbs import VERBS


def answer(method: str, mailbox: str = "/nowhere", **parameters: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": parameters}
    answered = respond(message, main=True, mailbox=mailbox)
    assert answered is not None
    assert answered["id"] == 7
    return answered


@pytest.mark.parametrize(
    ("asked", "spoken"), [("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("2099-01-01", "2025-11-25")]
)
def test_the_version_asked_for_is_spoken_if_it_is_known(asked: str, spoken: str) -> None:
    result = answer("initialize", protocolVersion=asked, capabilities={}, clientInfo={})["result"]
    assert result["protocolVersion"] == spoken
    assert result["capabilities"] == {"tools": {}}
    assert result["serverInfo"]["name"] == "nanoclaw"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"jsonrpc": "2.0", "id": "a", "method": "server/discover", "params": {}}, -32601),
        ([], -32600),
        ({"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": []}, -32602),
    ],
)
def test_what_cannot_be_answered_is_an_error(message: object, code: int) -> None:
    said = respond(message, main=False)
    assert said is not None
    assert said["error"]["code"] == code


def test_a_notification_wants_no_answer() -> None:
    assert respond({"jsonrpc": "2.0", "method": "notifications/initialized"}, main=False) is None
    assert answer("ping")["result"] == {}


def test_there_is_a_tool_for_every_verb_and_main_alone_has_all() -> None:
    names = [tool["name"] for tool in tools(main=True)]
    assert names == [verb.tool for verb in VERBS]
    others = {tool["name"]: tool["inputSchema"] for tool in tools(main=False)}
    assert set(names) - others.keys() == {f"{verb}_group" for verb in ("register", "update", "unregister")} | {
        "refresh_groups",
        "list_groups",
    }
    assert "chatJid" not in others["send_message"]["properties"]
    assert "target_group" not in others["schedule_task"]["properties"]


def test_a_tool_says_what_it_needs() -> None:
    schema = next(tool["inputSchema"] for tool in tools(main=True) if tool["name"] == "schedule_task")
    assert schema["required"] == ["prompt", "schedule_type", "schedule_value"]
    assert schema["properties"]["schedule_type"]["enum"] == ["cron", "interval", "once"]
    schema = next(tool["inputSchema"] for tool in tools(main=True) if tool["name"] == "update_group")
    assert schema["required"] == ["folder"]
    assert schema["properties"]["requiresTrigger"]["type"] == "boolean"
    assert schema["properties"]["providerConfig"]["type"] == "object"


def test_what_is_kept_in_the_mailbox_is_the_tools_answer(tmp_path: Path) -> None:
    (tmp_path / "current_tasks.json").write_text('[{"id": "task-1", "prompt": "Grüße"}]')
    result = answer("tools/call", str(tmp_path), name="list_tasks")["result"]
    assert result == {"content": [{"type": "text", "text": '[{"id": "task-1", "prompt": "Grüße"}]'}], "isError": False}


def test_a_mailbox_that_cannot_be_used_is_the_tools_error(tmp_path: Path) -> None:
    for name in ("pause_task", "list_groups"):
        result = answer("tools/call", str(tmp_path), name=name, arguments={"taskId": "task-1"})["result"]
        assert result["isError"]
        assert json.loads(result["content"][0]["text"])["ok"] is False


def test_a_tool_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    wrong: list[dict[str, Any]] = [{"name": "dance"}, {}, {"name": "list_tasks", "arguments": []}]
    for parameters in wrong:
        error = answer("tools/call", **parameters)["error"]
        assert error["code"] == -32602
        assert "send_message" in error["message"]
