"""A scripted OpenAI: the Responses API as Codex speaks it, ChatGPT's backend, and ChatGPT's sign-in."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nanoclaw.testing.models.answers import (
    Answer,
    Ending,
    Silence,
    Stream,
    Whole,
    event,
    identity,
    refusal,
    spoken_pieces,
)
from nanoclaw.testing.models.script import (
    USAGE,
    Conversation,
    Fault,
    FaultKind,
    Part,
    PartKind,
    Say,
    Script,
    Shell,
    Step,
    Tool,
    conversation_of,
)
from nanoclaw.testing.models.server import RecordedRequest, ScriptedServer
from nanoclaw.testing.models.signin import SignIn, is_expired

_CONTEXT_OPENINGS: Final = ("<environment_context>", "# AGENTS.md instructions")
"""How the user messages begin that Codex writes by itself."""
_OUTPUT_FRAME: Final = "\nOutput:\n"
"""Ends the lines that Codex puts before what a tool put out."""
_LONGEST_WAIT_MS: Final = 30_000  # Codex caps a command's wait there, not a script's; the defaults are shorter
_WINDOW: Final = timedelta(hours=5)
_REFUSALS: Final[Mapping[FaultKind, tuple[int, str, str, str]]] = {
    "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided, or an expired token."),
    "forbidden": (403, "invalid_request_error", "forbidden", "You have no access to this."),
    "rate_limited": (429, "rate_limit_error", "rate_limit_exceeded", "Rate limit reached."),
    "billing": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    "server_error": (500, "server_error", "server_error", "The server had an error."),
    "overloaded": (503, "server_error", "server_is_overloaded", "The model is overloaded."),
    "model_not_found": (404, "invalid_request_error", "model_not_found", "The model does not exist."),
}
"""Status, type, code and message."""


class ScriptedOpenAI(ScriptedServer):
    """The model behind Codex, with an API key or with a ChatGPT sign-in, whose access token must not have expired.

    `sign_in` is the token endpoint and the device sign-in.
    """

    def __init__(self, script: Script, *, port: int = 0) -> None:
        """See `ScriptedServer`."""
        super().__init__(script, port=port)
        self.sign_in = SignIn()

    @property
    def base_url(self) -> str:
        """For `OPENAI_BASE_URL`; ends in `/v1`."""
        return f"{self.origin}/v1"

    @property
    def chatgpt_base_url(self) -> str:
        """For `chatgpt_base_url`; model calls of a ChatGPT sign-in go to `/codex/responses` below it."""
        return f"{self.origin}/backend-api"

    @property
    def issuer_url(self) -> str:
        """For `codex login --experimental_issuer`."""
        return self.origin

    @property
    def token_url(self) -> str:
        """For `CODEX_REFRESH_TOKEN_URL_OVERRIDE`."""
        return f"{self.origin}/oauth/token"

    def _route(self, request: RecordedRequest) -> Answer:
        if "upgrade" in request.headers:
            return refusal(426, "There are no websockets here.")
        if request.path.endswith("/responses"):
            return self._respond(request)
        if request.path.endswith("/responses/compact"):
            return Whole(200, {"output": []})
        if request.path.endswith("/models"):
            return Whole(200, {"object": "list", "data": [], "models": []})
        if signed_in := self.sign_in.answer(request):
            return signed_in
        if request.path.startswith("/backend-api/"):
            return Whole(200, {})
        return refusal(404, f"There is no {request.path} here.")

    def _respond(self, request: RecordedRequest) -> Answer:
        if request.body is None:
            return refusal(400, "The body is no JSON object.")
        conversation = read_conversation(request.body, request.headers)
        return render(self._next_step(conversation), conversation, request.body)

    def _is_signed_in(self, headers: Mapping[str, str]) -> bool:
        return super()._is_signed_in(headers) and not is_expired(headers.get("authorization", ""))


def read_conversation(body: Mapping[str, Any], headers: Mapping[str, str]) -> Conversation:
    """What a Responses request says."""
    return conversation_of(_parts(body), headers=headers, model=body.get("model", ""))


def _parts(body: Mapping[str, Any]) -> Iterator[Part]:
    yield "system", body.get("instructions") or ""
    for item in body.get("input", ()):
        if item["type"] in ("function_call_output", "custom_tool_call_output"):
            yield "tool", _unframed("".join(_texts(item["output"])))
        elif item["type"] == "message" and item["role"] != "assistant":
            for text in _texts(item["content"]):
                yield _author(item["role"], text), text


def _author(role: str, text: str) -> PartKind:
    return "user" if role == "user" and not text.startswith(_CONTEXT_OPENINGS) else "system"


def _unframed(output: str) -> str:
    _, frame, inner = output.partition(_OUTPUT_FRAME)
    return inner if frame else output


def _texts(content: str | list[dict[str, Any]]) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]


def render(step: Step, conversation: Conversation, body: Mapping[str, Any]) -> Answer:
    """A step as the Responses API says it."""
    match step:
        case Say():
            return _spoken(step.spoken(conversation), step.pause)
        case Shell(command):
            return _stream(*_item_events(_call(command, body)), _completed())
        case Tool():
            raise ValueError("Codex has no tools but the shell")
        case Fault():
            return _failure(step)


def _spoken(text: str, pause: float) -> Stream:
    message_id = identity("msg")
    message: dict[str, Any] = {
        "type": "message",
        "id": message_id,
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    return _stream(*_item_events(message, *spoken_pieces(text, pause)), _completed(), pause=pause)


_WAITING: Final = """\
// @exec: {{"yield_time_ms": 600000}}
let result = await tools.exec_command({arguments});
let output = result.output;
while (result.session_id != null) {{
  result = await tools.write_stdin({{session_id: result.session_id, chars: "", yield_time_ms: {wait}}});
  output += result.output;
}}
text(output);"""


def _call(command: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A call of the shell tool: most models of Codex write JavaScript for `exec`, the others call `exec_command`."""
    arguments = json.dumps({"cmd": command, "yield_time_ms": _LONGEST_WAIT_MS})
    ids = {"id": identity("fc"), "call_id": identity("call")}
    if "exec" in _offered_tools(body):
        script = _WAITING.format(arguments=arguments, wait=_LONGEST_WAIT_MS)
        return {"type": "custom_tool_call", "name": "exec", "input": script, **ids}
    return {"type": "function_call", "name": "exec_command", "arguments": arguments, **ids}


