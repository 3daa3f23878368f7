"""Runs: the durable queue, its two locks, and every transition of a run.

    waiting → running → done
       ↑         ├────→ failed     (the chat is told in the same transaction)
       └─────────┘                 (tried again: after a failure that may pass, or because the host went away)

Every outcome is fenced by run id and attempt: what comes from an attempt that is over changes nothing.
"""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import Folder, Jid, Run, RunId, RunState, Seq, TaskId, TokenUsage
from nanoclaw.routing import is_quoted
from nanoclaw.store import messages, outbox
from nanoclaw.wire import FailureKind

_TASKS_STAND_BACK: Final = timedelta(minutes=10)
_FAILURES_TOLD: Final = 3
"""A task whose runs failed so often in a row is told about, and again each time it fails as often."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """What a run that went well leaves behind. `reply` empty: the agent chose silence."""

    reply: str
    provider: str
    session_id: str | None
    usage: TokenUsage


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


def finish(db: sqlite3.Connection, run: Run, success: Success, now: datetime) -> bool:
    """End a run that went well: reply, cursor, session and usage in one. False: this attempt is over already."""
    if not _end(db, run, RunState.DONE, now, provider=success.provider, usage=success.usage):
        return False
    if success.reply:
        answers = _quoted_by_reply(db, run)
        outbox.put(db, f"run-{run.id}", run.chat, "reply", success.reply, run.id, now, answers=answers)
    if run.task_id is not None:
        _count_failures(db, run, failed=False)
    else:
        _move_cursor(db, run)
    if success.session_id:
        db.execute(
            "INSERT INTO session (folder, provider, session_id) VALUES (?, ?, ?)"
            " ON CONFLICT (folder, provider) DO UPDATE SET session_id = excluded.session_id",
            (run.folder, success.provider, success.session_id),
        )
    return True


def _quoted_by_reply(db: sqlite3.Connection, run: Run) -> Seq | None:
    """The message that the reply is shown as an answer to, if it is."""
    asked = messages.wakers(db, run.chat, run.after_seq, run.upto_seq) if run.task_id is None else []
    if not asked:
        return None
    seq = Seq(asked[-1]["seq"])
    newer = messages.newer_count(db, run.chat, seq)
    return seq if is_quoted(is_group=messages.is_group(db, run.chat), newer_messages=newer) else None


def _move_cursor(db: sqlite3.Connection, run: Run) -> None:
    db.execute(
        "INSERT INTO cursor (folder, answered_seq, told_change) VALUES (?, ?, ?)"
        " ON CONFLICT (folder) DO UPDATE SET answered_seq = max(answered_seq, excluded.answered_seq),"
        " told_change = max(told_change, excluded.told_change)",
        (run.folder, run.upto_seq, run.upto_change),
    )


def _count_failures(db: sqlite3.Connection, run: Run, *, failed: bool) -> int:
    """How often in a row the run's task has failed now."""
    row = db.execute(
        "UPDATE task SET failures = CASE WHEN ? THEN failures + 1 ELSE 0 END WHERE id = ? RETURNING failures",
        (failed, run.task_id),
    ).fetchone()
    return row["failures"] if row else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Failing:
    """How an attempt ended badly, and what was decided."""

    kind: FailureKind
    detail: str
    provider: str | None
    retry_at: datetime | None
    notice: str | None


def fail(db: sqlite3.Connection, run: Run, failing: Failing, now: datetime) -> bool:
    """End or put back a run that went badly. The cursor stays: its messages are still to be answered.

    A task's chat is told only when its runs keep failing; nobody waits for a single one.
    """
    if failing.retry_at is None:
        ended = _end(
            db, run, RunState.FAILED, now, provider=failing.provider, failure=failing.kind, detail=failing.detail
        )
    else:
        ended = _put_back(db, run, failing, failing.retry_at)
    tell = ended
    if ended and run.task_id is not None and failing.retry_at is None:
        tell = _count_failures(db, run, failed=True) % _FAILURES_TOLD == 0
    if tell and failing.notice:
        outbox.put(db, f"run-{run.id}-notice-{run.attempt}", run.chat, "notice", failing.notice, run.id, now)
    return ended


def _put_back(db: sqlite3.Connection, run: Run, failing: Failing, due_at: datetime) -> bool:
    _fold_newer_into(db, run)
    changed = _changed(
        db.execute(
            "UPDATE run SET state = 'waiting', failures = failures + 1, due_at = ?, failure = ?, detail = ?,"
            " provider = ? WHERE id = ? AND attempt = ? AND state = 'running'",
            (iso(due_at), failing.kind, failing.detail, failing.provider, run.id, run.attempt),
        )
    )
    cancel_needless(db, run.folder, run.chat)
    return changed


def interrupt(db: sqlite3.Connection, run: Run, now: datetime) -> bool:
    """Put back a run that the host itself stopped; it does not count as a failure."""
    _fold_newer_into(db, run)
    changed = _changed(
        db.execute(
            "UPDATE run SET state = 'waiting', due_at = ? WHERE id = ? AND attempt = ? AND state = 'running'",
            (iso(now), run.id, run.attempt),
        )
    )
    cancel_needless(db, run.folder, run.chat)
    return changed


