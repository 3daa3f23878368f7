"""Reading a runner's events. The sandbox is not trusted: a line is one of `wire`'s shapes, or a `WireError`. Pure."""

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from nanoclaw.clock import from_iso
from nanoclaw.errors import WireError
from nanoclaw.model import TokenUsage
from nanoclaw.wire import PROTOCOL, FailureKind

_MOST_TOKENS = 1 << 53
_FAILURE_KINDS = frozenset(get_args(FailureKind))


@dataclass(frozen=True, slots=True)
class Started:
    """The runner speaks our protocol and begins."""


@dataclass(frozen=True, slots=True)
class Activity:
    """The agent did something."""

    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """Text for the chat."""

    text: str


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What the run cost."""

    usage: TokenUsage


@dataclass(frozen=True, slots=True)
class Done:
    """The run succeeded."""

    session_id: str | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed."""

    kind: FailureKind
    text: str
    retryable: bool
    resets_at: datetime | None


Event = Started | Activity | Output | UsageReport | Done | Failed


def parse_event(line: bytes) -> Event:
    """One line of a runner's stdout.

    Raises:
        WireError: it is no JSON object of a known type with fields of the right types, or of another protocol.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError("a line on the runner's stdout is no JSON") from error
    match value:
        case {"type": "started", "protocol": int(protocol)}:
            return _started(protocol)
        case {"type": "activity", "text": str(text)}:
            return Activity(text)
        case {"type": "output", "text": str(text)}:
            return Output(text)
        case {"type": "usage"}:
            return UsageReport(_usage(value))
        case {"type": "done"}:
            return Done(_session(value.get("sessionId")))
        case {"type": "failed", "kind": str(kind), "text": str(text), "retryable": bool(retryable)}:
            return _failed(kind, text, retryable, value.get("resetsAt"))
        case _:
            raise WireError("a line on the runner's stdout is no known event")


def _started(protocol: int) -> Started:
    if protocol != PROTOCOL:
        raise WireError(
            f"the runner speaks protocol {protocol}, the host {PROTOCOL}", "rebuild with `nanoclaw image build`"
        )
    return Started()


def _session(value: object) -> str | None:
    if value is None or (isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()):
        return value
    raise WireError("the runner named an impossible session id")


def _failed(kind: str, text: str, retryable: bool, resets_at: object) -> Failed:
    if kind not in _FAILURE_KINDS:
        raise WireError("the runner named an unknown kind of failure")
    instant = None
    if isinstance(resets_at, str):
        try:
            instant = from_iso(resets_at)
        except (ValueError, OverflowError) as error:
            raise WireError("the runner gave an impossible resetsAt") from error
    return Failed(kind, text, retryable, instant)  # pyright: ignore[reportArgumentType]  # membership checked above


def _usage(value: dict[str, Any]) -> TokenUsage:
    def tokens(name: str) -> int:
        count = value.get(name)
        if not isinstance(count, int) or not 0 <= count <= _MOST_TOKENS:
            raise WireError(f"the runner gave an impossible {name}")
        return count

    cost = value.get("costUsd")
    if cost is not None and not (isinstance(cost, int | float) and math.isfinite(cost) and cost >= 0):
        raise WireError("the runner gave an impossible costUsd")
    return TokenUsage(
        input_tokens=tokens("inputTokens"),
        cached_input_tokens=tokens("cachedInputTokens"),
        output_tokens=tokens("outputTokens"),
        cost_usd=None if cost is None else float(cost),
    )
