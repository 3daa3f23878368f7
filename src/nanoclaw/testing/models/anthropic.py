"""A scripted Anthropic: the Messages API as Claude Code speaks it."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nanoclaw.testing.models.answers import Answer, Ending, Silence, Stream, Whole, event, identity, spoken_pieces
from nanoclaw.testing.models.script import (
    USAGE,
    Conversation,
    Fault,
    FaultKind,
    Part,
    Say,
    Shell,
    Step,
    Tool,
    conversation_of,
)
from nanoclaw.testing.models.server import RecordedRequest, ScriptedServer

_REMINDER: Final = "<system-reminder>"
"""How the texts begin that Claude Code adds to the user's messages."""
_WINDOW: Final = timedelta(hours=5)
_REFUSALS: Final[Mapping[FaultKind, tuple[int, str, str]]] = {
    "auth": (401, "authentication_error", "invalid x-api-key"),
    "forbidden": (403, "permission_error", "Your API key does not have permission to use this."),
    "rate_limited": (429, "rate_limit_error", "This request would exceed your rate limit."),
    "usage_limit": (429, "rate_limit_error", "This request would exceed your account's rate limit."),
    "billing": (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "server_error": (500, "api_error", "Internal server error"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "model_not_found": (404, "not_found_error", "model: not found"),
    "context_too_long": (400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
}
"""Status, type and message."""
SUBSCRIPTION_TOKEN: Final = f"sk-ant-oat01-{'synthetic' * 10}"
"""What everybody is given who signs in for a token."""


class ScriptedAnthropic(ScriptedServer):
    """The model behind Claude Code, with an API key or with a token, which it gives `claude setup-token`."""

    @property
    def base_url(self) -> str:
        """For `ANTHROPIC_BASE_URL`; without `/v1`."""
        return self.origin

    def _route(self, request: RecordedRequest) -> Answer:
        if request.path.endswith("/v1/messages"):
            return self._respond(request)
        if request.path.endswith("/v1/messages/count_tokens"):
            return Whole(200, {"input_tokens": USAGE.input_tokens})
        if request.path.endswith("/v1/oauth/token"):
            return Whole(200, _long_lived())
        if request.path.endswith("/api/hello"):
            return Whole(200, {})
        return _refusal(404, "not_found_error", f"There is no {request.path} here.")

    def _respond(self, request: RecordedRequest) -> Answer:
        if request.body is None:
            return _refusal(400, "invalid_request_error", "The body is no JSON object.")
        conversation = read_conversation(request.body, request.headers)
        return render(self._next_step(conversation), conversation, streaming=bool(request.body.get("stream")))


def _long_lived() -> dict[str, Any]:
    return {
        "access_token": SUBSCRIPTION_TOKEN,
        "token_type": "Bearer",
        "expires_in": int(timedelta(days=365).total_seconds()),
        "scope": "user:inference",
        "account": {"uuid": identity("account"), "email_address": "person@example.test"},
    }


def read_conversation(body: Mapping[str, Any], headers: Mapping[str, str]) -> Conversation:
    """What a Messages request says."""
    return conversation_of(_parts(body), headers=headers, model=body.get("model", ""))


def _parts(body: Mapping[str, Any]) -> Iterator[Part]:
    for block in _blocks(body.get("system", ())):
        yield "system", block["text"]
    for message in body.get("messages", ()):
        if message["role"] != "assistant":
            for block in _blocks(message["content"]):
                yield from _part(message["role"], block)


def _part(role: str, block: Mapping[str, Any]) -> Iterator[Part]:
    match block["type"]:
        case "tool_result":
            yield "tool", "".join(inner.get("text", "") for inner in _blocks(block.get("content", ())))
        case "text" if role == "user" and not block["text"].startswith(_REMINDER):
            yield "user", block["text"]
        case "text":
            yield "system", block["text"]
        case _:  # images and the like say nothing to a script
            return


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def render(step: Step, conversation: Conversation, *, streaming: bool) -> Answer:
    """A step as the Messages API says it."""
    match step:
        case Say():
            return _reply(conversation, {"type": "text", "text": step.spoken(conversation)}, streaming, step.pause)
        case Shell(command):
            return _reply(conversation, _use("Bash", {"command": command}), streaming)
        case Tool(name, arguments):
            return _reply(conversation, _use(name, arguments), streaming)
        case Fault(kind="no_headers"):
            return Silence()
        case Fault(kind="empty"):
            return _reply(conversation, None, streaming)
        case Fault(kind="dropped" | "silent" as ending):
            return _unfinished(conversation, ending, streaming)
        case Fault(kind="auth") if "authorization" in conversation.headers:
            return _refusal(401, "authentication_error", "OAuth token has expired. Please obtain a new token.")
        case Fault(kind="usage_limit"):
            return _usage_limit(step.resets_at or datetime.now(UTC) + _WINDOW)
        case Fault(kind):
            return _refusal(*_REFUSALS[kind])


def _use(name: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity("toolu"), "name": name, "input": dict(arguments)}


def _reply(conversation: Conversation, block: dict[str, Any] | None, streaming: bool, pause: float = 0.0) -> Answer:
    stop = "tool_use" if block and block["type"] == "tool_use" else "end_turn"
    message = _message(conversation)
    if not streaming:
        return Whole(200, {**message, "content": [block] if block else [], "stop_reason": stop})
    closing = event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=_usage())
    blocks = _block_events(block, pause) if block else ()
    return Stream((event("message_start", message=message), *blocks, closing, event("message_stop")), pause)


def _unfinished(conversation: Conversation, ending: Ending, streaming: bool) -> Stream:
    if not streaming:
        return Stream((b"{",), ending=ending, content_type="application/json")
    start = event("message_start", message=_message(conversation))
    *begun, _ = _block_events({"type": "text", "text": "Half an"}, 0.0)
    return Stream((start, *begun) if ending == "dropped" else (start,), ending=ending)


def _block_events(block: Mapping[str, Any], pause: float) -> Iterator[bytes]:
    if block["type"] == "text":
        empty: dict[str, Any] = {**block, "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in spoken_pieces(block["text"], pause)]
    else:
        empty = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    yield event("content_block_start", index=0, content_block=empty)
    for delta in deltas:
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)


def _message(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": identity("msg"),
        "type": "message",
        "role": "assistant",
        "model": conversation.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(),
    }


def _usage() -> dict[str, int]:
    return {
        "input_tokens": USAGE.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": USAGE.cached_input_tokens,
        "output_tokens": USAGE.output_tokens,
    }


def _usage_limit(resets_at: datetime) -> Whole:
    headers = {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-reset": str(int(resets_at.timestamp())),
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
        "x-should-retry": "false",
    }
    return _refusal(*_REFUSALS["usage_limit"], headers)


def _refusal(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Whole:
    payload = {"type": "error", "error": {"type": kind, "message": message}, "request_id": identity("req")}
    return Whole(status, payload, headers or {})
