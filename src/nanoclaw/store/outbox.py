"""The outbox: replies on their way, in order per chat, each with a key that is its own for ever.

A reply goes out as one message or several, its parts. Each part is recorded as soon as it is acknowledged, so that what
a crash interrupted goes on from there.

    ready → sending → sent | failed | unknown       unknown → sent, when a receipt tells that all of it arrived
      ↑────────┘
"""

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import InboundReceipt, Jid, OutboxItem, OutboxKind, OutboxState, OutgoingFile, RunId, Seq

_OPEN: Final = "state IN ('ready', 'sending')"
"""As the index of open replies has it; without it SQLite looks through all that were ever sent."""


def put(
    db: sqlite3.Connection,
    key: str,
    chat: Jid,
    kind: OutboxKind,
    text: str,
    run_id: RunId | None,
    now: datetime,
    *,
    files: Sequence[OutgoingFile] = (),
    answers: Seq | None = None,
) -> None:
    """Add a reply; one whose key is there already is the same reply and is left as it is."""
    listed = json.dumps([asdict(file) for file in files]) if files else None
    db.execute(
        "INSERT INTO outbox (key, chat, kind, text, run_id, due_at, created_at, files, answers)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
        (key, chat, kind, text, run_id, iso(now), iso(now), listed, answers),
    )


def take(db: sqlite3.Connection, now: datetime) -> list[OutboxItem]:
    """The next due reply of every chat that has none on its way; they are now `sending`."""
    rows = db.execute(
        "UPDATE outbox SET state = 'sending', attempt = attempt + 1 WHERE state = 'ready' AND due_at <= ? AND id IN"
        " (SELECT min(id) FROM outbox WHERE state IN ('ready', 'sending') GROUP BY chat) RETURNING *",
        (iso(now),),
    ).fetchall()
    return [_item(row) for row in rows]


def part_key(item: OutboxItem, number: int) -> str:
    """What a part is called, for ever; parts are counted from 1."""
    return f"{item.key}/{number}"


def parts_gone(db: sqlite3.Connection, item: OutboxItem) -> int:
    """How many parts need not go any more; they are the first ones."""
    return db.execute("SELECT count(*) AS n FROM part WHERE outbox_id = ?", (item.id,)).fetchone()["n"]


def part_sent(
    db: sqlite3.Connection, item: OutboxItem, number: int, platform_id: str, now: datetime, *, last: bool
) -> None:
    """The platform took a part; with the last one the reply is settled."""
    _add_part(db, item, number, "sent", platform_id)
    if last:
        settle(db, item.id, now)


def part_unknown(
    db: sqlite3.Connection, item: OutboxItem, number: int, error: str, now: datetime, *, last: bool
) -> None:
    """Nobody knows whether the platform took a part, unless a receipt has told already; it is not sent again."""
    key = part_key(item, number)
    receipt = db.execute("SELECT platform_id FROM receipt WHERE key = ?", (key,)).fetchone()
    if receipt:
        _add_part(db, item, number, "sent", receipt["platform_id"])
    else:
        _add_part(db, item, number, "unknown", None)
        db.execute("UPDATE outbox SET error = ? WHERE id = ?", (error, item.id))
    if last:
        settle(db, item.id, now)


def _add_part(db: sqlite3.Connection, item: OutboxItem, number: int, state: str, platform_id: str | None) -> None:
    db.execute(
        "INSERT INTO part (key, outbox_id, number, state, platform_id) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO NOTHING",
        (part_key(item, number), item.id, number, state, platform_id),
    )


def settle(db: sqlite3.Connection, outbox_id: int, now: datetime) -> None:
    """Every part went: the reply is `sent`, or `unknown` while one of them is."""
    parts = db.execute(
        "SELECT state, platform_id FROM part WHERE outbox_id = ? ORDER BY number", (outbox_id,)
    ).fetchall()
    unknown = any(part["state"] == "unknown" for part in parts)
    db.execute(
        "UPDATE outbox SET state = ?, platform_id = ?, sent_at = ?, settled_at = ?, error = CASE WHEN ? THEN error END"
        " WHERE id = ? AND state IN ('sending', 'unknown')",
        (
            OutboxState.UNKNOWN if unknown else OutboxState.SENT,
            parts[-1]["platform_id"],
            None if unknown else iso(now),
            iso(now),
            unknown,
            outbox_id,
        ),
    )


