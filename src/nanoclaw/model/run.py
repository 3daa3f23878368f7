"""One execution of an agent, and what it cost."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nanoclaw.model.names import Folder, Jid, RunId, Seq, TaskId
from nanoclaw.wire import FailureKind


class RunState(StrEnum):
    """Where a run stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenUsage:
    """What a run cost."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One execution of an agent for one group; it answers the messages with `after_seq` < seq <= `upto_seq`."""

    id: RunId
    folder: Folder
    chat: Jid
    cause: str
    state: RunState
    attempt: int
    """Starts so far; fences the outcome."""
    failures: int
    """Starts that used up a try."""
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    after_seq: Seq
    upto_seq: Seq
    provider: str | None
    failure: FailureKind | None
    detail: str | None
    usage: TokenUsage
    task_id: TaskId | None = None
    upto_change: int = 0
    """The last change of a message that it is told of."""
    scheduled_for: datetime | None = None
    """For a run that a task caused: the moment it was due."""
