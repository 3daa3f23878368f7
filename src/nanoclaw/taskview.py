"""A task as programs, agents and people are shown it. Pure."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from nanoclaw.model import ScheduledTask, TaskState
from nanoclaw.prompts import local_time
from nanoclaw.schedule import Schedule, in_words


def task_json(task: ScheduledTask) -> dict[str, Any]:
    """In `current_tasks.json`, in answers and in `tasks list --json`; NanoClaw's names where it has them."""
    schedule = Schedule(type=task.schedule_type, value=task.schedule_value, timezone=task.timezone)
    return {
        "id": task.id,
        "groupFolder": task.folder,
        "prompt": task.prompt,
        "schedule_type": task.schedule_type,
        "schedule_value": task.schedule_value,
        "timezone": task.timezone,
        "context_mode": task.context_mode,
        "missed": task.missed,
        "status": {TaskState.DONE: "completed"}.get(task.state, task.state.value),
        "next_run": in_zone(task, task.next_at) if task.state is TaskState.ACTIVE else None,
        "schedule": in_words(schedule),
        "failures": task.failures,
    }


def in_zone(task: ScheduledTask, moment: datetime | None) -> str | None:
    """A moment in the task's own zone, with its offset."""
    return local_time(moment, ZoneInfo(task.timezone)) if moment else None
