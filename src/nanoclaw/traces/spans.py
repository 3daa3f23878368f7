"""What a trace is made of: ids, and spans in our own terms. Pure, but for the one look into the database."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from nanoclaw.model import NetworkDecision, OutboxItem, OutboxState, Run, RunId, RunState
from nanoclaw.store import outbox, runs, wakers
from nanoclaw.store.database import Connection
from nanoclaw.timeline import Note, SendingOutcome, Timeline

Value = str | int | float

_OPEN: Final = (OutboxState.READY, OutboxState.SENDING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One span, in our own terms."""

    trace: bytes
    id: bytes
    parent: bytes = b""
    name: str
    kind: Literal["server", "client", "internal"] = "internal"
    began: datetime
    ended: datetime
    values: Mapping[str, Value | None] = field(default_factory=dict[str, Value | None])
    notes: tuple[Note, ...] = ()
    problem: str = ""
    """Why it failed, in a word; empty: it did not."""


def trace_id(installation: str, run: RunId) -> str:
    """The trace of a run, and of the messages that caused it: 32 hex digits."""
    return _trace(installation, run).hex()


def _trace(installation: str, run: RunId) -> bytes:
    return hashlib.sha256(f"{installation}/{run}".encode()).digest()[:16]


def _span(installation: str, run: RunId, name: str) -> bytes:
    return hashlib.sha256(f"{installation}/{run}/{name}".encode()).digest()[:8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What the database knows of a run."""

    run: Run
    wakers: tuple[tuple[int, datetime], ...]
    """`seq` and arrival of the messages that caused it."""
    said: tuple[OutboxItem, ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be said."""
        ended = self.run.state in (RunState.DONE, RunState.FAILED)
        return ended and not any(item.state in _OPEN for item in self.said)


def read_story(db: Connection, run_id: RunId) -> Story | None:
    """None: the run's group is no more."""
    run = runs.get(db, run_id)
    if run is None:
        return None
    caused = () if run.task_id else tuple(wakers.of_run(db, run))
    return Story(run=run, wakers=caused, said=tuple(outbox.of_run(db, run_id)))


def message_span(installation: str, story: Story) -> Span:
    """The whole of it. Pure, like all that follow."""
    run = story.run
    began = min([run.created_at, *(at for _, at in story.wakers)])
    told = [item.sent_at for item in story.said if item.sent_at]
    values = {
        **_whose(run),
        "nanoclaw.outcome": run.state.value,
        "nanoclaw.messages": len(story.wakers),
        "nanoclaw.attempts": run.attempt,
    }
    return Span(
        trace=_trace(installation, run.id),
        id=_span(installation, run.id, "message"),
        name="task" if run.task_id else "message",
        kind="server",
        began=began,
        ended=max([began, run.ended_at or began, *told]),
        values=values,
        notes=tuple(Note(at=at, name="message", values={"nanoclaw.seq": seq}) for seq, at in story.wakers),
        problem=run.failure or "" if run.state is RunState.FAILED else "",
    )


def attempt_spans(installation: str, timeline: Timeline) -> Iterator[Span]:
    """`queue`, `run` and its stages."""
    run = timeline.run
    trace, whole = _trace(installation, run.id), _span(installation, run.id, "message")
    claimed, ended = timeline.stages[0][1], timeline.ended_at or timeline.clock.now()
    attempt = _span(installation, run.id, f"run {run.attempt}")
    due = min(run.due_at, claimed)
    yield Span(
        trace=trace, id=_span(installation, run.id, f"queue {run.attempt}"), parent=whole, name="queue",
        began=due, ended=claimed, values=_whose(run),
    )  # fmt: skip
    yield Span(
        trace=trace, id=attempt, parent=whole, name="run", began=claimed, ended=max(claimed, ended),
        values=_attempt_values(timeline), problem=timeline.failure or "",
    )  # fmt: skip
    ends = [at for _, at in timeline.stages[1:]] + [ended]
    for (name, began), end in zip(timeline.stages, ends, strict=True):
        within = tuple(note for note in timeline.notes if began <= note.at < end)
        yield Span(
            trace=trace, id=_span(installation, run.id, f"{name} {run.attempt}"), parent=attempt, name=name,
            began=began, ended=max(began, end), notes=within,
        )  # fmt: skip


def _attempt_values(timeline: Timeline) -> dict[str, Value | None]:
    usage = timeline.usage
    return {
        **_whose(timeline.run),
        "nanoclaw.attempt": timeline.run.attempt,
        "nanoclaw.provider": timeline.provider,
        "nanoclaw.sandbox": timeline.sandbox or None,
        "nanoclaw.outcome": timeline.ending,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "nanoclaw.cost_usd": usage.cost_usd,
    }


def gateway_span(installation: str, run: Run, decision: NetworkDecision) -> Span:
    """A request of the sandbox: whom it asked and what came of it, no path."""
    tokens = decision.usage
    return Span(
        trace=_trace(installation, run.id),
        id=os.urandom(8),
        parent=_span(installation, run.id, f"agent {run.attempt}"),
        name="gateway",
        kind="client",
        began=decision.at - timedelta(milliseconds=decision.ms),
        ended=decision.at,
        values={
            **_whose(run),
            "server.address": decision.host,
            "server.port": decision.port,
            "http.response.status_code": decision.status or None,
            "nanoclaw.verdict": decision.verdict,
            "nanoclaw.reason": decision.reason,
            "nanoclaw.uploaded": decision.uploaded,
            "nanoclaw.downloaded": decision.downloaded,
            "gen_ai.usage.input_tokens": tokens.input_tokens if tokens else None,
            "gen_ai.usage.output_tokens": tokens.output_tokens if tokens else None,
        },
        problem="" if decision.verdict == "allowed" else decision.reason,
    )


def delivery_span(installation: str, run: Run, item: OutboxItem, outcome: SendingOutcome, at: datetime) -> Span:
    """Something that was said: from when it was written to when it was settled."""
    return Span(
        trace=_trace(installation, run.id),
        id=_span(installation, run.id, f"delivery {item.id}"),
        parent=_span(installation, run.id, "message"),
        name="delivery",
        kind="client",
        began=item.created_at,
        ended=max(item.created_at, at),
        values={**_whose(run), "nanoclaw.kind": item.kind, "nanoclaw.outcome": outcome, "nanoclaw.tries": item.attempt},
        problem="" if outcome == "sent" else outcome,
    )


def _whose(run: Run) -> dict[str, Value | None]:
    return {"nanoclaw.run": run.id, "nanoclaw.group": run.folder}
