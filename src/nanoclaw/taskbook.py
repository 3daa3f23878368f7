"""What can be done with scheduled tasks; agents, the command line and the page all come here.

Every function works in the caller's transaction and raises before it changes anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from secrets import token_hex
from typing import Any, Final

from nanoclaw.errors import NotFoundError, ScheduleError, UsageError
from nanoclaw.model import ContextMode, Folder, Jid, MissedPolicy, ScheduledTask, TaskId, TaskState
from nanoclaw.schedule import Schedule, ScheduleType, first_due, parse_schedule
from nanoclaw.store import tasks
from nanoclaw.store.database import Connection

MOST_TASKS: Final = 1000
"""Of one group, paused ones included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A task to be."""

    folder: Folder
    prompt: str
    schedule_type: ScheduleType
    schedule_value: str
    timezone: str
    context_mode: ContextMode
    missed: MissedPolicy


def add(db: Connection, draft: Draft, now: datetime) -> ScheduledTask:
    """Store a new task.

    Raises:
        ScheduleError: the schedule cannot be, or is past; says what would be right.
        UsageError: the group has too many tasks.
    """
    schedule = parse_schedule(draft.schedule_type, draft.schedule_value, draft.timezone)
    if tasks.count(db, draft.folder) >= MOST_TASKS:
        raise UsageError(f"this group has {MOST_TASKS} tasks already", "cancel some first")
    task = ScheduledTask(
        id=TaskId(f"task-{token_hex(4)}"),
        folder=draft.folder,
        prompt=draft.prompt,
        schedule_type=schedule.type,
        schedule_value=schedule.value,
        timezone=schedule.timezone,
        context_mode=draft.context_mode,
        missed=draft.missed,
        state=TaskState.ACTIVE,
        next_at=_first(schedule, now),
        created_at=now,
    )
    tasks.add(db, task)
    return task


def find(db: Connection, task_id: TaskId) -> ScheduledTask:
    """A task that is not cancelled.

    Raises:
        NotFoundError: there is none.
    """
    task = tasks.get(db, task_id)
    if task is None or task.state is TaskState.CANCELLED:
        raise NotFoundError(
            f"there is no task {task_id!r}", "current_tasks.json and `nanoclaw tasks list` show the ids"
        )
    return task


def edit(db: Connection, task: ScheduledTask, changes: Mapping[str, Any], now: datetime) -> ScheduledTask:
    """Change a task; its next time is computed anew, and one that was done becomes active again.

    Args:
        db: the database, in a transaction.
        task: as it is.
        changes: fields of `Draft`; a None stands for no change.
        now: the present.

    Raises:
        ScheduleError: the schedule cannot be, or is past.
    """
    changed = replace(task, **{key: value for key, value in changes.items() if value is not None})
    schedule = parse_schedule(changed.schedule_type, changed.schedule_value, changed.timezone)
    state = TaskState.PAUSED if task.state is TaskState.PAUSED else TaskState.ACTIVE
    changed = replace(changed, schedule_value=schedule.value, state=state, next_at=_first(schedule, now))
    tasks.replace(db, changed)
    return changed


def pause(db: Connection, task: ScheduledTask) -> ScheduledTask:
    """Let a task rest.

    Raises:
        UsageError: it is done.
    """
    if task.state is TaskState.DONE:
        raise UsageError(f"{task.id} is done: it has no further times", "update it to give it new ones")
    paused = replace(task, state=TaskState.PAUSED)
    tasks.replace(db, paused)
    return paused


def resume(db: Connection, task: ScheduledTask, now: datetime) -> ScheduledTask:
    """Let a task go on from now.

    Raises:
        ScheduleError: it was for once, and that is past.
    """
    resumed = replace(task, state=TaskState.ACTIVE, next_at=_first(schedule_of(task), now))
    tasks.replace(db, resumed)
    return resumed


def run_now(db: Connection, task: ScheduledTask, chat: Jid, now: datetime) -> None:
    """Queue one run of a task; its schedule goes on as it was."""
    tasks.queue_runs(db, task, chat, [now], now)


def schedule_of(task: ScheduledTask) -> Schedule:
    """The task's schedule as `schedule` takes it."""
    return Schedule(type=task.schedule_type, value=task.schedule_value, timezone=task.timezone)


def _first(schedule: Schedule, now: datetime) -> datetime:
    due = first_due(schedule, now)
    if due is None:
        raise ScheduleError(
            f"{schedule.value} ({schedule.timezone}) is past; it is {now.isoformat(timespec='seconds')} now, in UTC"
        )
    return due
