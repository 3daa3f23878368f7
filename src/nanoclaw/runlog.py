"""A run's log, read again: what the agent did, step by step. The file is the host's own; what it quotes is not."""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from nanoclaw.clock import from_iso
from nanoclaw.formatting import printable, shorten

_MOST_LINES: Final = 500
_MOST_TEXT: Final = 4_000
_LINE: Final = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that happened."""

    number: int
    """The line of the log that tells it, from 1."""
    at: datetime
    what: str
    """`start`, `proof`, `started`, `activity`, `output`, `usage`, `done`, `failed`, `stderr`, …"""
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """The end of a log."""

    path: Path
    left_out: int
    """Lines before the first step."""
    steps: list[Step]


def logs_of(directory: Path, run_id: int) -> list[Path]:
    """A run's logs, one for each attempt, the first first."""
    return sorted(directory.glob(f"{run_id:06d}-*.jsonl"), key=lambda path: path.stat().st_mtime_ns)


def read_log(path: Path) -> Log:
    """The last things of a log that are worth showing, in order; a line that cannot be read is left out."""
    with path.open(encoding="utf-8", errors="replace") as file:
        last = deque(enumerate(file, 1), maxlen=_MOST_LINES)
    steps = [step for number, line in last for step in _steps(number, line)]
    return Log(path=path, left_out=last[0][0] - 1 if last else 0, steps=steps)


def _steps(number: int, line: str) -> Iterator[Step]:
    try:
        loaded: Any = json.loads(line)
        entry = cast("dict[str, Any]", loaded)
        at, what = from_iso(entry["at"]), str(entry["what"])
        event: Any = json.loads(entry["event"]) if what == "event" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if isinstance(event, dict):
        told = cast("dict[str, Any]", event)
        yield Step(number=number, at=at, what=_shown(told.get("type", "event")), text=_shown(_text_of(told)))
    elif what == "start":
        yield Step(number=number, at=at, what=what, text=f"{entry.get('provider')} in {entry.get('sandbox')}")
    elif what == "proof":
        yield Step(number=number, at=at, what=what, text=_proof(entry))
    elif entry.get("text"):
        yield Step(number=number, at=at, what=what, text=_shown(entry["text"]))


def _text_of(event: dict[str, Any]) -> str:
    if event.get("type") != "usage":
        return str(event.get("text", ""))
    read, cached, written = (event.get(name, 0) for name in ("inputTokens", "cachedInputTokens", "outputTokens"))
    return f"{read} tokens in ({cached} cached), {written} out"


def _proof(entry: dict[str, Any]) -> str:
    failed, problem = entry.get("failed"), entry.get("problem")
    if isinstance(failed, dict) and failed:
        problem = "; ".join(f"{check}: {found}" for check, found in cast("dict[str, Any]", failed).items())
    return _shown(f"does not hold: {problem}") if problem else f"the sandbox holds, in {entry.get('milliseconds')} ms"


def _shown(text: object) -> str:
    shown = printable(str(text))
    return shown if len(shown) <= _MOST_TEXT else f"{shown[:_MOST_TEXT]} …"


def activities(directory: Path, run_id: int, most: int) -> list[str]:
    """The last things that an agent did in a run, a line each."""
    logs = logs_of(directory, run_id)
    found = [shorten(step.text, _LINE) for step in read_log(logs[-1]).steps if step.what == "activity"] if logs else []
    return found[-most:]
