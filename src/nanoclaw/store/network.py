"""What became of the requests that sandboxes made, and the counts of each group's days."""

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import date, datetime, timedelta
from typing import Final, LiteralString, cast

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import Folder, NetworkCounts, NetworkDecision

KEPT: Final = timedelta(days=30)
KEPT_OF_A_GROUP: Final = 20_000
"""Rows: one group's flood does not push out what others did."""
DAYS_KEPT: Final = timedelta(days=400)

_COUNTS: Final = tuple(field.name for field in fields(NetworkCounts))


def add(db: sqlite3.Connection, decisions: Iterable[NetworkDecision]) -> None:
    """Add rows."""
    db.executemany(
        "INSERT INTO network_decision (at, folder, host, port, verdict, reason, uploaded, downloaded, ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                iso(each.at),
                each.folder,
                each.host,
                each.port,
                each.verdict,
                each.reason,
                each.uploaded,
                each.downloaded,
                each.ms,
            )
            for each in decisions
        ],
    )


def count(db: sqlite3.Connection, folder: Folder, day: date, counts: NetworkCounts) -> None:
    """Add to what a group did on a day."""
    values = asdict(counts)
    adds = ", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTS)
    sql = (
        f"INSERT INTO network_day (folder, day, {', '.join(_COUNTS)}) VALUES (?, ?{', ?' * len(_COUNTS)})"  # noqa: S608
        f" ON CONFLICT (folder, day) DO UPDATE SET {adds}"
    )
    db.execute(cast("LiteralString", sql), (folder, day.isoformat(), *(values[name] for name in _COUNTS)))


def of_day(db: sqlite3.Connection, day: date) -> dict[Folder, NetworkCounts]:
    """What every group did on a day."""
    rows = db.execute("SELECT * FROM network_day WHERE day = ?", (day.isoformat(),))
    return {Folder(row["folder"]): NetworkCounts(**{name: row[name] for name in _COUNTS}) for row in rows}


def recent(
    db: sqlite3.Connection, limit: int, folder: Folder | None = None, *, denied: bool = False
) -> list[NetworkDecision]:
    """The newest rows, the newest first: of one group or of all, all of them or what was not allowed."""
    wanted = ["verdict = 'refused'"] if denied else []
    wanted += ["folder = :folder"] if folder is not None else []
    rows = db.execute(
        f"SELECT * FROM network_decision WHERE {' AND '.join(wanted) or 1} ORDER BY id DESC LIMIT :limit",  # noqa: S608
        {"folder": folder, "limit": limit},
    )
    return [_decision(row) for row in rows]


def prune(db: sqlite3.Connection, now: datetime) -> None:
    """Forget what is old, and what is too much of one group."""
    db.execute("DELETE FROM network_decision WHERE at < ?", (iso(now - KEPT),))
    db.execute("DELETE FROM network_day WHERE day < ?", ((now - DAYS_KEPT).date().isoformat(),))
    folders = [row["folder"] for row in db.execute("SELECT DISTINCT folder FROM network_decision")]
    for folder in folders:
        db.execute(
            "DELETE FROM network_decision WHERE folder = ? AND id <="
            " (SELECT id FROM network_decision WHERE folder = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (folder, folder, KEPT_OF_A_GROUP),
        )


def _decision(row: sqlite3.Row) -> NetworkDecision:
    names = ("folder", "host", "port", "verdict", "reason", "uploaded", "downloaded", "ms")
    return NetworkDecision(at=from_iso(row["at"]), **{name: row[name] for name in names})
