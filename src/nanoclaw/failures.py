"""What a failed run means: whether and when it is tried again, and the one sentence that the chat gets. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from nanoclaw.formatting import shorten
from nanoclaw.wire import FailureKind

_DETAIL_LIMIT: Final = 200

_SENTENCES: Final[dict[FailureKind, str]] = {
    "not_signed_in": "I cannot answer: nobody is signed in for {provider}.",
    "auth": "{provider} refused the sign-in.",
    "billing": "The {provider} account has no credit left.",
    "usage_limit": "The {provider} usage limit is reached.",
    "rate_limited": "{provider} is turning requests away because there were too many.",
    "overloaded": "{provider} is overloaded or has a fault.",
    "network": "I cannot reach {provider}.",
    "context_too_long": "This conversation has become too long for {provider}.",
    "model_not_found": "{provider} does not know the model that this group asks for.",
    "bad_request": "{provider} did not accept the request.",
    "timeout": "I ran out of time and was stopped.",
    "no_answer": "{provider} ended without an answer.",
    "crashed": "{provider} stopped unexpectedly.",
    "sandbox": "I could not start this group's sandbox.",
    "disk": "This group's files take more room than they may.",
    "budget": "What I may spend in this group today is used up.",
    "stopped": "I was told to stop.",
    "internal": "Something went wrong inside NanoClaw.",
}

_PASSES: Final[frozenset[FailureKind]] = frozenset({"usage_limit", "budget"})
"""With a time at which they end by themselves."""

_CURES: Final[dict[FailureKind, str]] = {
    "auth": "Sign in again: {sign_in}.",
    "billing": "Add credit, then send your message again.",
    "model_not_found": "Change `model` in this group's providerConfig.",
    "disk": "Remove some of them, or raise `sandbox.disk` in nanoclaw.toml.",
    "timeout": "Ask for a smaller step, or raise containerConfig.timeout for this group.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why an attempt failed. `hint` is what to do, if the one who raised it knew."""

    kind: FailureKind
    detail: str
    retryable: bool
    hint: str = ""
    resets_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What follows from a failure."""

    retry_at: datetime | None
    notify: bool


def judge(failure: Failure, failures: int, now: datetime, *, most: int, base_seconds: float) -> Verdict:
    """Whether an attempt is tried again, and whether the chat is told now.

    Args:
        failure: this one.
        failures: how many attempts of this run have failed, this one included.
        now: the present.
        most: attempts in all.
        base_seconds: the wait after the first failure; it doubles.
    """
    resets_at = failure.resets_at if failure.kind in _PASSES else None
    if resets_at is not None and resets_at > now:
        return Verdict(retry_at=resets_at, notify=True)
    has_passed = resets_at is not None
    if not (failure.retryable or has_passed) or failures >= most:
        return Verdict(retry_at=None, notify=True)
    return Verdict(retry_at=now + timedelta(seconds=base_seconds * 2 ** (failures - 1)), notify=False)


def notice(failure: Failure, *, provider: str, sign_in: str, failures: int, resets: str = "") -> str:
    """The sentence for the chat: what happened, what to do, and that the message is not lost.

    Args:
        failure: what happened last.
        provider: how people call it.
        sign_in: the command that signs in.
        failures: attempts that failed.
        resets: when a limit ends, as a local time, if the run goes on by itself then.
    """
    parts = [_SENTENCES[failure.kind].format(provider=provider)]
    if failure.kind not in ("not_signed_in", "timeout") and failure.detail:
        parts.append(f"({shorten(failure.detail, _DETAIL_LIMIT)})")
    if resets:
        parts.append(f"It goes on at {resets}; I will answer then by myself.")
        return " ".join(parts)
    cure = failure.hint or _CURES.get(failure.kind, "")
    if failure.kind == "not_signed_in":
        cure = cure or f"To sign in, {sign_in}."
    if cure:
        parts.append(_sentence(cure.format(sign_in=sign_in)) if "{sign_in}" in cure else _sentence(cure))
    if failures > 1:
        parts.append(f"I tried {failures} times.")
    parts.append("Your message is kept; I will answer it with your next one.")
    return " ".join(parts)


def task_notice(task_id: str, prompt: str, why: str) -> str:
    """For a task whose runs keep failing: which, why, and that it can be paused."""
    return (
        f"The task “{shorten(prompt, 60)}” ({task_id}) keeps failing. {why} To let it rest, ask me to pause {task_id}."
    )


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
