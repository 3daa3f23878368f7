"""Runs: the durable queue with its two locks, and what is known of them. How they end is in `endings`.

waiting → running → done
   ↑         ├────→ failed     (the chat is told in the same transaction)
   └─────────┘                 (tried again: after a failure that may pass, or because the host went away)
"""

import sqlite3
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import Folder, Jid, Run, RunId, RunState, Seq, TaskId, TokenUsage
from nanoclaw.store import wakers

_TASKS_STAND_BACK: Final = timedelta(minutes=10)
_ABOVE_ALL: Final = 2**62


def queue(db: sqlite3.Connection, folder: Folder, chat: Jid, now: datetime) -> None:
    """Let the group have a waiting run; if it has one, the message folds into that."""
    db.execute(
        "INSERT INTO run (folder, chat, cause, state, due_at, created_at) VALUES (?, ?, 'messages', 'waiting', ?, ?)"
        " ON CONFLICT (folder) WHERE state = 'waiting' AND cause = 'messages' DO NOTHING",
        (folder, chat, iso(now), iso(now)),
    )


def queue_at_once(db: sqlite3.Connection, folder: Folder, chat: Jid, now: datetime) -> None:
    """Let the group have a waiting run that is due now, also if one waits for a later time."""
    queue(db, folder, chat, now)
    db.execute("UPDATE run SET due_at = min(due_at, ?) WHERE folder = ? AND state = 'waiting'", (iso(now), folder))


def claim(db: sqlite3.Connection, now: datetime, places: int, busy: Collection[Folder]) -> list[Run]:
    """Start as many due runs as there are free places, the longest due first, one of a group at most.

    Args:
        db: the database, in a transaction.
        now: the present.
        places: how many may start.
        busy: groups whose last sandbox is not gone yet.
    """
    rows = db.execute(
        "SELECT id, folder, cause, due_at FROM run WHERE state = 'waiting' AND due_at <= ?"
        " AND folder NOT IN (SELECT folder FROM run WHERE state = 'running')",
        (iso(now),),
    ).fetchall()
    first_of_group: dict[Folder, RunId] = {}
    for row in sorted(rows, key=_turn):
        if row["folder"] not in busy:
            first_of_group.setdefault(row["folder"], row["id"])
    return [_start(db, run_id, now) for run_id in list(first_of_group.values())[:places]]


def _turn(row: sqlite3.Row) -> tuple[datetime, int]:
    """Who goes first: people before tasks, but a task does not wait for ever."""
    behind = _TASKS_STAND_BACK if row["cause"] == "task" else timedelta(0)
    return from_iso(row["due_at"]) + behind, row["id"]


def _start(db: sqlite3.Connection, run_id: RunId, now: datetime) -> Run:
    row = db.execute(
        "UPDATE run SET state = 'running', attempt = attempt + 1, started_at = :now, failure = NULL, detail = NULL,"
        " after_seq = coalesce((SELECT answered_seq FROM cursor WHERE cursor.folder = run.folder), 0),"
        " upto_seq = coalesce((SELECT max(seq) FROM message WHERE message.chat = run.chat), 0),"
        " upto_change = coalesce((SELECT max(id) FROM change WHERE change.chat = run.chat), 0)"
        " WHERE id = :id RETURNING *",
        {"now": iso(now), "id": run_id},
    ).fetchone()
    return from_row(row)


def drop(db: sqlite3.Connection, run: Run) -> None:
    """Forget a run whose group is no more."""
    db.execute("DELETE FROM run WHERE id = ? AND attempt = ?", (run.id, run.attempt))


def next_due(db: sqlite3.Connection, busy: Collection[Folder]) -> datetime | None:
    """When the earliest waiting run is due, those of busy groups left out."""
    rows = db.execute("SELECT folder, due_at FROM run WHERE state = 'waiting' ORDER BY due_at")
    return next((from_iso(row["due_at"]) for row in rows if row["folder"] not in busy), None)


def failures(db: sqlite3.Connection, run_id: RunId) -> int:
    """How many attempts of this run have failed so far."""
    return db.execute("SELECT failures FROM run WHERE id = ?", (run_id,)).fetchone()["failures"]


def session(db: sqlite3.Connection, folder: Folder, provider: str) -> str | None:
    """The session that this group's next run resumes."""
    row = db.execute("SELECT session_id FROM session WHERE folder = ? AND provider = ?", (folder, provider)).fetchone()
    return row["session_id"] if row else None


def running(db: sqlite3.Connection, folder: Folder) -> Run | None:
    """The group's running run."""
    row = db.execute("SELECT * FROM run WHERE folder = ? AND state = 'running'", (folder,)).fetchone()
    return from_row(row) if row else None


