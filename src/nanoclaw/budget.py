"""Whether a group may go on today. Pure."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from nanoclaw.failures import Failure
from nanoclaw.model import Budget, TokenUsage


def day_of(now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When the present day of that zone began, and when the next one begins."""
    began = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return began, (began + timedelta(days=1)).replace(hour=0)


def used_up(budget: Budget, spent: TokenUsage, next_day: datetime) -> Failure | None:
    """Why no run may begin before the next day, if that is so.

    Args:
        budget: of the group.
        spent: by its runs today.
        next_day: when it may go on.
    """
    tokens = spent.input_tokens + spent.output_tokens
    if budget.tokens_per_day is not None and tokens >= budget.tokens_per_day:
        detail = f"{tokens} of {budget.tokens_per_day} tokens"
    elif budget.usd_per_day is not None and (spent.cost_usd or 0.0) >= budget.usd_per_day:
        detail = f"US$ {spent.cost_usd:.2f} of {budget.usd_per_day:.2f}"
    else:
        return None
    return Failure(kind="budget", detail=detail, retryable=False, resets_at=next_day)
