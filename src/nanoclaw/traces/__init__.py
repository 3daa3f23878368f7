"""Traces by OpenTelemetry's protocol (OTLP over HTTP): one trace for each message that wakes an agent.

    message                         from its arrival to what the chat was told last
    ├─ queue, run                   for each attempt: from when it was due to its claim; the attempt itself
    │         └─ prepare, start, proof, agent, settle, end
    │                                   └─ gateway    every request of the sandbox
    └─ delivery                     each thing that was said in answer

The ids follow from installation and run, so that every part finds the same trace without being told, also after a
restart. What happens is put into a queue that has an end; a task of its own makes spans of it and sends them. Nothing
waits for the collector, and nothing that anybody said is in a span.
"""

from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from importlib.util import find_spec
from typing import Protocol

from nanoclaw.errors import ConfigError
from nanoclaw.model import NetworkDecision, OutboxItem
from nanoclaw.store.database import Database
from nanoclaw.timeline import SendingOutcome, Timeline
from nanoclaw.traces.spans import trace_id

__all__ = ["NoTraces", "Traces", "make_traces", "trace_id"]


class Traces(Protocol):
    """What the host's parts tell. Every method but `run` returns at once."""

    def following(self, timeline: Timeline) -> AbstractContextManager[None]:
        """The attempt's requests and log lines belong to its trace, for as long as the context lasts."""
        ...

    def asked(self, decision: NetworkDecision) -> None:
        """The gateway has decided about a request."""
        ...

    def delivered(self, item: OutboxItem, outcome: SendingOutcome, at: datetime) -> None:
        """An attempt to send a reply is over."""
        ...

    def counts(self) -> dict[str, int]:
        """How many spans were `sent`, and how many `dropped`."""
        ...

    async def run(self) -> None:
        """Send, until cancelled; then what is left, within bounds."""
        ...


class NoTraces:
    """Nobody wants any."""

    def following(self, timeline: Timeline) -> AbstractContextManager[None]:
        """See `Traces`."""
        return nullcontext()

    def asked(self, decision: NetworkDecision) -> None:
        """See `Traces`."""

    def delivered(self, item: OutboxItem, outcome: SendingOutcome, at: datetime) -> None:
        """See `Traces`."""

    def counts(self) -> dict[str, int]:
        """See `Traces`."""
        return {}

    async def run(self) -> None:
        """See `Traces`."""


def make_traces(endpoint: str, installation: str, database: Database) -> Traces:
    """Traces to the collector at that address; to none where it is empty.

    Raises:
        ConfigError: what it needs is not installed.
    """
    if not endpoint:
        return NoTraces()
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
        raise ConfigError(
            "traces.endpoint is set, and the package that it needs is not installed",
            "run `pip install 'nanoclaw[traces]'`, or take the setting away",
        )
    from nanoclaw.traces.tracer import Tracer  # not before it is wanted

    return Tracer(endpoint, installation, database)
