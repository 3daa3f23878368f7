"""What Claude Code says in its stream of JSON messages. Pure."""

import json
from typing import Any

from nanoclaw.wire import Activity, Usage
from nanoclaw_runner.events import activity


class Conversation:
    """One conversation as it unfolds: feed it messages, then look at it."""

    def __init__(self) -> None:
        self.result: dict[str, Any] | None = None
        """The last `result` message: a run has several when work in the background makes it go on."""
        self.answer = ""
        self.error: str | None = None
        """The class of the last message's error, e.g. `rate_limit`."""
        self.resets: int | None = None
        """When a used up window begins anew, in seconds since 1970."""
        self.usage: Usage | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.result is not None and not self.result["is_error"]

    @property
    def session_id(self) -> str:
        """To go on with in the next run; known once there is a result."""
        return self.result["session_id"] if self.result else ""

    def take(self, message: dict[str, Any]) -> list[Activity]:
        """Take in one message; answers what the agent did, when the message says that it did something."""
        match message:
            case {"type": "assistant", "message": {"content": [*blocks]}}:
                self.error = message.get("error")
                return [done for block in blocks if (done := _described(block))]
            case {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", **limit}}:
                self.resets = limit.get("resetsAt")
            case {"type": "result", "is_error": bool()}:
                self.result = message
                self.answer = message.get("result") or self.answer
                self._count(message)
            case _:
                pass
        return []

    def _count(self, result: dict[str, Any]) -> None:
        """Add up what it cost since the last result; its other sums count the session's earlier runs too."""
        for part in result.get("model_usage_since_last_result", {}).values():
            usage = self.usage or Usage(type="usage", inputTokens=0, cachedInputTokens=0, outputTokens=0, costUsd=0.0)
            cached = part["cacheReadInputTokens"]
            self.usage = Usage(
                type="usage",
                inputTokens=usage["inputTokens"] + part["inputTokens"] + part["cacheCreationInputTokens"] + cached,
                cachedInputTokens=usage["cachedInputTokens"] + cached,
                outputTokens=usage["outputTokens"] + part["outputTokens"],
                costUsd=usage.get("costUsd", 0.0) + part["costUSD"],
            )


def _described(block: dict[str, Any]) -> Activity | None:
    match block:
        case {"type": "text", "text": str(text)}:
            return activity(text)
        case {"type": "tool_use", "name": str(name), "input": arguments}:
            return activity(f"{name} {json.dumps(arguments, ensure_ascii=False)}")
        case _:
            return None
