"""The queue of what becomes spans, and its way to one collector."""

import ssl
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import anyio
import anyio.to_thread
import httpx
import structlog

from nanoclaw.errors import StoreError
from nanoclaw.model import Folder, NetworkDecision, OutboxItem, RunId
from nanoclaw.store.database import Database
from nanoclaw.timeline import SendingOutcome, Timeline
from nanoclaw.traces.otlp import encoded
from nanoclaw.traces.spans import (
    Span,
    attempt_spans,
    delivery_span,
    gateway_span,
    message_span,
    read_story,
    trace_id,
)

_MOST_WAITING: Final = 2000  # of what becomes spans; more is dropped and counted
_MOST_AT_ONCE: Final = 200  # of these in one request
_GATHER_SECONDS: Final = 1.0  # what comes within it goes in one request
_SEND_SECONDS: Final = 10.0  # a collector that takes longer is not there
_LAST_SECONDS: Final = 2.0  # for what is left when the host stops
_QUIET_SECONDS: Final = 300.0  # between two complaints in the log about the same collector
_MOST_REMEMBERED: Final = 1000  # traces whose first span was sent: it is sent once

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class _Delivered:
    item: OutboxItem
    outcome: SendingOutcome
    at: datetime


class Tracer:
    """Sends spans to one collector."""

    def __init__(self, endpoint: str, installation: str, database: Database) -> None:
        self._url = f"{endpoint.rstrip('/').removesuffix('/v1/traces')}/v1/traces"
        self._installation = installation
        self._database = database
        self._waiting: deque[Timeline | _Delivered | Span] = deque()
        self._some = anyio.Event()
        self._at_work: dict[Folder, Timeline] = {}
        self._begun: deque[RunId] = deque(maxlen=_MOST_REMEMBERED)
        self._counts = {"sent": 0, "dropped": 0}
        self._quiet_until = 0.0

    @contextmanager
    def following(self, timeline: Timeline) -> Generator[None]:
        """See `Traces`."""
        run = timeline.run
        self._at_work[run.folder] = timeline
        try:
            with structlog.contextvars.bound_contextvars(trace=trace_id(self._installation, run.id)):
                yield
        finally:
            self._at_work.pop(run.folder, None)
            self._put(timeline)

    def asked(self, decision: NetworkDecision) -> None:
        """See `Traces`."""
        timeline = self._at_work.get(decision.folder)
        if timeline is not None:
            self._put(gateway_span(self._installation, timeline.run, decision))

    def delivered(self, item: OutboxItem, outcome: SendingOutcome, at: datetime) -> None:
        """See `Traces`."""
        if item.run_id is not None and outcome != "again":
            self._put(_Delivered(item, outcome, at))

    def counts(self) -> dict[str, int]:
        """See `Traces`."""
        return dict(self._counts)

    def _put(self, what: Timeline | _Delivered | Span) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._counts["dropped"] += 1
            return
        self._waiting.append(what)
        self._some.set()

    async def run(self) -> None:
        """See `Traces`."""
        authorities = await anyio.to_thread.run_sync(ssl.create_default_context)
        async with httpx.AsyncClient(timeout=_SEND_SECONDS, verify=authorities, trust_env=False) as client:
            try:
                while True:
                    await self._some.wait()
                    await anyio.sleep(_GATHER_SECONDS)
                    await self._send(client)
            finally:
                with anyio.move_on_after(_LAST_SECONDS, shield=True):
                    await self._send(client)

    async def _send(self, client: httpx.AsyncClient) -> None:
        """Send what waits. What cannot be sent is dropped: the next message is as good an example."""
        self._some = anyio.Event()
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_MOST_AT_ONCE, len(self._waiting)))]
            count, became = len(batch), "dropped"
            try:
                spans = [span for what in batch for span in await self._spans(what)]
                count = len(spans)
                await self._post(client, spans)
                became = "sent"
            except (httpx.HTTPError, TimeoutError, StoreError, OSError) as error:
                self._complain(count, str(error) or type(error).__name__)
            except Exception:  # the outermost edge of something that nobody's answer depends on
                log.exception("traces.bug")
            finally:
                self._counts[became] += count

    async def _post(self, client: httpx.AsyncClient, spans: Sequence[Span]) -> None:
        with anyio.fail_after(_SEND_SECONDS):
            content = encoded(spans, self._installation)
            answer = await client.post(self._url, content=content, headers={"content-type": "application/x-protobuf"})
        answer.raise_for_status()

    def _complain(self, count: int, problem: str) -> None:
        if anyio.current_time() >= self._quiet_until:
            self._quiet_until = anyio.current_time() + _QUIET_SECONDS
            log.warning("traces.dropped", spans=count, problem=problem)

    async def _spans(self, what: Timeline | _Delivered | Span) -> list[Span]:
        if isinstance(what, Span):
            return [what]
        run_id = what.run.id if isinstance(what, Timeline) else what.item.run_id
        assert run_id is not None, "nothing else is put into the queue"
        story = await self._database.read(read_story, run_id)
        if story is None:
            return []
        if isinstance(what, Timeline):
            spans = [*attempt_spans(self._installation, what)]
        else:
            spans = [delivery_span(self._installation, story.run, what.item, what.outcome, what.at)]
        if story.is_over and run_id not in self._begun:
            self._begun.append(run_id)
            spans.append(message_span(self._installation, story))
        return spans
