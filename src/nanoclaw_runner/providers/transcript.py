"""Keeps what was said, readable, before Claude Code shortens its session."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from nanoclaw.wire import GROUP_DIRECTORY

_DIRECTORY: Final = Path(GROUP_DIRECTORY, "conversations")
MAX_MESSAGE_CHARACTERS: Final = 4000


def archive(transcript_path: str) -> None:
    """Write a session as Markdown into the group's `conversations/`. Where that cannot be done, the run goes on."""
    try:
        lines = Path(transcript_path).read_text(encoding="utf-8", errors="replace").splitlines()
        text = render(lines, time.strftime("%Y-%m-%d %H:%M"))
        _DIRECTORY.mkdir(exist_ok=True)
        path = _DIRECTORY / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{os.urandom(2).hex()}.md"
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:  # a group that may not write, a full disk
        print(f"the conversation was not kept: {error}", file=sys.stderr)  # noqa: T201  # the runner's log


def render(lines: list[str], when: str) -> str:
    """Markdown of a transcript's lines (JSON, one message each): what people and assistant said, without the tools."""
    parts = [f"# Conversation until {when}"]
    for line in lines:
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue
        match entry:
            case {"type": "user" | "assistant" as role, "message": {"content": content}} if not entry.get("isMeta"):
                text = _text(content)
                if text:
                    parts.append(f"**{'Assistant' if role == 'assistant' else 'Chat'}:**\n\n{text}")
            case _:
                pass
    return "\n\n".join(parts) + "\n"


def _text(content: str | list[dict[str, Any]]) -> str:
    match content:
        case str(text):
            return _cut(text.strip())
        case [*blocks]:
            texts = [block["text"].strip() for block in blocks if block.get("type") == "text"]
            return _cut("\n\n".join(texts))
        case _:
            return ""


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[:MAX_MESSAGE_CHARACTERS] + " [cut]"
