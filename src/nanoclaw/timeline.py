"""What happened when in one attempt of a run: for metrics and traces, which look at it once the attempt is over."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from nanoclaw.clock import Clock
from nanoclaw.events import Activity, Event, Failed, Started, UsageReport
from nanoclaw.model import Run, TokenUsage
from nanoclaw.wire import FailureKind

Stage = Literal["prepare", "start", "proof", "agent", "settle", "end"]
"""Sign-in, directories, prompt; the sandbox's start; its proof; the agent's work; mailbox and outcome; its end."""
Ending = Literal["done", "failed", "again", "put_back"]
"""The last but one is tried again; the last was stopped by the host, or by somebody."""
SendingOutcome = Literal["sent", "failed", "unknown", "again"]
"""What became of an attempt to send a reply; the last one is tried again."""

_MOST_NOTES: Final = 500  # an agent can emit events without end


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Something that happened within a stage. Never what anybody said."""

    at: datetime
    name: str
    values: dict[str, str | int | float] = field(default_factory=dict[str, str | int | float])


@dataclass(slots=True)
class Timeline:
    """One attempt. Each stage ends where the next one begins."""

    run: Run
    provider: str
    clock: Clock
    sandbox: str = ""
    """Its kind; empty as long as none was chosen."""
    held: bool | None = None
    """What became of the proof; None: there was none."""
    ending: Ending = "put_back"
    failure: FailureKind | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    stages: list[tuple[Stage, datetime]] = field(default_factory=list[tuple[Stage, datetime]])
    notes: list[Note] = field(default_factory=list[Note])
    ended_at: datetime | None = None

    def __post_init__(self) -> None:
        self.stages.append(("prepare", self.run.started_at or self.clock.now()))

    def stage(self, name: Stage) -> None:
        """The next stage begins."""
        self.stages.append((name, self.clock.now()))

    def starts(self, sandbox: str) -> None:
        """A sandbox of that kind is started."""
        self.sandbox = sandbox
        self.stage("start")

    def proved(self, *, held: bool) -> None:
        """The sandbox was proven; only one that holds has an agent."""
        self.held = held
        if held:
            self.stage("agent")

    def take(self, event: Event) -> None:
        """The agent did something."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(_note(event, self.clock.now()))

    def done(self, usage: TokenUsage) -> None:
        """The run is over and went well."""
        self.ending, self.usage = "done", usage

    def failed(self, kind: FailureKind, *, again: bool) -> None:
        """The attempt went badly."""
        self.ending, self.failure = "again" if again else "failed", kind

    def end(self) -> None:
        """The sandbox is gone."""
        self.ended_at = self.clock.now()

    def between(self, first: Stage, last: Stage) -> timedelta | None:
        """From the beginning of one stage to that of another; None if it did not come to that."""
        began = dict(self.stages)
        if first not in began or last not in began:
            return None
        return max(timedelta(), began[last] - began[first])


def _note(event: Event, at: datetime) -> Note:
    match event:
        case Started():
            return Note(at=at, name="started")
        case Activity():
            return Note(at=at, name="activity")
        case UsageReport(usage):
            return Note(at=at, name="usage", values={"input": usage.input_tokens, "output": usage.output_tokens})
        case Failed(kind):
            return Note(at=at, name="failed", values={"kind": kind})
        case _:
            return Note(at=at, name=type(event).__name__.lower())
