"""What the host counts, in Prometheus' text format. One registry of our own for each host; nothing is global.

What happens is counted as it happens; what there is (queue, channels, sign-ins) is looked at when somebody asks.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from nanoclaw import __version__
from nanoclaw.channels.base import ChannelState, Receive
from nanoclaw.ipc.mailbox import Outcome
from nanoclaw.model import Folder, Inbound, InboundMessage, NetworkDecision, OutboxItem
from nanoclaw.timeline import SendingOutcome, Timeline

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Described(NamedTuple):
    """A metric as the reference lists it."""

    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()


METRICS: Final[Mapping[str, Described]] = {
    "nanoclaw_info": Described("gauge", "Always 1.", ("version",)),
    "nanoclaw_start_time_seconds": Described("gauge", "When this host started, in seconds since 1970."),
    "nanoclaw_runs_waiting": Described("gauge", "Runs that wait."),
    "nanoclaw_runs_running": Described("gauge", "Runs that run."),
    "nanoclaw_oldest_message_seconds": Described(
        "gauge", "For how long the oldest message that no agent has taken yet has waited; 0: none waits."
    ),
    "nanoclaw_outbox": Described("gauge", "Replies that are not, or not known to be, sent.", ("state",)),
    "nanoclaw_runs_total": Described(
        "counter",
        "Attempts of runs that are over: `done`, `failed`, `again` (to be tried again), `put_back` (stopped).",
        ("provider", "outcome"),
    ),
    "nanoclaw_failures_total": Described("counter", "Attempts that failed, by kind of failure.", ("provider", "kind")),
    "nanoclaw_stage_seconds": Described(
        "histogram",
        "How long each stage took: `store` (message received → stored), `queue` (its run due → claimed), `start`"
        " (claimed → sandbox started), `agent` (sandbox started → agent done), `send` (reply written → sent), and"
        " `answer` (first message stored → agent done).",
        ("stage",),
    ),
    "nanoclaw_deliveries_total": Described(
        "counter", "Attempts to send a reply: `sent`, `failed`, `unknown`, `again` (to be tried again).", ("outcome",)
    ),
    "nanoclaw_channel_connected": Described("gauge", "1: connected.", ("channel",)),
    "nanoclaw_channel_state_seconds": Described(
        "gauge", "For how long a channel has been in its state.", ("channel", "state")
    ),
    "nanoclaw_channel_last_message_seconds": Described("gauge", "How long ago a channel heard anything.", ("channel",)),
    "nanoclaw_tokens_total": Described(
        "counter",
        "Tokens of runs that were answered; `cached` ones are `input` ones too.",
        ("group", "provider", "kind"),
    ),
    "nanoclaw_cost_usd_total": Described(
        "counter", "What providers told that it cost, in US dollars.", ("group", "provider")
    ),
    "nanoclaw_gateway_requests_total": Described(
        "counter", "Requests of sandboxes, to their `provider` or to `other` hosts.", ("group", "to", "verdict")
    ),
    "nanoclaw_gateway_bytes_total": Described(
        "counter", "Bytes `up` from sandboxes and `down` to them.", ("group", "to", "direction")
    ),
    "nanoclaw_mailbox_files_total": Described(
        "counter", "Files of agents in their mailboxes, `applied` or `refused`.", ("group", "outcome")
    ),
    "nanoclaw_proofs_total": Described(
        "counter",
        "Proofs of sandboxes: `held`, `failed`; every one that did not hold is a reason to look.",
        ("sandbox", "outcome"),
    ),
    "nanoclaw_login_renewed_seconds": Described(
        "gauge", "How long ago a ChatGPT login was renewed, by whose it is.", ("where",)
    ),
    "nanoclaw_login_expires_seconds": Described(
        "gauge", "In how many seconds its access token ends; less than 0: it was not renewed.", ("where",)
    ),
    "nanoclaw_trace_spans_total": Described(
        "counter", "Spans that were `sent` to the collector of traces, or `dropped`.", ("outcome",)
    ),
}
"""Every metric there is."""

_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
)

Logins = Mapping[str, tuple[datetime | None, datetime | None]]
"""By whose each is: when it was renewed, and when its access token ends."""

Sample = tuple[str, tuple[str, ...], float]
"""Name, values of its labels, and value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Present:
    """What there is at one moment."""

    now: datetime
    waiting: int
    running: int
    oldest_message: datetime | None
    outbox: Mapping[str, int]
    channels: Mapping[str, ChannelState]
    logins: Logins
    spans: Mapping[str, int]
    """Of traces, by outcome."""


