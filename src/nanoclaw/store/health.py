"""Whether the database takes what is written: by writing."""

import sqlite3
from datetime import datetime

from nanoclaw.clock import iso


def note(db: sqlite3.Connection, now: datetime) -> None:
    """Write that somebody has asked."""
    db.execute("INSERT INTO health (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at", (iso(now),))
