"""How Codex is told what to do, and what its words mean."""

import json
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from nanoclaw.wire import FailureKind
from nanoclaw_runner.environment import agent_environment
from nanoclaw_runner.providers.codex_config import command, write_first_config
from nanoclaw_runner.providers.codex_errors import classify, failure_of_process, failure_of_turn, resets_at
from nanoclaw_runner.providers.codex_events import Turn
from tests.unit.test_runner_prelude import request

BERLIN = timezone(timedelta(hours=1))
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=BERLIN)


def overrides(argv: list[str]) -> dict[str, object]:
    """What the `-c` options say, as Codex reads them."""
    pairs = (argv[place + 1].split("=", 1) for place, word in enumerate(argv) if word == "-c")
    return {key: tomllib.loads(f"value={value}")["value"] for key, value in pairs}


def test_what_must_hold_is_said_on_the_command_line() -> None:
    environment = {**agent_environment(request(), {"PATH": '/opt/a "b"\\c'}), "CODEX_HOME": "/home/node/.codex"}
    argv = command(request(), environment)
    said = overrides(argv)
    assert argv[:3] == ["codex", "exec", "--json"]
    assert argv[-1] == "-"
    assert said["approval_policy"] == "never"
    assert said["features.unbounded_connection_retries"] is False
    assert "forced_login_method" not in said
    assert said["shell_environment_policy.set"] == {k: v for k, v in environment.items() if k != "CODEX_HOME"}


def test_only_a_chatgpt_run_may_use_the_login() -> None:
    with_key = overrides(command(request(), {}))
    with_login = overrides(command({**request(), "credential": "chatgpt"}, {}))
    provider, chatgpt = with_key["model_providers.nanoclaw"], with_login["model_providers.nanoclaw"]
    assert isinstance(provider, dict)
    assert isinstance(chatgpt, dict)
    assert provider["requires_openai_auth"] is False
    assert chatgpt["requires_openai_auth"] is True
    assert "experimental_bearer_token" not in chatgpt
    assert provider["base_url"] == chatgpt["base_url"] == "http://127.0.0.1:3128/openai"
    assert "chatgpt_base_url" not in with_key
    assert with_login["chatgpt_base_url"] == "http://127.0.0.1:3128/chatgpt"


def test_a_model_is_named_only_if_the_group_asks_for_one() -> None:
    assert "--model" not in command(request(), {})
    argv = command({**request(), "model": "gpt-5.5"}, {})
    assert argv[argv.index("--model") + 1] == "gpt-5.5"


def test_images_are_named_before_the_prompt_and_none_of_them_takes_it() -> None:
    argv = command({**request(), "images": ["/workspace/media/a.png", "/workspace/media/b.png"]}, {})
    images = ["--image", "/workspace/media/a.png", "--image", "/workspace/media/b.png"]
    assert argv[-6:] == [*images, "--", "-"]


def test_the_first_config_is_toml_that_says_nothing_yet(tmp_path: Path) -> None:
    write_first_config(str(tmp_path))
    (config,) = tmp_path.iterdir()
    assert tomllib.loads(config.read_text()) == {}
    assert config.stat().st_mode & 0o777 == 0o600