def retry(db: sqlite3.Connection, item: OutboxItem, error: str, due_at: datetime) -> None:
    """What is left of it was not sent; it goes again."""
    db.execute(
        "UPDATE outbox SET state = 'ready', error = ?, due_at = ? WHERE id = ? AND state = 'sending'",
        (error, iso(due_at), item.id),
    )


def hurry(db: sqlite3.Connection, chats: Collection[Jid], now: datetime) -> None:
    """What waits to be tried again in these chats is due now."""
    db.executemany(
        "UPDATE outbox SET due_at = ? WHERE state = 'ready' AND chat = ? AND due_at > ?",
        [(iso(now), chat, iso(now)) for chat in chats],
    )


def waiting_chats(db: sqlite3.Connection) -> list[Jid]:
    """The chats in which something waits to be sent."""
    rows = db.execute(f"SELECT DISTINCT chat FROM outbox WHERE {_OPEN} AND state = 'ready'")  # noqa: S608
    return [Jid(row["chat"]) for row in rows]


def reject(db: sqlite3.Connection, item: OutboxItem, error: str, now: datetime) -> None:
    """What is left of it will not be sent."""
    db.execute(
        "UPDATE outbox SET state = 'failed', error = ?, settled_at = ? WHERE id = ? AND state = 'sending'",
        (error, iso(now), item.id),
    )


def interrupted(db: sqlite3.Connection) -> list[OutboxItem]:
    """At start: what the last host was sending when it went away."""
    rows = db.execute(f"SELECT * FROM outbox WHERE {_OPEN} AND state = 'sending'")  # noqa: S608
    return sorted((_item(row) for row in rows), key=lambda item: item.id)


def note_receipt(db: sqlite3.Connection, receipt: InboundReceipt) -> bool:
    """Remember how far something has come. Answers whether that settled a reply that was `unknown`."""
    db.execute(
        "INSERT INTO receipt (chat, platform_id, state, at, key) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (receipt.chat, receipt.platform_id, receipt.state, iso(receipt.at), receipt.key),
    )
    if receipt.key is None:
        return False
    row = db.execute(
        "UPDATE part SET state = 'sent', platform_id = ? WHERE key = ? AND state = 'unknown' RETURNING outbox_id",
        (receipt.platform_id, receipt.key),
    ).fetchone()
    if row is None:
        return False
    settled = db.execute("SELECT 1 FROM outbox WHERE id = ? AND state = 'unknown'", (row["outbox_id"],)).fetchone()
    if settled:
        settle(db, row["outbox_id"], receipt.at)
    return settled is not None


def progress(db: sqlite3.Connection, item: OutboxItem) -> dict[str, datetime]:
    """How far all of a reply has come, and when: `server`, `device`, `read`."""
    rows = db.execute(
        "SELECT receipt.state, max(receipt.at) AS at FROM part CROSS JOIN receipt"  # parts lead: a reply has few
        " ON receipt.platform_id = part.platform_id AND receipt.chat = :chat WHERE outbox_id = :id"
        " GROUP BY receipt.state"
        " HAVING count(DISTINCT part.key) = (SELECT count(*) FROM part WHERE outbox_id = :id) ORDER BY at",
        {"chat": item.chat, "id": item.id},
    )
    return {row["state"]: from_iso(row["at"]) for row in rows}


def next_due(db: sqlite3.Connection) -> datetime | None:
    """When the earliest reply that can go is due."""
    row = db.execute(
        "SELECT min(due_at) AS at FROM outbox WHERE state = 'ready' AND id IN"
        " (SELECT min(id) FROM outbox WHERE state IN ('ready', 'sending') GROUP BY chat)"
    ).fetchone()
    return from_iso(row["at"]) if row["at"] else None


