"""What was said in answer to a message."""

import sqlite3
from typing import Literal

from nanoclaw.model import Folder, OutboxItem, OutboxState, RunState, Seq
from nanoclaw.store import outbox, runs

AnswerState = Literal["answered", "waiting", "not_addressed"]
"""Its run has ended and all it said is settled; not yet; no run takes it, as it does not wake the agent."""

_SETTLED = frozenset({OutboxState.SENT, OutboxState.FAILED, OutboxState.UNKNOWN})


def answer_to(db: sqlite3.Connection, folder: Folder, seq: Seq) -> tuple[AnswerState, list[OutboxItem]]:
    """How far the answer to a message is, and what of it has been delivered."""
    if reply := outbox.to_command(db, seq):
        return ("answered" if reply.state in _SETTLED else "waiting"), [reply]
    run = runs.answering(db, folder, seq)
    if run is None:
        return "not_addressed", []
    items = outbox.of_run(db, run.id)
    delivered = [item for item in items if item.state is OutboxState.SENT]
    ended = run.state in (RunState.DONE, RunState.FAILED)
    if ended and all(item.state in _SETTLED for item in items):
        return "answered", delivered
    return "waiting", delivered
