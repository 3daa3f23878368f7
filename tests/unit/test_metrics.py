"""What is counted, and how it is told."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nanoclaw import __version__
from nanoclaw.channels.base import ChannelState
from nanoclaw.clock import Clock
from nanoclaw.config import Home
from nanoclaw.initialise import initialise
from nanoclaw.intake import take_in
from nanoclaw.metrics import METRICS, Metrics, Present
from nanoclaw.model import (
    Folder,
    Inbound,
    InboundMessage,
    Jid,
    NetworkDecision,
    OutboxItem,
    OutboxState,
    RegisteredGroup,
    Run,
    RunId,
    RunState,
    Seq,
    TokenUsage,
)
from nanoclaw.store import outbox, runs
from nanoclaw.store.database import connect, transaction
from nanoclaw.store.waiting import what_waits
from nanoclaw.timeline import Timeline

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAMILY = RegisteredGroup(
    jid=Jid("local:family"), name="Family", folder=Folder("family"), trigger="@Andy", added_at=""
)  # fmt: skip
HELLO = InboundMessage(
    channel="local", account="local", chat=FAMILY.jid, chat_name="family", sender="local:Bob", sender_name="Bob",
    ext_id="1", text="@Andy hello", sent_at=NOW,
)  # fmt: skip
NOTHING: dict[str, Any] = {
    "now": NOW, "waiting": 0, "running": 0, "oldest_message": None, "outbox": {}, "channels": {}, "logins": {},
    "spans": {},
}  # fmt: skip


class Ticking(Clock):
    """A second passes whenever it is looked at."""

    def __init__(self) -> None:
        self._now = NOW

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


def a_run(**changes: Any) -> Run:  # noqa: ANN401
    values: dict[str, Any] = {
        "id": RunId(1), "folder": FAMILY.folder, "chat": FAMILY.jid, "cause": "messages", "state": RunState.RUNNING,
        "attempt": 1, "failures": 0, "due_at": NOW - timedelta(seconds=2), "created_at": NOW - timedelta(seconds=2),
        "started_at": NOW, "ended_at": None, "after_seq": Seq(0), "upto_seq": Seq(1), "provider": None,
        "failure": None, "detail": None, "usage": TokenUsage(),
    }  # fmt: skip
    return Run(**{**values, **changes})


def an_attempt(*, held: bool = True) -> Timeline:
    """Every stage takes a second."""
    timeline = Timeline(a_run(), "codex", Ticking())
    timeline.starts("bubblewrap")
    timeline.stage("proof")
    timeline.proved(held=held)
    timeline.stage("settle")
    timeline.done(TokenUsage(input_tokens=100, cached_input_tokens=60, output_tokens=7, cost_usd=0.5))
    timeline.stage("end")
    timeline.end()
    return timeline


def told(metrics: Metrics, **present: Any) -> dict[str, float]:  # noqa: ANN401
    """Every sample by its name and labels."""
    text = metrics.exposition(Present(**{**NOTHING, **present})).decode()
    samples = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


def test_an_attempt_counts_its_outcome_its_stages_its_proof_and_its_cost():
    metrics = Metrics(NOW)
    metrics.attempted(an_attempt())
    samples = told(metrics)
    assert samples['nanoclaw_runs_total{outcome="done",provider="codex"}'] == 1
    assert samples['nanoclaw_proofs_total{outcome="held",sandbox="bubblewrap"}'] == 1
    expected = {"queue": 2.0, "start": 2.0, "agent": 2.0, "answer": 6.0}
    assert {stage: samples[f'nanoclaw_stage_seconds_sum{{stage="{stage}"}}'] for stage in expected} == expected
    assert samples['nanoclaw_tokens_total{group="family",kind="input",provider="codex"}'] == 100
    assert samples['nanoclaw_tokens_total{group="family",kind="output",provider="codex"}'] == 7
    assert samples['nanoclaw_cost_usd_total{group="family",provider="codex"}'] == 0.5


def test_an_attempt_that_failed_counts_its_kind_and_costs_nothing():
    timeline = Timeline(a_run(), "codex", Ticking())
    timeline.failed("sandbox", again=True)
    timeline.end()
    metrics = Metrics(NOW)
    metrics.attempted(timeline)
    samples = told(metrics)
    assert samples['nanoclaw_runs_total{outcome="again",provider="codex"}'] == 1
    assert samples['nanoclaw_failures_total{kind="sandbox",provider="codex"}'] == 1
    assert not [name for name in samples if name.startswith(("nanoclaw_tokens", "nanoclaw_proofs"))]
    assert 'nanoclaw_stage_seconds_sum{stage="start"}' not in samples


def test_a_sandbox_that_does_not_hold_is_counted():
    metrics = Metrics(NOW)
    metrics.attempted(an_attempt(held=False))
    assert told(metrics)['nanoclaw_proofs_total{outcome="failed",sandbox="bubblewrap"}'] == 1


def test_requests_and_bytes_are_counted_by_group_and_verdict():
    metrics = Metrics(NOW)
    asked = NetworkDecision(
        at=NOW, folder=FAMILY.folder, host="x", port=443, verdict="allowed", reason="provider", uploaded=5, downloaded=7
    )  # fmt: skip
    metrics.asked(asked)
    metrics.asked(replace(asked, reason="listed"))
    metrics.asked(replace(asked, verdict="refused", reason="policy"))
    samples = told(metrics)
    assert samples['nanoclaw_gateway_requests_total{group="family",to="provider",verdict="allowed"}'] == 1
    assert samples['nanoclaw_gateway_requests_total{group="family",to="other",verdict="refused"}'] == 1
    assert samples['nanoclaw_gateway_bytes_total{direction="down",group="family",to="other"}'] == 14


def test_deliveries_are_counted_and_what_was_sent_is_timed():
    item = OutboxItem(
        id=1, key="k", chat=FAMILY.jid, kind="reply", text="hello", run_id=RunId(1), state=OutboxState.SENDING,
        attempt=1, created_at=NOW, sent_at=None, platform_id=None, error=None,
    )  # fmt: skip
    metrics = Metrics(NOW)
    metrics.delivered(item, "again", NOW + timedelta(seconds=1))
    metrics.delivered(item, "sent", NOW + timedelta(seconds=3))
    samples = told(metrics)
    assert samples['nanoclaw_deliveries_total{outcome="again"}'] == 1
    assert samples['nanoclaw_stage_seconds_sum{stage="send"}'] == 3


@pytest.mark.anyio
async def test_messages_are_timed_and_files_of_agents_counted():
    metrics = Metrics(NOW)
    received: list[Inbound] = []

    async def receive(inbound: Inbound) -> None:
        received.append(inbound)

    await metrics.timed(receive)(HELLO)
    metrics.filed(FAMILY.folder, "applied")
    metrics.filed(FAMILY.folder, "refused")
    samples = told(metrics)
    assert received == [HELLO]
    assert samples['nanoclaw_stage_seconds_count{stage="store"}'] == 1
    for outcome in ("applied", "refused"):
        assert samples[f'nanoclaw_mailbox_files_total{{group="family",outcome="{outcome}"}}'] == 1


def test_what_there_is_is_told_as_it_is_at_the_moment():
    connected = ChannelState(
        state="connected", connected=True, since=NOW - timedelta(hours=1), last_inbound=NOW - timedelta(minutes=1)
    )  # fmt: skip
    samples = told(
        Metrics(NOW),
        waiting=2,
        running=1,
        oldest_message=NOW - timedelta(seconds=90),
        outbox={"ready": 3},
        channels={"whatsapp": connected},
        logins={"host": (NOW - timedelta(days=1), NOW + timedelta(days=9))},
        spans={"dropped": 4},
    )
    assert samples["nanoclaw_runs_waiting"] == 2
    assert samples["nanoclaw_oldest_message_seconds"] == 90
    assert samples['nanoclaw_outbox{state="ready"}'] == 3
    assert samples['nanoclaw_channel_connected{channel="whatsapp"}'] == 1
    assert samples['nanoclaw_channel_state_seconds{channel="whatsapp",state="connected"}'] == 3600
    assert samples['nanoclaw_channel_last_message_seconds{channel="whatsapp"}'] == 60
    assert samples['nanoclaw_login_renewed_seconds{where="host"}'] == 86400
    assert samples['nanoclaw_login_expires_seconds{where="host"}'] == 9 * 86400
    assert samples['nanoclaw_trace_spans_total{outcome="dropped"}'] == 4
    assert samples[f'nanoclaw_info{{version="{__version__}"}}'] == 1
    assert told(Metrics(NOW))["nanoclaw_oldest_message_seconds"] == 0


def test_every_metric_that_is_told_is_described_and_two_hosts_count_apart():
    one, other = Metrics(NOW), Metrics(NOW)
    one.attempted(an_attempt())
    text = one.exposition(Present(**NOTHING)).decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert types.items() <= {name: described.kind for name, described in METRICS.items()}.items()
    assert 'nanoclaw_runs_total{outcome="done",provider="codex"}' not in told(other)


def test_the_oldest_waiting_message_is_that_of_the_oldest_waiting_run(tmp_path: Path):
    home = Home(tmp_path)
    initialise(home)
    db = connect(home.database, NOW)
    with transaction(db):
        assert what_waits(db).oldest_message is None
        take_in(db, HELLO, FAMILY, NOW)
        outbox.put(db, "k", FAMILY.jid, "reply", "hello", None, NOW)
        seen = what_waits(db)
        assert (seen.waiting, seen.running, seen.oldest_message) == (1, 0, NOW)
        assert seen.outbox == {"ready": 1, "sending": 0, "failed": 0, "unknown": 0}
        runs.claim(db, NOW, 1, ())
        assert (what_waits(db).running, what_waits(db).oldest_message) == (1, None)
    db.close()