class Metrics:
    """The counts of one host. Everything that counts takes microseconds and never fails."""

    def __init__(self, since: datetime) -> None:
        """`since`: when the host started."""
        from prometheus_client import CollectorRegistry  # 40 ms, and only hosts count

        self._since = since
        self._registry = CollectorRegistry()
        self._runs = self._counter("nanoclaw_runs_total")
        self._failures = self._counter("nanoclaw_failures_total")
        self._stages = self._histogram("nanoclaw_stage_seconds")
        self._deliveries = self._counter("nanoclaw_deliveries_total")
        self._tokens = self._counter("nanoclaw_tokens_total")
        self._cost = self._counter("nanoclaw_cost_usd_total")
        self._requests = self._counter("nanoclaw_gateway_requests_total")
        self._bytes = self._counter("nanoclaw_gateway_bytes_total")
        self._files = self._counter("nanoclaw_mailbox_files_total")
        self._proofs = self._counter("nanoclaw_proofs_total")

    def _counter(self, name: str) -> "Counter":
        from prometheus_client import Counter

        _, meaning, labels = METRICS[name]
        return Counter(name, meaning, labels, registry=self._registry)

    def _histogram(self, name: str) -> "Histogram":
        from prometheus_client import Histogram

        _, meaning, labels = METRICS[name]
        return Histogram(name, meaning, labels, registry=self._registry, buckets=_BUCKETS)

    def timed(self, receive: Receive) -> Receive:
        """The same, with the time counted that a message takes to be stored."""

        async def received(inbound: Inbound) -> None:
            began = perf_counter()
            await receive(inbound)
            if isinstance(inbound, InboundMessage):
                self._stages.labels("store").observe(perf_counter() - began)

        return received

    def filed(self, folder: Folder, outcome: Outcome) -> None:
        """A file of an agent's was answered, read or unread."""
        self._files.labels(folder, outcome).inc()

    def attempted(self, timeline: Timeline) -> None:
        """An attempt is over."""
        run, provider = timeline.run, timeline.provider
        self._runs.labels(provider, timeline.ending).inc()
        if timeline.failure:
            self._failures.labels(provider, timeline.failure).inc()
        if timeline.held is not None:
            self._proofs.labels(timeline.sandbox, "held" if timeline.held else "failed").inc()
        claimed = timeline.stages[0][1]
        self._observe("queue", claimed - run.due_at)
        self._observe("start", timeline.between("prepare", "proof"))
        self._observe("agent", timeline.between("proof", "settle"))
        if timeline.ending == "done":
            self._observe("answer", dict(timeline.stages)["settle"] - run.created_at)
            self._spent(timeline)

    def _spent(self, timeline: Timeline) -> None:
        usage, whose = timeline.usage, (timeline.run.folder, timeline.provider)
        self._tokens.labels(*whose, "input").inc(usage.input_tokens)
        self._tokens.labels(*whose, "cached").inc(usage.cached_input_tokens)
        self._tokens.labels(*whose, "output").inc(usage.output_tokens)
        if usage.cost_usd:
            self._cost.labels(*whose).inc(usage.cost_usd)

    def _observe(self, stage: str, took: timedelta | None) -> None:
        if took is not None:
            self._stages.labels(stage).observe(max(0.0, took.total_seconds()))

    def delivered(self, item: OutboxItem, outcome: SendingOutcome, at: datetime) -> None:
        """An attempt to send a reply is over."""
        self._deliveries.labels(outcome).inc()
        if outcome == "sent":
            self._observe("send", at - item.created_at)

    def asked(self, decision: NetworkDecision) -> None:
        """The gateway has decided about a request."""
        whose = decision.folder, "provider" if decision.reason == "provider" else "other"
        self._requests.labels(*whose, decision.verdict).inc()
        self._bytes.labels(*whose, "up").inc(decision.uploaded)
        self._bytes.labels(*whose, "down").inc(decision.downloaded)

    def exposition(self, present: Present) -> bytes:
        """Everything, in Prometheus' text format."""
        from prometheus_client import generate_latest

        samples = [
            ("nanoclaw_info", (__version__,), 1.0),
            ("nanoclaw_start_time_seconds", (), self._since.timestamp()),
            *_samples(present),
        ]
        return generate_latest(_Everything(self._registry, samples))  # pyright: ignore[reportArgumentType]  # it asks for no more


class _Everything:
    """What is counted, and what there is, as `generate_latest` wants it."""

    def __init__(self, registry: "CollectorRegistry", samples: Iterable[Sample]) -> None:
        self._registry = registry
        self._samples = samples

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, labels, value in self._samples:
            kind, meaning, names = METRICS[name]
            family_of = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            family = families.setdefault(name, family_of(name, meaning, labels=names))
            family.add_metric(labels, value)
        yield from families.values()


def _samples(present: Present) -> Iterator[Sample]:
    """What there is, as samples. Pure."""
    now, oldest = present.now, present.oldest_message
    yield "nanoclaw_runs_waiting", (), present.waiting
    yield "nanoclaw_runs_running", (), present.running
    yield "nanoclaw_oldest_message_seconds", (), _seconds(now - oldest) if oldest else 0.0
    for state, count in present.outbox.items():
        yield "nanoclaw_outbox", (state,), count
    for name, channel in present.channels.items():
        yield "nanoclaw_channel_connected", (name,), channel.connected
        if channel.since:
            yield "nanoclaw_channel_state_seconds", (name, channel.state), _seconds(now - channel.since)
        if channel.last_inbound:
            yield "nanoclaw_channel_last_message_seconds", (name,), _seconds(now - channel.last_inbound)
    for where, (renewed, ends) in present.logins.items():
        if renewed:
            yield "nanoclaw_login_renewed_seconds", (where,), _seconds(now - renewed)
        if ends:
            yield "nanoclaw_login_expires_seconds", (where,), (ends - now).total_seconds()
    for outcome, count in present.spans.items():
        yield "nanoclaw_trace_spans_total", (outcome,), count


def _seconds(span: timedelta) -> float:
    return max(0.0, span.total_seconds())