def _offered_tools(body: Mapping[str, Any]) -> set[str]:
    offers = list(body.get("tools", ()))
    for item in body.get("input", ()):
        if item["type"] == "additional_tools":
            offers += item["tools"]
    return {tool["name"] for offer in offers for tool in offer.get("tools", (offer,)) if "name" in tool}


def _item_events(item: Mapping[str, Any], *deltas: str) -> Iterator[bytes]:
    yield event("response.output_item.added", output_index=0, item=item)
    for delta in deltas:
        yield event("response.output_text.delta", item_id=item["id"], output_index=0, content_index=0, delta=delta)
    yield event("response.output_item.done", output_index=0, item=item)


def _completed() -> bytes:
    usage = {
        "input_tokens": USAGE.input_tokens,
        "input_tokens_details": {"cached_tokens": USAGE.cached_input_tokens},
        "output_tokens": USAGE.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": USAGE.input_tokens + USAGE.output_tokens,
    }
    return event("response.completed", response={"id": identity("resp"), "usage": usage})


def _stream(*events: bytes, pause: float = 0.0, ending: Ending = "complete") -> Stream:
    return Stream((event("response.created", response={"id": identity("resp")}), *events), pause, ending)


def _failure(failed: Fault) -> Answer:
    match failed.kind:
        case "no_headers":
            return Silence()
        case "silent":
            return _stream(ending="silent")
        case "dropped":
            beginning = tuple(_item_events({"type": "message", "id": identity("msg"), "role": "assistant"}, "Half an"))
            return _stream(*beginning[:-1], ending="dropped")
        case "empty":
            return _stream(_completed())
        case "context_too_long":
            error = {"code": "context_length_exceeded", "message": "Your input exceeds the context window."}
            return _stream(event("response.failed", response={"id": identity("resp"), "error": error}))
        case "usage_limit":
            return _usage_limit(failed.resets_at or datetime.now(UTC) + _WINDOW)
        case _:
            status, kind, code, message = _REFUSALS[failed.kind]
            return refusal(status, message, type=kind, code=code)


def _usage_limit(resets_at: datetime) -> Whole:
    reset = int(resets_at.timestamp())
    seconds = int((resets_at - datetime.now(UTC)).total_seconds())
    headers = {
        "x-codex-primary-used-percent": "100",
        "x-codex-primary-window-minutes": str(int(_WINDOW.total_seconds() // 60)),
        "x-codex-primary-reset-at": str(reset),
    }
    error = {
        "type": "usage_limit_reached",
        "message": "The usage limit has been reached",
        "plan_type": "plus",
        "resets_at": reset,
        "resets_in_seconds": max(0, seconds),
    }
    return Whole(429, {"error": error}, headers)
