"""What went wrong, from what Claude Code says of it. Pure.

`subtype` is "success" even when the model could not be asked: `is_error`, the HTTP status and the error class decide.
"""

from datetime import UTC, datetime
from typing import Any

from nanoclaw.wire import Failed, FailureKind
from nanoclaw_runner.events import failed, kind_of_status


def failure_of_result(result: dict[str, Any], error: str | None, resets: int | None) -> Failed:
    """The event for a `result` message with `is_error`.

    Args:
        result: the message.
        error: `error` of the last assistant message, e.g. `rate_limit`.
        resets: when the subscription's window begins anew, in seconds since 1970, if a limit was hit.
    """
    text = _text(result)
    if resets is not None:
        return failed("usage_limit", text, datetime.fromtimestamp(resets, UTC).isoformat())
    return failed(_kind(result, error, text), text)


def failure_of_process(status: int, stderr: str) -> Failed:
    """The event for a CLI that ended without a result.

    Args:
        status: the exit status; negative: the signal that ended it.
        stderr: the last that it wrote there.
    """
    last = stderr.splitlines()[-1] if stderr else "it said nothing"
    return failed("crashed", f"Claude Code ended with status {status}: {last}")


def is_unknown_session(result: dict[str, Any]) -> bool:
    """Whether the CLI refused to resume: the session's file is gone, or was never there."""
    text = _text(result)
    return "No conversation found" in text or "--resume requires a valid session" in text


def _kind(result: dict[str, Any], error: str | None, text: str) -> FailureKind:
    status = result.get("api_error_status")
    reason = result.get("terminal_reason")
    match error:
        case _ if reason == "prompt_too_long":
            return "context_too_long"
        case "billing_error":
            return "billing"
        case "model_not_found":
            return "model_not_found"
        case "authentication_failed":
            return "not_signed_in" if status is None else "auth"
        case _ if status is not None:
            return kind_of_status(status, text)
        case _:
            return "network" if reason == "api_error" else "crashed"


def _text(result: dict[str, Any]) -> str:
    return result.get("result") or "; ".join(result.get("errors") or ()) or "Claude Code failed without saying why"