def get(db: sqlite3.Connection, run_id: RunId) -> Run | None:
    """One run."""
    row = db.execute("SELECT * FROM run WHERE id = ?", (run_id,)).fetchone()
    return from_row(row) if row else None


def recent(db: sqlite3.Connection, limit: int, folder: Folder | None = None, before: RunId | None = None) -> list[Run]:
    """The newest runs older than `before`, newest first."""
    below = _ABOVE_ALL if before is None else before
    if folder is None:
        rows = db.execute("SELECT * FROM run WHERE id < ? ORDER BY id DESC LIMIT ?", (below, limit))
    else:
        rows = db.execute(
            "SELECT * FROM run WHERE folder = ? AND id < ? ORDER BY id DESC LIMIT ?", (folder, below, limit)
        )
    return [from_row(row) for row in rows]


def answering(db: sqlite3.Connection, folder: Folder, seq: Seq) -> Run | None:
    """The run that answers this message: the one that took it, else the one that waits to."""
    row = db.execute(
        "SELECT * FROM run WHERE folder = ? AND cause = 'messages' AND upto_seq >= ? AND upto_seq > 0 AND after_seq < ?"
        " ORDER BY state = 'waiting', id DESC LIMIT 1",  # `> 0`: as the index has it
        (folder, seq, seq),
    ).fetchone()
    if row is None:
        row = db.execute(
            "SELECT * FROM run WHERE folder = ? AND cause = 'messages' AND state = 'waiting'", (folder,)
        ).fetchone()
    return from_row(row) if row else None


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """How many runs wait and run."""
    row = db.execute(
        "SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting,"
        " count(*) FILTER (WHERE state = 'running') AS running FROM run WHERE state IN ('waiting', 'running')"
    ).fetchone()
    return {"waiting": row["waiting"], "running": row["running"]}


def waiting_count(db: sqlite3.Connection, folder: Folder) -> int:
    """How many of the group's runs wait."""
    row = db.execute("SELECT count(*) AS n FROM run WHERE folder = ? AND state = 'waiting'", (folder,)).fetchone()
    return row["n"]


def taken(db: sqlite3.Connection, folder: Folder) -> Seq:
    """The last message that was given to an agent of this group: it is answered, or being answered."""
    row = db.execute(
        "SELECT max(coalesce((SELECT answered_seq FROM cursor WHERE folder = :folder), 0), coalesce((SELECT upto_seq"
        " FROM run WHERE folder = :folder AND state = 'running' AND cause = 'messages'), 0)) AS seq",
        {"folder": folder},
    ).fetchone()
    return Seq(row["seq"])


def cancel_needless(db: sqlite3.Connection, folder: Folder, chat: Jid) -> None:
    """Forget the group's waiting run if every message that it was for has been withdrawn."""
    db.execute(
        "DELETE FROM run WHERE folder = :folder AND state = 'waiting' AND cause = 'messages' AND NOT EXISTS (SELECT 1"
        " FROM message WHERE chat = :chat AND seq > :taken AND wakes = 1 AND deleted_at IS NULL)"
        " AND EXISTS (SELECT 1 FROM message WHERE chat = :chat AND seq > :taken AND wakes = 1)",
        {"folder": folder, "chat": chat, "taken": taken(db, folder)},
    )


def woken_by_owner(db: sqlite3.Connection, folder: Folder) -> bool:
    """Whether the group's running run was caused by an owner's message, or by a task."""
    run = running(db, folder)
    if run is None or run.task_id is not None:
        return run is not None
    return wakers.one_is_of(db, run, "owner")


def from_row(row: sqlite3.Row) -> Run:
    """A row of `run` as a value."""
    return Run(
        id=RunId(row["id"]),
        folder=Folder(row["folder"]),
        chat=Jid(row["chat"]),
        cause=row["cause"],
        state=RunState(row["state"]),
        attempt=row["attempt"],
        failures=row["failures"],
        due_at=from_iso(row["due_at"]),
        created_at=from_iso(row["created_at"]),
        started_at=from_iso(row["started_at"]) if row["started_at"] else None,
        ended_at=from_iso(row["ended_at"]) if row["ended_at"] else None,
        after_seq=Seq(row["after_seq"]),
        upto_seq=Seq(row["upto_seq"]),
        upto_change=row["upto_change"],
        provider=row["provider"],
        failure=row["failure"],
        detail=row["detail"],
        usage=TokenUsage(
            input_tokens=row["input_tokens"],
            cached_input_tokens=row["cached_input_tokens"],
            output_tokens=row["output_tokens"],
            cost_usd=row["cost_usd"],
        ),
        task_id=TaskId(row["task_id"]) if row["task_id"] else None,
        scheduled_for=from_iso(row["scheduled_for"]) if row["scheduled_for"] else None,
    )
