"""What waits, for those who watch the host."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from nanoclaw.clock import from_iso
from nanoclaw.model import Folder, Jid, OutboxState
from nanoclaw.store import runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """How much there is to do."""

    waiting: int
    """Runs."""
    running: int
    oldest_message: datetime | None
    """When the oldest message came that no agent has taken, or that is to be tried again."""
    outbox: dict[str, int]
    """Replies by state, those left out that were sent."""


def what_waits(db: sqlite3.Connection) -> Waiting:
    """Look at the queue and the outbox."""
    unsent = [state.value for state in OutboxState if state is not OutboxState.SENT]
    rows = db.execute(
        "SELECT state, count(*) AS n FROM outbox WHERE state IN ('ready', 'sending') GROUP BY state UNION ALL"
        " SELECT state, count(*) FROM outbox WHERE state IN ('failed', 'unknown') GROUP BY state"
    )
    found = {row["state"]: row["n"] for row in rows}
    return Waiting(
        **runs.counts(db),
        oldest_message=oldest_message(db),
        outbox={state: found.get(state, 0) for state in unsent},
    )


def oldest_message(db: sqlite3.Connection) -> datetime | None:
    """When the oldest message came that waits for an agent; None: none does."""
    row = db.execute("SELECT min(created_at) AS at FROM run WHERE state = 'waiting' AND cause = 'messages'").fetchone()
    return from_iso(row["at"]) if row["at"] else None


def is_unanswered(db: sqlite3.Connection, folder: Folder, chat: Jid) -> bool:
    """Whether anything was said in the group's chat that no agent has answered, or is answering."""
    row = db.execute(
        "SELECT 1 FROM message WHERE chat = ? AND seq > ? AND deleted_at IS NULL AND command = 0 LIMIT 1",
        (chat, runs.taken(db, folder)),
    ).fetchone()
    return row is not None
