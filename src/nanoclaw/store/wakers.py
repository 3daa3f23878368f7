"""The messages that a run is for: those among what it took that wake the agent."""

import sqlite3
from datetime import datetime
from typing import Final

from nanoclaw.clock import from_iso
from nanoclaw.model import Message, Run, Seq, Standing
from nanoclaw.store import messages

_MOST: Final = 1000  # a run that was down for weeks can be for more; nobody looks at them one by one


def of_run(db: sqlite3.Connection, run: Run) -> list[tuple[Seq, datetime]]:
    """Their numbers and when they came, the oldest first."""
    rows = db.execute(
        "SELECT seq, received_at FROM message WHERE chat = ? AND seq > ? AND seq <= ? AND wakes = 1"
        " AND deleted_at IS NULL ORDER BY seq LIMIT ?",
        (run.chat, run.after_seq, run.upto_seq, _MOST),
    )
    return [(Seq(row["seq"]), from_iso(row["received_at"])) for row in rows]


def first(db: sqlite3.Connection, run: Run) -> Message | None:
    """The oldest."""
    row = db.execute(
        "SELECT min(seq) AS seq FROM message WHERE chat = ? AND seq > ? AND seq <= ? AND wakes = 1"
        " AND deleted_at IS NULL",
        (run.chat, run.after_seq, run.upto_seq),
    ).fetchone()
    return None if row["seq"] is None else messages.get(db, Seq(row["seq"]))


def last(db: sqlite3.Connection, run: Run) -> Message | None:
    """The newest: what a reply answers."""
    row = db.execute(
        "SELECT max(seq) AS seq FROM message WHERE chat = ? AND seq > ? AND seq <= ? AND wakes = 1"
        " AND deleted_at IS NULL",
        (run.chat, run.after_seq, run.upto_seq),
    ).fetchone()
    return None if row["seq"] is None else messages.get(db, Seq(row["seq"]))


def one_is_of(db: sqlite3.Connection, run: Run, standing: Standing) -> bool:
    """Whether somebody of that standing wrote one."""
    row = db.execute(
        "SELECT 1 FROM message WHERE chat = ? AND seq > ? AND seq <= ? AND wakes = 1 AND deleted_at IS NULL"
        " AND standing = ? LIMIT 1",
        (run.chat, run.after_seq, run.upto_seq, standing),
    ).fetchone()
    return row is not None
