"""What runs cost, by group and day."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import Folder, TokenUsage


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What one group's runs with one provider cost on one day."""

    day: date
    folder: Folder
    provider: str
    runs: int = 0
    failed: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """As the provider tells it; None: it does not."""


def by_day(db: sqlite3.Connection, since: datetime, zone: ZoneInfo) -> list[Usage]:
    """Every group's days since then, in that zone, the oldest first. Counts the last attempt of each run."""
    edges = db.execute(
        "SELECT (SELECT min(ended_at) FROM run WHERE ended_at >= :since) AS first, (SELECT max(ended_at) FROM run"
        " WHERE ended_at >= :since) AS last",
        {"since": iso(since)},
    ).fetchone()
    if edges["first"] is None:
        return []
    days = _days(from_iso(edges["first"]), from_iso(edges["last"]), zone)
    rows = db.execute(
        "SELECT day.key AS number, folder, provider,"
        " count(*) AS runs, sum(state = 'failed') AS failed,"
        " round(sum(julianday(ended_at) - julianday(coalesce(started_at, ended_at))) * 86400, 3) AS seconds,"
        " sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,"
        " sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd"
        " FROM json_each(:days) AS day CROSS JOIN run"  # in this order: the days lead, an index finds their runs
        " ON ended_at >= max(:since, json_extract(day.value, '$[1]')) AND ended_at < json_extract(day.value, '$[2]')"
        " WHERE provider IS NOT NULL AND state IN ('done', 'failed')"
        " GROUP BY day.key, folder, provider ORDER BY day.key, min(ended_at)",
        {"since": iso(since), "days": json.dumps(days)},
    )
    dates = [date.fromisoformat(name) for name, _, _ in days]
    return [_usage(row, dates[int(row["number"])]) for row in rows]


def _days(first: datetime, last: datetime, zone: ZoneInfo) -> list[tuple[str, str, str]]:
    """Every day of that zone between two instants: its name, when it begins and when the next one does."""
    day, end = (instant.astimezone(zone).date() for instant in (first, last))
    found: list[tuple[str, str, str]] = []
    while day <= end:
        following = day + timedelta(days=1)
        began, ended = (datetime.combine(each, time(), zone) for each in (day, following))
        found.append((day.isoformat(), iso(began), iso(ended)))
        day = following
    return found


def _usage(row: sqlite3.Row, day: date) -> Usage:
    return Usage(
        day=day,
        folder=Folder(row["folder"]),
        provider=row["provider"],
        runs=row["runs"],
        failed=row["failed"],
        seconds=row["seconds"],
        input_tokens=row["input_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        output_tokens=row["output_tokens"],
        cost_usd=row["cost_usd"],
    )


def spent(db: sqlite3.Connection, folder: Folder, since: datetime) -> TokenUsage:
    """What a group's runs cost since then, whatever became of them."""
    row = db.execute(
        "SELECT coalesce(sum(input_tokens), 0) AS input, coalesce(sum(cached_input_tokens), 0) AS cached,"
        " coalesce(sum(output_tokens), 0) AS output, sum(cost_usd) AS cost FROM run"
        " WHERE folder = ? AND ended_at >= ?",
        (folder, iso(since)),
    ).fetchone()
    return TokenUsage(
        input_tokens=row["input"],
        cached_input_tokens=row["cached"],
        output_tokens=row["output"],
        cost_usd=row["cost"],
    )
