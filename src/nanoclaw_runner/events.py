"""The shapes of what a run says, and what an HTTP status means for it. Pure."""

from typing import Final

from nanoclaw.wire import Activity, Failed, FailureKind

MAX_ACTIVITY_CHARACTERS: Final = 200

RETRYABLE: Final[frozenset[FailureKind]] = frozenset(("rate_limited", "overloaded", "network", "no_answer", "crashed"))
"""What may well go better next time. All else wants a person first, or has used up its time."""


def activity(text: str) -> Activity:
    """An `activity` event: one line, cut to `MAX_ACTIVITY_CHARACTERS`."""
    line = " ".join(text[: 4 * MAX_ACTIVITY_CHARACTERS].split())
    if len(line) > MAX_ACTIVITY_CHARACTERS:
        line = f"{line[: MAX_ACTIVITY_CHARACTERS - 1]}…"
    return {"type": "activity", "text": line}


def failed(kind: FailureKind, text: str, resets_at: str | None = None) -> Failed:
    """A `failed` event; `resets_at` is an ISO 8601 instant."""
    event: Failed = {"type": "failed", "kind": kind, "text": text, "retryable": kind in RETRYABLE}
    if resets_at:
        event["resetsAt"] = resets_at
    return event


def kind_of_status(status: int, text: str) -> FailureKind:
    """What an HTTP status of a model server means; `text` is what came with it."""
    match status:
        case 401 | 403:
            return "auth"
        case 402:
            return "billing"
        case 404 if "model" in text.lower():
            return "model_not_found"
        case 408 | 502 | 504:  # the last two are the gateway's own words for a server that it cannot reach
            return "network"
        case 413:
            return "context_too_long"
        case 429:
            return "rate_limited"
        case _:
            return "overloaded" if status >= 500 else "bad_request"