def stop(
    db: sqlite3.Connection, folder: Folder, chat: Jid, now: datetime, *, queue_too: bool
) -> tuple[Run | None, int]:
    """End the group's running run for good, as somebody said so; what it took counts as answered.

    Args:
        db: the database, in a transaction.
        folder: whose run.
        chat: its chat.
        now: the present.
        queue_too: whether what waits is forgotten as well.

    Returns:
        The run that was ended, and how many waiting ones were forgotten.
    """
    ended = running(db, folder)
    if ended is not None:
        _end(db, ended, RunState.FAILED, now, provider=ended.provider, failure="stopped")
        if ended.task_id is None:
            _move_cursor(db, ended)
    if not queue_too:
        return ended, 0
    forgotten = db.execute("DELETE FROM run WHERE folder = ? AND state = 'waiting'", (folder,)).rowcount
    db.execute(
        "INSERT INTO cursor (folder, answered_seq) SELECT ?, coalesce(max(seq), 0) FROM message WHERE chat = ?"
        " ON CONFLICT (folder) DO UPDATE SET answered_seq = max(answered_seq, excluded.answered_seq)",
        (folder, chat),
    )
    return ended, forgotten


def was_stopped(db: sqlite3.Connection, run: Run) -> bool:
    """Whether this attempt was ended because somebody said so."""
    row = db.execute(
        "SELECT 1 FROM run WHERE id = ? AND attempt = ? AND state = 'failed' AND failure = 'stopped'",
        (run.id, run.attempt),
    ).fetchone()
    return row is not None


def recover(db: sqlite3.Connection, now: datetime) -> list[RunId]:
    """At start: what the last host left running waits again."""
    left = [from_row(row) for row in db.execute("SELECT * FROM run WHERE state = 'running'")]
    for run in left:
        interrupt(db, run, now)
    return [run.id for run in left]


def _fold_newer_into(db: sqlite3.Connection, run: Run) -> None:
    """A group has one waiting run; the messages of a newer one are taken by this one when it starts again."""
    if run.cause == "messages":
        db.execute("DELETE FROM run WHERE folder = ? AND state = 'waiting' AND cause = 'messages'", (run.folder,))


def _end(
    db: sqlite3.Connection,
    run: Run,
    state: RunState,
    now: datetime,
    *,
    provider: str | None,
    failure: FailureKind | None = None,
    detail: str | None = None,
    usage: TokenUsage | None = None,
) -> bool:
    usage = usage or TokenUsage()
    return _changed(
        db.execute(
            "UPDATE run SET state = ?, ended_at = ?, provider = ?, failure = ?, detail = ?, failures = failures + ?,"
            " input_tokens = ?, cached_input_tokens = ?, output_tokens = ?, cost_usd = ?"
            " WHERE id = ? AND attempt = ? AND state = 'running'",
            (
                state,
                iso(now),
                provider,
                failure,
                detail,
                1 if failure else 0,
                usage.input_tokens,
                usage.cached_input_tokens,
                usage.output_tokens,
                usage.cost_usd,
                run.id,
                run.attempt,
            ),
        )
    )


def drop(db: sqlite3.Connection, run: Run) -> None:
    """Forget a run whose group is no more."""
    db.execute("DELETE FROM run WHERE id = ? AND attempt = ?", (run.id, run.attempt))


def next_due(db: sqlite3.Connection, busy: Collection[Folder]) -> datetime | None:
    """When the earliest waiting run is due, those of busy groups left out."""
    rows = db.execute("SELECT folder, min(due_at) AS at FROM run WHERE state = 'waiting' GROUP BY folder")
    return min((from_iso(row["at"]) for row in rows if row["folder"] not in busy), default=None)


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
    rows = db.execute(
        "SELECT * FROM run WHERE (:folder IS NULL OR folder = :folder) AND (:before IS NULL OR id < :before)"
        " ORDER BY id DESC LIMIT :limit",
        {"folder": folder, "before": before, "limit": limit},
    )
    return [from_row(row) for row in rows]


def answering(db: sqlite3.Connection, folder: Folder, seq: Seq) -> Run | None:
    """The run that answers this message: the one that took it, else the one that waits to."""
    row = db.execute(
        "SELECT * FROM run WHERE folder = :folder AND cause = 'messages'"
        " AND (state = 'waiting' OR (after_seq < :seq AND upto_seq >= :seq))"
        " ORDER BY state = 'waiting', id DESC LIMIT 1",
        {"folder": folder, "seq": seq},
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
    asked = messages.wakers(db, run.chat, run.after_seq, run.upto_seq)
    return any(row["standing"] == "owner" for row in asked)


def _changed(cursor: sqlite3.Cursor) -> bool:
    return cursor.rowcount == 1


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
