"""The outbox: replies on their way, in order per chat, each with a key that is its own for ever."""

import sqlite3
from datetime import datetime

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import Jid, OutboxItem, OutboxKind, OutboxState, RunId


def put(
    db: sqlite3.Connection, key: str, chat: Jid, kind: OutboxKind, text: str, run_id: RunId | None, now: datetime
) -> None:
    """Add a reply; one whose key is there already is the same reply and is left as it is."""
    db.execute(
        "INSERT INTO outbox (key, chat, kind, text, run_id, due_at, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO NOTHING",
        (key, chat, kind, text, run_id, iso(now), iso(now)),
    )


def take(db: sqlite3.Connection, now: datetime) -> list[OutboxItem]:
    """The next due reply of every chat that has none on its way; they are now `sending`."""
    rows = db.execute(
        "UPDATE outbox SET state = 'sending', attempt = attempt + 1 WHERE state = 'ready' AND due_at <= ? AND id IN"
        " (SELECT min(id) FROM outbox WHERE state IN ('ready', 'sending') GROUP BY chat) RETURNING *",
        (iso(now),),
    ).fetchall()
    return [_item(row) for row in rows]


def sent(db: sqlite3.Connection, item: OutboxItem, platform_id: str, now: datetime) -> None:
    """The platform took it."""
    _settle(db, item, OutboxState.SENT, platform_id=platform_id, sent_at=iso(now))


def retry(db: sqlite3.Connection, item: OutboxItem, error: str, due_at: datetime) -> None:
    """It was not sent; it goes again."""
    _settle(db, item, OutboxState.READY, error=error, due_at=iso(due_at))


def give_up(db: sqlite3.Connection, item: OutboxItem, state: OutboxState, error: str) -> None:
    """It will not be sent (`failed`), or nobody knows whether it was (`unknown`)."""
    _settle(db, item, state, error=error)


def _settle(
    db: sqlite3.Connection,
    item: OutboxItem,
    state: OutboxState,
    *,
    platform_id: str | None = None,
    sent_at: str | None = None,
    error: str | None = None,
    due_at: str | None = None,
) -> None:
    db.execute(
        "UPDATE outbox SET state = ?, platform_id = ?, sent_at = ?, error = ?, due_at = coalesce(?, due_at)"
        " WHERE id = ? AND state = 'sending'",
        (state, platform_id, sent_at, error, due_at, item.id),
    )


def interrupted(db: sqlite3.Connection) -> list[OutboxItem]:
    """At start: what the last host was sending when it went away."""
    return [_item(row) for row in db.execute("SELECT * FROM outbox WHERE state = 'sending' ORDER BY id")]


def next_due(db: sqlite3.Connection) -> datetime | None:
    """When the earliest reply that can go is due."""
    row = db.execute(
        "SELECT min(due_at) AS at FROM outbox WHERE state = 'ready' AND id IN"
        " (SELECT min(id) FROM outbox WHERE state IN ('ready', 'sending') GROUP BY chat)"
    ).fetchone()
    return from_iso(row["at"]) if row["at"] else None


def of_run(db: sqlite3.Connection, run_id: RunId) -> list[OutboxItem]:
    """Everything that this run has said, in order."""
    return [_item(row) for row in db.execute("SELECT * FROM outbox WHERE run_id = ? ORDER BY id", (run_id,))]


def sent_after(db: sqlite3.Connection, chat: Jid, after_id: int, limit: int) -> list[OutboxItem]:
    """What was delivered to this chat with a greater id, oldest first."""
    rows = db.execute(
        "SELECT * FROM outbox WHERE chat = ? AND id > ? AND state = 'sent' ORDER BY id LIMIT ?", (chat, after_id, limit)
    )
    return [_item(row) for row in rows]


def last_id(db: sqlite3.Connection) -> int:
    """The greatest id so far."""
    return db.execute("SELECT coalesce(max(id), 0) AS n FROM outbox").fetchone()["n"]


def open_count(db: sqlite3.Connection) -> int:
    """How many replies are still on their way."""
    return db.execute("SELECT count(*) AS n FROM outbox WHERE state IN ('ready', 'sending')").fetchone()["n"]


def due_count(db: sqlite3.Connection, now: datetime) -> int:
    """How many replies are being sent or could be."""
    return db.execute(
        "SELECT count(*) AS n FROM outbox WHERE state = 'sending' OR (state = 'ready' AND due_at <= ?)", (iso(now),)
    ).fetchone()["n"]


def undelivered(db: sqlite3.Connection) -> dict[str, int]:
    """How many replies failed for good, and of how many nobody knows."""
    row = db.execute(
        "SELECT count(*) FILTER (WHERE state = 'failed') AS failed,"
        " count(*) FILTER (WHERE state = 'unknown') AS unknown FROM outbox"
    ).fetchone()
    return {"failed": row["failed"], "unknown": row["unknown"]}


def _item(row: sqlite3.Row) -> OutboxItem:
    return OutboxItem(
        id=row["id"],
        key=row["key"],
        chat=Jid(row["chat"]),
        kind=row["kind"],
        text=row["text"],
        run_id=RunId(row["run_id"]) if row["run_id"] is not None else None,
        state=OutboxState(row["state"]),
        attempt=row["attempt"],
        created_at=from_iso(row["created_at"]),
        sent_at=from_iso(row["sent_at"]) if row["sent_at"] else None,
        platform_id=row["platform_id"],
        error=row["error"],
    )
