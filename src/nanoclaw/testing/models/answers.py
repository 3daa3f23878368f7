"""What a scripted server can send back, as values, and the pieces that both APIs build theirs from. Pure."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

_WORD: Final = re.compile(r"\s*\S+\s*")

Ending = Literal["complete", "dropped", "silent"]
"""How a stream ends: as it should, by a lost connection, or not at all."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An ordinary JSON answer."""

    status: int
    payload: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Stream:
    """A 200 whose body comes piece by piece."""

    pieces: tuple[bytes, ...]
    pause: float = 0.0
    """Seconds before each piece."""
    ending: Ending = "complete"
    content_type: str = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Silence:
    """Not even headers."""


Answer = Whole | Stream | Silence


def refusal(status: int, message: str, **details: str) -> Whole:
    """An error as OpenAI words it; `details` are `type` and `code`."""
    return Whole(status, {"error": {"message": message, **details}})


def event(kind: str, **fields: object) -> bytes:
    """One server-sent event, shaped as both APIs shape theirs: the kind as the event's name and in its data."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def spoken_pieces(text: str, pause: float) -> tuple[str, ...]:
    """How a text is cut for streaming: by words when it is to come slowly, else not at all."""
    return tuple(_WORD.findall(text)) if pause else (text,)


def identity(prefix: str) -> str:
    """A new identifier, e.g. `msg_…`."""
    return f"{prefix}_{uuid.uuid4().hex}"
