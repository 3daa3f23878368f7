"""What `codex exec --json` says, line by line. Pure."""

import json
from typing import Any

from nanoclaw.wire import Activity, Usage
from nanoclaw_runner.events import activity


class Turn:
    """One turn as it unfolds: feed it lines, then look at it."""

    def __init__(self) -> None:
        self.answer = ""
        """The last message so far; commentary looks the same, so only the last one counts."""
        self.usage: Usage | None = None
        self.error: str | None = None
        """Why it failed. Codex' own `error` events are not this: it sends them for reconnects too."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.usage is not None or self.error is not None

    def take(self, line: bytes) -> Activity | None:
        """Take in one line; answers what the agent did, when the line says that it did something."""
        try:
            event: Any = json.loads(line)
        except (ValueError, RecursionError):
            return None
        match event:
            case {"type": "turn.completed", "usage": {"input_tokens": taken, "output_tokens": given, **usage}}:
                cached = usage.get("cached_input_tokens", 0)
                self.usage = Usage(type="usage", inputTokens=taken, cachedInputTokens=cached, outputTokens=given)
            case {"type": "turn.failed", "error": {"message": str(message)}}:
                self.error = message
            case {"type": "error", "message": str(message)}:
                return activity(message)
            case {"type": "item.completed", "item": {"type": "agent_message", "text": str(text)}}:
                self.answer = text
                return activity(text)
            case {"type": "item.started" | "item.completed" as phase, "item": item}:
                return _described(phase == "item.completed", item)
            case _:
                pass
        return None


def _described(completed: bool, item: dict[str, Any]) -> Activity | None:
    match completed, item:
        case False, {"type": "command_execution", "command": str(command)}:
            return activity(f"$ {command}")
        case False, {"type": "web_search", "query": str(query)}:
            return activity(f"web search: {query}")
        case False, {"type": "mcp_tool_call", "server": str(server), "tool": str(tool)}:
            return activity(f"tool: {server}.{tool}")
        case True, {"type": "file_change", "changes": [*changes]}:
            return activity(f"changed {', '.join(str(change.get('path')) for change in changes)}")
        case True, {"type": "error", "message": str(message)}:
            return activity(message)
        case _:
            return None
