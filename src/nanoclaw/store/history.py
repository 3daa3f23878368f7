"""What is old enough to be forgotten."""

import sqlite3
from datetime import datetime, timedelta
from typing import Final

from nanoclaw.clock import iso
from nanoclaw.store import mailbox_files, tasks

KEPT: Final = timedelta(days=90)
"""Of ended runs, settled replies with their receipts, ended tasks, and what became of messages. Messages are kept."""


def prune(db: sqlite3.Connection, now: datetime) -> None:
    """Forget what ended too long ago."""
    before = iso(now - KEPT)
    db.execute("DELETE FROM outbox WHERE created_at < ? AND state NOT IN ('ready', 'sending')", (before,))
    db.execute("DELETE FROM part WHERE outbox_id NOT IN (SELECT id FROM outbox)")
    db.execute("DELETE FROM receipt WHERE at < ?", (before,))
    db.execute("DELETE FROM change WHERE at < ?", (before,))
    db.execute("DELETE FROM run WHERE ended_at < ?", (before,))
    tasks.prune(db, now - KEPT)
    mailbox_files.prune(db, now)
