"""What a failure leads to."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from nanoclaw.failures import Failure, judge, notice
from nanoclaw.wire import FailureKind

_NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def a_failure(kind: FailureKind = "network", *, retryable: bool = True, resets_at: datetime | None = None) -> Failure:
    return Failure(kind=kind, detail="it broke", retryable=retryable, resets_at=resets_at)


def test_what_may_pass_is_tried_again_ever_later_and_then_told() -> None:
    waits = [judge(a_failure(), failures, _NOW, most=4, base_seconds=5).retry_at for failures in (1, 2, 3, 4)]
    assert waits == [_NOW + timedelta(seconds=5), _NOW + timedelta(seconds=10), _NOW + timedelta(seconds=20), None]


def test_what_cannot_pass_is_told_at_once() -> None:
    verdict = judge(a_failure("auth", retryable=False), 1, _NOW, most=4, base_seconds=5)
    assert (verdict.retry_at, verdict.notify) == (None, True)


def test_a_usage_limit_waits_until_it_ends_and_is_told() -> None:
    end = _NOW + timedelta(hours=3)
    verdict = judge(a_failure("usage_limit", retryable=False, resets_at=end), 1, _NOW, most=4, base_seconds=5)
    assert (verdict.retry_at, verdict.notify) == (end, True)


def test_a_limit_that_has_ended_meanwhile_is_tried_again_soon_and_not_for_ever() -> None:
    over = a_failure("usage_limit", retryable=False, resets_at=_NOW - timedelta(seconds=3))
    again, at_last = (judge(over, failures, _NOW, most=4, base_seconds=5) for failures in (1, 4))
    assert (again.retry_at, again.notify) == (_NOW + timedelta(seconds=5), False)
    assert (at_last.retry_at, at_last.notify) == (None, True)


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_every_kind_has_one_line_for_the_chat(kind: FailureKind) -> None:
    text = notice(a_failure(kind), provider="OpenAI Codex", sign_in="run `x`", failures=1)
    assert "\n" not in text
    assert "{" not in text
    assert "Your message is kept" in text


def test_nobody_signed_in_names_the_command() -> None:
    text = notice(a_failure("not_signed_in"), provider="OpenAI Codex", sign_in="run `codex login`", failures=1)
    assert "run `codex login`" in text


def test_the_attempts_are_counted() -> None:
    assert "4 times" in notice(a_failure(), provider="p", sign_in="s", failures=4)