def test_a_config_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "config.toml").symlink_to("nowhere")
    write_first_config(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    assert (tmp_path / "config.toml").is_symlink()


def turn(*events: object) -> tuple[Turn, list[str]]:
    """A turn that took these in, and what it told of them."""
    told = Turn()
    activities = [told.take(event if isinstance(event, bytes) else json.dumps(event).encode()) for event in events]
    return told, [activity["text"] for activity in activities if activity]


def item(phase: str, **fields: object) -> dict[str, object]:
    return {"type": f"item.{phase}", "item": {"id": "item_1", **fields}}


def test_the_last_message_of_a_turn_is_its_answer() -> None:
    usage = {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 3, "reasoning_output_tokens": 1}
    told, _ = turn(
        {"type": "thread.started", "thread_id": "x"},
        item("completed", type="agent_message", text="I will look."),
        item("completed", type="agent_message", text="Here it is."),
        {"type": "turn.completed", "usage": usage},
    )
    assert told.answer == "Here it is."
    assert told.usage == {"type": "usage", "inputTokens": 10, "cachedInputTokens": 4, "outputTokens": 3}
    assert told.over
    assert told.error is None


def test_a_reconnect_is_not_the_end() -> None:
    told, activities = turn({"type": "error", "message": "Reconnecting... 1/5"})
    assert not told.over
    assert activities == ["Reconnecting... 1/5"]
    told.take(b'{"type":"turn.failed","error":{"message":"broken"}}')
    assert told.error == "broken"


def test_what_the_agent_does_is_told_once_and_in_short() -> None:
    _, activities = turn(
        item("started", type="command_execution", command="ls\n -l " + "x" * 300, status="in_progress"),
        item("completed", type="command_execution", command="ls", exit_code=0),
        item("started", type="web_search", query="weather"),
        item("started", type="mcp_tool_call", server="host", tool="post"),
        item("completed", type="file_change", changes=[{"path": "a", "kind": "add"}, {"path": "b", "kind": "delete"}]),
        item("completed", type="error", message="Model metadata not found"),
        item("completed", type="reasoning", text="thinking"),
    )
    command_line, *others = activities
    assert command_line.startswith("$ ls -l xxx")
    assert command_line.endswith("…")
    assert len(command_line) == 200
    assert others == ["web search: weather", "tool: host.post", "changed a, b", "Model metadata not found"]


@pytest.mark.parametrize(
    "line", [b"", b"plain words", b"[1]", b"null", b'{"type":"item.completed"}', b'{"type":"item.started","item":[]}']
)
def test_a_line_that_is_no_event_is_passed_over(line: bytes) -> None:
    told, activities = turn(line)
    assert not told.over
    assert activities == []


LIMIT = "You’ve hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro) or try again at {}."


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("unexpected status 401 Unauthorized: Incorrect API key provided, url: http://127.0.0.1/responses", "auth"),
        ("unexpected status 403 Forbidden: no, url: http://127.0.0.1/responses", "auth"),
        ("unexpected status 402 Payment Required: pay", "billing"),
        ("unexpected status 404 Not Found: The model `x` does not exist", "model_not_found"),
        ("unexpected status 404 Not Found: no such address", "bad_request"),
        ("unexpected status 422 Unprocessable Entity: what", "bad_request"),
        ("unexpected status 502 Bad Gateway: api.openai.com:443 cannot be reached", "network"),
        ("unexpected status 503 Service Unavailable: wait", "overloaded"),
        ("unexpected status 504 Gateway Timeout: no answer", "network"),
        ("exceeded retry limit, last status: 429 Too Many Requests", "rate_limited"),
        (LIMIT.format("9:49 AM"), "usage_limit"),
        ("Quota exceeded. Check your plan and billing details.", "billing"),
        ("We’re currently experiencing high demand, which may cause temporary errors.", "overloaded"),
        ("Selected model is at capacity. Please try a different model.", "overloaded"),
        ("Codex ran out of room in the model's context window. Start a new thread.", "context_too_long"),
        ("stream disconnected before completion: stream closed before response.completed", "network"),
        ("stream disconnected before completion: idle timeout waiting for SSE", "network"),
        ("Connection failed: error sending request", "network"),
        ("Failed to refresh token: 500 Internal Server Error", "network"),
        ("Your access token could not be refreshed because your refresh token was already used.", "auth"),
        ("Your access token could not be refreshed because your refresh token has expired.", "auth"),
        ("error sending request for url (http://127.0.0.1:1/oauth/token)", "auth"),
        ('{"error": {"message": "model not supported", "code": "model_not_found"}}', "model_not_found"),
        ('{"error": {"message": "what is this", "code": null}}', "bad_request"),
        ("something that nobody has seen before", "crashed"),
    ],
)
def test_a_sentence_of_codex_has_its_kind(text: str, kind: FailureKind) -> None:
    assert classify(text) == kind


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        (LIMIT.format("9:49 AM"), datetime(2026, 11, 22, 8, 50, tzinfo=UTC)),
        (LIMIT.format("12:05 PM"), datetime(2026, 11, 22, 11, 6, tzinfo=UTC)),
        (LIMIT.format("Nov 25th, 2026 10:12 PM"), datetime(2026, 11, 25, 21, 13, tzinfo=UTC)),
        (LIMIT.format("Dec 1st, 2026 1:00 AM"), datetime(2026, 12, 1, 0, 1, tzinfo=UTC)),
        ("You’ve hit your usage limit. Try again later.", None),
    ],
)
def test_the_end_of_a_limit_is_an_instant(text: str, instant: datetime | None) -> None:
    assert resets_at(text, NOW) == (instant.isoformat() if instant else None)
    assert ("resetsAt" in failure_of_turn(text, NOW)) == (instant is not None)


def test_a_failure_is_told_without_our_own_addresses() -> None:
    event = failure_of_turn("unexpected status 401 Unauthorized: wrong key, url: http://127.0.0.1:3128/openai", NOW)
    assert event == {"type": "failed", "kind": "auth", "text": "401 Unauthorized: wrong key", "retryable": False}
    assert failure_of_turn('{"error": {"message": "what is this"}}', NOW)["text"] == "what is this"


def test_a_codex_that_says_nothing_is_told_by_its_status_and_stderr() -> None:
    assert failure_of_process(0, "")["kind"] == "no_answer"
    crashed = failure_of_process(101, "thread 'main' panicked\nat the disco")
    assert (crashed["kind"], crashed["text"]) == ("crashed", "Codex ended with status 101: at the disco")
    refused = failure_of_process(
        1, "WARNING: x\nError loading config.toml: unknown variant `auto`\nin `approval_policy`\n"
    )
    assert (refused["kind"], refused["retryable"]) == ("bad_request", False)
    assert refused["text"].endswith("unknown variant `auto` in `approval_policy`")
