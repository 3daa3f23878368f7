"""What Claude Code's words mean."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from nanoclaw.wire import FailureKind
from nanoclaw_runner.providers.claude_errors import failure_of_process, failure_of_result, is_unknown_session
from nanoclaw_runner.providers.claude_events import Conversation
from nanoclaw_runner.providers.transcript import MAX_MESSAGE_CHARACTERS, render


def result(**fields: object) -> dict[str, Any]:
    return {"type": "result", "is_error": False, "result": "Hello.", "session_id": "s1", **fields}


def spent(tokens: int, cost: float) -> dict[str, Any]:
    counts = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return {**dict.fromkeys(counts, tokens), "costUSD": cost}


def test_a_conversation_ends_with_its_last_result() -> None:
    conversation = Conversation()
    assert not conversation.succeeded
    conversation.take(result(result="I have begun."))
    conversation.take(result(result="It is done."))
    assert conversation.succeeded
    assert (conversation.answer, conversation.session_id) == ("It is done.", "s1")


def test_all_models_and_turns_of_a_run_are_added_up() -> None:
    conversation = Conversation()
    conversation.take(result(model_usage_since_last_result={"opus": spent(10, 0.5), "haiku": spent(1, 0.25)}))
    conversation.take(result(model_usage_since_last_result={"opus": spent(100, 1.0)}, total_cost_usd=99.0))
    assert conversation.usage == {
        "type": "usage", "inputTokens": 333, "cachedInputTokens": 111, "outputTokens": 111, "costUsd": 1.75,
    }  # fmt: skip


def test_what_the_agent_says_and_does_is_told() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "I will\nlook."},
        {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}},
    ]
    told = Conversation().take({"type": "assistant", "message": {"content": blocks}})
    assert [activity["text"] for activity in told] == ["I will look.", 'Bash {"command": "ls"}']


@pytest.mark.parametrize(
    "message", [{}, {"type": "assistant"}, {"type": "result"}, {"type": "system", "subtype": "init"}]
)
def test_a_message_that_is_none_of_ours_is_passed_over(message: dict[str, Any]) -> None:
    conversation = Conversation()
    assert conversation.take(message) == []
    assert conversation.result is None


@pytest.mark.parametrize(
    ("error", "status", "reason", "kind"),
    [
        ("authentication_failed", 401, "api_error", "auth"),
        ("authentication_failed", 403, "api_error", "auth"),
        ("authentication_failed", None, "api_error", "not_signed_in"),
        ("billing_error", 400, "api_error", "billing"),
        ("model_not_found", 404, "api_error", "model_not_found"),
        ("invalid_request", 400, "prompt_too_long", "context_too_long"),
        ("invalid_request", 400, "api_error", "bad_request"),
        ("rate_limit", 429, "api_error", "rate_limited"),
        ("server_error", 529, "api_error", "overloaded"),
        ("server_error", 500, "api_error", "overloaded"),
        ("server_error", None, "api_error", "network"),
        (None, None, None, "crashed"),
    ],
)
def test_an_error_has_its_kind(error: str | None, status: int | None, reason: str | None, kind: FailureKind) -> None:
    failed = result(is_error=True, result="It failed.", api_error_status=status, terminal_reason=reason)
    event = failure_of_result(failed, error, None)
    assert (event["kind"], event["text"]) == (kind, "It failed.")
    assert "resetsAt" not in event


def test_a_used_up_window_says_when_it_begins_anew() -> None:
    conversation = Conversation()
    instant = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
    limit = {"status": "rejected", "resetsAt": int(instant.timestamp()), "rateLimitType": "five_hour"}
    conversation.take({"type": "rate_limit_event", "rate_limit_info": {**limit, "status": "allowed_warning"}})
    assert conversation.resets is None
    conversation.take({"type": "rate_limit_event", "rate_limit_info": limit})
    conversation.take(result(is_error=True, api_error_status=429, result="You've hit your 5-hour limit"))
    assert conversation.result is not None
    event = failure_of_result(conversation.result, "rate_limit", conversation.resets)
    assert (event["kind"], event.get("resetsAt")) == ("usage_limit", instant.isoformat())


def test_a_session_that_is_gone_is_told_from_other_errors() -> None:
    gone = result(is_error=True, result=None, errors=["No conversation found with session ID: x"])
    no_session = result(is_error=True, result=None, errors=["Error: --resume requires a valid session ID or title"])
    assert is_unknown_session(gone)
    assert is_unknown_session(no_session)
    assert not is_unknown_session(result(is_error=True, result="Credit balance is too low"))


def test_a_cli_that_died_is_told_by_its_status_and_stderr() -> None:
    assert failure_of_process(-9, "")["text"] == "Claude Code ended with status -9: it said nothing"


def test_a_transcript_keeps_what_people_and_assistant_said() -> None:
    entries: list[dict[str, Any]] = [
        {"type": "user", "message": {"content": "What is new?"}},
        {"type": "user", "isMeta": True, "message": {"content": "internal"}},
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash", "input": {}}]}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": "secret output"}]}},
        {"type": "assistant", "message": {"content": [{"type": "text", "text": "x" * (MAX_MESSAGE_CHARACTERS + 1)}]}},
        {"type": "cost-state", "totalCostUSD": 1},
    ]
    text = render([*map(json.dumps, entries), "{broken"], "2026-11-22 11:40")
    assert text.startswith(
        "# Conversation until 2026-11-22 11:40\n\n**Chat:**\n\nWhat is new?\n\n**Assistant:**\n\nxxx"
    )
    assert text.endswith("x [cut]\n")
    assert "secret output" not in text
    assert "internal" not in text
