"""What a group may spend on one day."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from nanoclaw.budget import day_of, used_up
from nanoclaw.failures import judge, notice
from nanoclaw.model import Budget, TokenUsage

BERLIN = ZoneInfo("Europe/Berlin")
NEXT = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("budget", "spent", "over"),
    [
        (Budget(), TokenUsage(input_tokens=10**9, cost_usd=10**6), False),
        (Budget(tokens_per_day=100), TokenUsage(input_tokens=60, output_tokens=39), False),
        (Budget(tokens_per_day=100), TokenUsage(input_tokens=60, output_tokens=40), True),
        (Budget(usd_per_day=1.0), TokenUsage(cost_usd=0.99), False),
        (Budget(usd_per_day=1.0), TokenUsage(cost_usd=1.0), True),
        (Budget(usd_per_day=1.0), TokenUsage(input_tokens=10**9), False),
        (Budget(tokens_per_day=10**9, usd_per_day=1.0), TokenUsage(input_tokens=5, cost_usd=2.0), True),
    ],
)
def test_a_budget_is_used_up_when_either_limit_is_reached(budget: Budget, spent: TokenUsage, over: bool) -> None:
    failure = used_up(budget, spent, NEXT)
    assert (failure is not None) is over


def test_what_waits_goes_on_the_next_day_and_the_chat_is_told_when() -> None:
    failure = used_up(Budget(usd_per_day=1.0), TokenUsage(cost_usd=1.5), NEXT)
    assert failure
    verdict = judge(failure, 1, datetime(2026, 3, 1, 12, tzinfo=UTC), most=4, base_seconds=5)
    assert verdict.retry_at == NEXT
    assert verdict.notify
    told = notice(failure, provider="Claude Code", sign_in="", failures=1, resets="tomorrow")
    assert told == (
        "What I may spend in this group today is used up. (US$ 1.50 of 1.00)"
        " It goes on at tomorrow; I will answer then by myself."
    )


def test_a_day_is_the_persons_own_also_when_the_clocks_change() -> None:
    began, ends = day_of(datetime(2026, 3, 29, 10, tzinfo=UTC), BERLIN)
    assert (ends.astimezone(UTC) - began.astimezone(UTC)).total_seconds() == 23 * 3600
    began, ends = day_of(datetime(2026, 10, 24, 22, 30, tzinfo=UTC), BERLIN)
    assert str(began) == "2026-10-25 00:00:00+02:00"
    assert (ends.astimezone(UTC) - began.astimezone(UTC)).total_seconds() == 25 * 3600