def untold(db: sqlite3.Connection, unknown_before: datetime) -> list[OutboxItem]:
    """What did not arrive, or has been unknown since before that, and was not told of yet; now it counts as told."""
    rows = db.execute(
        "UPDATE outbox SET told = 1 WHERE told = 0 AND state IN ('failed', 'unknown')"
        " AND (state = 'failed' OR (state = 'unknown' AND settled_at <= ?)) RETURNING *",
        (iso(unknown_before),),
    ).fetchall()
    return sorted((_item(row) for row in rows), key=lambda item: item.id)


def first_untold(db: sqlite3.Connection) -> datetime | None:
    """Since when the oldest reply that nobody was told of has been `failed` or `unknown`."""
    row = db.execute(
        "SELECT min(settled_at) AS at FROM outbox WHERE told = 0 AND state IN ('failed', 'unknown')"
    ).fetchone()
    return from_iso(row["at"]) if row["at"] else None


def of_run(db: sqlite3.Connection, run_id: RunId) -> list[OutboxItem]:
    """Everything that this run has said, in order."""
    return [_item(row) for row in db.execute("SELECT * FROM outbox WHERE run_id = ? ORDER BY id", (run_id,))]


def put_answer(db: sqlite3.Connection, seq: Seq, chat: Jid, text: str, now: datetime) -> None:
    """Answer a command."""
    put(db, f"command-{seq}", chat, "notice", text, None, now)


def to_command(db: sqlite3.Connection, seq: Seq) -> OutboxItem | None:
    """The answer to a command, if this message was one."""
    row = db.execute("SELECT * FROM outbox WHERE key = ?", (f"command-{seq}",)).fetchone()
    return _item(row) if row else None


def by_platform_id(db: sqlite3.Connection, chat: Jid, platform_id: str) -> OutboxItem | None:
    """The reply that went out as this message of the platform's."""
    row = db.execute(
        "SELECT outbox.* FROM part JOIN outbox ON outbox.id = part.outbox_id"
        " WHERE part.platform_id = ? AND outbox.chat = ?",
        (platform_id, chat),
    ).fetchone()
    return _item(row) if row else None


def last_answer(db: sqlite3.Connection, chat: Jid) -> OutboxItem | None:
    """The newest thing that an agent said in the chat."""
    row = db.execute(
        "SELECT * FROM outbox WHERE chat = ? AND run_id IS NOT NULL ORDER BY id DESC LIMIT 1", (chat,)
    ).fetchone()
    return _item(row) if row else None


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
        f"SELECT count(*) AS n FROM outbox WHERE {_OPEN} AND (state = 'sending' OR due_at <= ?)",  # noqa: S608
        (iso(now),),
    ).fetchone()["n"]


def undelivered(db: sqlite3.Connection) -> dict[str, int]:
    """How many replies failed for good, and of how many nobody knows."""
    row = db.execute(
        "SELECT count(*) FILTER (WHERE state = 'failed') AS failed,"
        " count(*) FILTER (WHERE state = 'unknown') AS unknown FROM outbox WHERE state IN ('failed', 'unknown')"
    ).fetchone()
    return {"failed": row["failed"], "unknown": row["unknown"]}


def files_on_their_way(db: sqlite3.Connection) -> set[str]:
    """The copies that are still to be sent, by their paths below `data/outgoing/`."""
    rows = db.execute("SELECT * FROM outbox WHERE state IN ('ready', 'sending') AND files IS NOT NULL")
    return {file.file for row in rows for file in _item(row).files}


def _item(row: sqlite3.Row) -> OutboxItem:
    files: list[dict[str, Any]] = json.loads(row["files"]) if row["files"] else []
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
        files=tuple(OutgoingFile(**file) for file in files),
        answers=Seq(row["answers"]) if row["answers"] is not None else None,
    )
