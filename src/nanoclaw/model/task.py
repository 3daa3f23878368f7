"""An instruction with a schedule."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from nanoclaw.model.names import Folder, TaskId


class TaskState(StrEnum):
    """Where a task stands."""

    ACTIVE = "active"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


ContextMode = Literal["group", "isolated"]
"""With the group's session and last exchanges, or with nothing but the prompt."""
MissedPolicy = Literal["coalesce", "skip", "all"]
"""What becomes of moments that passed while no host ran: one late run, none, or each (up to a limit)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledTask:
    """An instruction with a schedule; see `schedule` for what the three schedule fields mean."""

    id: TaskId
    folder: Folder
    prompt: str
    schedule_type: Literal["cron", "interval", "once"]
    schedule_value: str
    timezone: str
    context_mode: ContextMode
    missed: MissedPolicy
    state: TaskState
    next_at: datetime | None
    created_at: datetime
    failures: int = 0
    """Runs that failed in a row."""
