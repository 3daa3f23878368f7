"""Scheduled tasks and the runs they cause."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import Folder, Jid, Run, ScheduledTask, TaskId, TaskState
from nanoclaw.store import runs


def add(db: sqlite3.Connection, task: ScheduledTask) -> None:
    """Store a new task."""
    db.execute(
        "INSERT INTO task (id, folder, prompt, schedule_type, schedule_value, timezone, context_mode, missed, state,"
        " next_at, created_at, failures) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            task.id,
            task.folder,
            task.prompt,
            task.schedule_type,
            task.schedule_value,
            task.timezone,
            task.context_mode,
            task.missed,
            task.state,
            _optional(task.next_at),
            iso(task.created_at),
            task.failures,
        ),
    )


def get(db: sqlite3.Connection, task_id: TaskId) -> ScheduledTask | None:
    """One task, cancelled ones included."""
    row = db.execute("SELECT * FROM task WHERE id = ?", (task_id,)).fetchone()
    return _task(row) if row else None


def existing(db: sqlite3.Connection, folder: Folder | None = None) -> list[ScheduledTask]:
    """Every task that is not cancelled, of one group or of all, the next due first, those without a next time last."""
    if folder is None:
        rows = db.execute("SELECT * FROM task WHERE state <> 'cancelled' ORDER BY next_at IS NULL, next_at, id")
    else:
        rows = db.execute(
            "SELECT * FROM task WHERE folder = ? AND state <> 'cancelled' ORDER BY next_at IS NULL, next_at, id",
            (folder,),
        )
    return [_task(row) for row in rows]


def count(db: sqlite3.Connection, folder: Folder) -> int:
    """How many of a group's tasks are active or paused."""
    return db.execute(
        "SELECT count(*) AS n FROM task WHERE folder = ? AND state IN ('active', 'paused')", (folder,)
    ).fetchone()["n"]


def replace(db: sqlite3.Connection, task: ScheduledTask) -> None:
    """Store a task as edited, paused or resumed; its failures so far are forgotten."""
    db.execute(
        "UPDATE task SET prompt = ?, schedule_type = ?, schedule_value = ?, timezone = ?, context_mode = ?, missed = ?,"
        " state = ?, next_at = ?, failures = 0 WHERE id = ?",
        (
            task.prompt,
            task.schedule_type,
            task.schedule_value,
            task.timezone,
            task.context_mode,
            task.missed,
            task.state,
            _optional(task.next_at),
            task.id,
        ),
    )


def cancel(db: sqlite3.Connection, task_id: TaskId, now: datetime) -> None:
    """End a task for good; a run of it that waits is forgotten, one that runs goes on."""
    db.execute("UPDATE task SET state = 'cancelled', next_at = NULL, ended_at = ? WHERE id = ?", (iso(now), task_id))
    db.execute("DELETE FROM run WHERE task_id = ? AND state = 'waiting'", (task_id,))


def due(db: sqlite3.Connection, now: datetime, limit: int) -> list[ScheduledTask]:
    """The active tasks whose time has come, the longest due first."""
    rows = db.execute(
        "SELECT * FROM task WHERE state = 'active' AND next_at <= ? ORDER BY next_at LIMIT ?", (iso(now), limit)
    )
    return [_task(row) for row in rows]


def next_due_at(db: sqlite3.Connection) -> datetime | None:
    """When the next active task is due."""
    row = db.execute("SELECT min(next_at) AS at FROM task WHERE state = 'active'").fetchone()
    return from_iso(row["at"]) if row["at"] else None


def advance(db: sqlite3.Connection, task: ScheduledTask, next_at: datetime | None, now: datetime) -> None:
    """Move a task to its next time; without one it is done."""
    db.execute(
        "UPDATE task SET next_at = ?, state = ?, ended_at = ? WHERE id = ?",
        (
            _optional(next_at),
            TaskState.ACTIVE if next_at else TaskState.DONE,
            None if next_at else iso(now),
            task.id,
        ),
    )


def queue_runs(
    db: sqlite3.Connection, task: ScheduledTask, chat: Jid, moments: Sequence[datetime], now: datetime
) -> None:
    """Queue a run for each moment; for one that has its run already, nothing happens."""
    for moment in moments:
        db.execute(
            "INSERT INTO run (folder, chat, cause, state, due_at, created_at, task_id, scheduled_for)"
            " VALUES (?, ?, 'task', 'waiting', ?, ?, ?, ?) ON CONFLICT (task_id, scheduled_for)"
            " WHERE task_id IS NOT NULL DO NOTHING",
            (task.folder, chat, iso(now), iso(now), task.id, iso(moment)),
        )


def has_open_run(db: sqlite3.Connection, task_id: TaskId) -> bool:
    """Whether a run of this task waits or runs."""
    row = db.execute("SELECT 1 FROM run WHERE task_id = ? AND state IN ('waiting', 'running')", (task_id,)).fetchone()
    return row is not None


def history(db: sqlite3.Connection, task_id: TaskId, limit: int) -> list[Run]:
    """The task's newest runs, newest first."""
    rows = db.execute("SELECT * FROM run WHERE task_id = ? ORDER BY id DESC LIMIT ?", (task_id, limit))
    return [runs.from_row(row) for row in rows]


def prune(db: sqlite3.Connection, before: datetime) -> int:
    """Forget tasks that ended before that. Answers how many."""
    return db.execute("DELETE FROM task WHERE ended_at < ?", (iso(before),)).rowcount


def _optional(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _task(row: sqlite3.Row) -> ScheduledTask:
    return ScheduledTask(
        id=TaskId(row["id"]),
        folder=Folder(row["folder"]),
        prompt=row["prompt"],
        schedule_type=row["schedule_type"],
        schedule_value=row["schedule_value"],
        timezone=row["timezone"],
        context_mode=row["context_mode"],
        missed=row["missed"],
        state=TaskState(row["state"]),
        next_at=from_iso(row["next_at"]) if row["next_at"] else None,
        created_at=from_iso(row["created_at"]),
        failures=row["failures"],
    )
