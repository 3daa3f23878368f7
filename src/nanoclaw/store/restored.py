"""What was under way when a backup was made: the backup does not know whether it happened afterwards."""

import sqlite3
from datetime import datetime

from nanoclaw.clock import iso


def doubt_replies(db: sqlite3.Connection, why: str, now: datetime) -> int:
    """Replies on their way become `unknown`: they are not sent again. Answers how many."""
    return db.execute(
        "UPDATE outbox SET state = 'unknown', error = ?, settled_at = ?, told = 1 WHERE state IN ('ready', 'sending')",
        (why, iso(now)),
    ).rowcount


def end_runs(db: sqlite3.Connection, why: str, now: datetime) -> int:
    """Runs that waited or ran are over; their messages are still to be answered. Answers how many."""
    return db.execute(
        "UPDATE run SET state = 'failed', failure = 'stopped', detail = ?, ended_at = ?"
        " WHERE state IN ('waiting', 'running')",
        (why, iso(now)),
    ).rowcount
