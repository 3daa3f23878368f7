"""A runner's lines are untrusted."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.errors import WireError
from nanoclaw.events import Activity, Done, Failed, Output, Started, UsageReport, parse_event
from nanoclaw.failures import Failure
from nanoclaw.outcome import Answered, Hearing, died
from nanoclaw.wire import PROTOCOL


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_every_event_is_read() -> None:
    assert parse_event(line(type="started", protocol=PROTOCOL)) == Started()
    assert parse_event(line(type="activity", text="a")) == Activity("a")
    assert parse_event(line(type="output", text="b")) == Output("b")
    assert parse_event(line(type="done")) == Done(None)
    assert parse_event(line(type="done", sessionId="s-1")) == Done("s-1")
    usage = parse_event(line(type="usage", inputTokens=10, cachedInputTokens=4, outputTokens=3, costUsd=0.5))
    assert isinstance(usage, UsageReport)
    assert (usage.usage.input_tokens, usage.usage.cost_usd) == (10, 0.5)
    failed = parse_event(line(type="failed", kind="auth", text="no", retryable=False, resetsAt="2026-01-01T00:00:00Z"))
    assert isinstance(failed, Failed)
    assert failed.resets_at is not None


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"hello",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        line(type="output"),
        line(type="output", text=1),
        line(type="started", protocol=99),
        line(type="usage", inputTokens=-1, cachedInputTokens=0, outputTokens=0),
        line(type="usage", inputTokens=10**30, cachedInputTokens=0, outputTokens=0),
        b'{"type":"usage","inputTokens":1,"cachedInputTokens":0,"outputTokens":0,"costUsd":NaN}',
        line(type="done", sessionId="a\nb"),
        line(type="done", sessionId=5),
        line(type="failed", kind="nonsense", text="", retryable=True),
        line(type="failed", kind="usage_limit", text="", retryable=True, resetsAt="tomorrow"),
        line(type="shutdown"),
    ],
)
def test_what_is_no_event_is_refused(bad: bytes) -> None:
    with pytest.raises(WireError):
        parse_event(bad)


@given(st.binary())
def test_any_bytes_are_an_event_or_refused(data: bytes) -> None:
    with contextlib.suppress(WireError):
        parse_event(data)


def test_the_last_output_before_done_is_the_answer() -> None:
    hearing = Hearing()
    hearing.take(line(type="started", protocol=PROTOCOL))
    hearing.take(line(type="output", text="first"))
    hearing.take(line(type="output", text="second"))
    hearing.take(line(type="usage", inputTokens=1, cachedInputTokens=0, outputTokens=2))
    assert hearing.outcome is None
    hearing.take(line(type="done", sessionId="s"))
    assert isinstance(hearing.outcome, Answered)
    assert (hearing.outcome.text, hearing.outcome.session_id, hearing.outcome.usage.output_tokens) == ("second", "s", 2)


def test_a_runner_that_does_not_begin_with_started_is_refused() -> None:
    with pytest.raises(WireError):
        Hearing().take(line(type="output", text="x"))


def test_megabytes_of_events_end_the_run() -> None:
    hearing = Hearing()
    hearing.take(line(type="started", protocol=PROTOCOL))
    big = line(type="activity", text="x" * 1_000_000)
    for _ in range(67):
        hearing.take(big)
    with pytest.raises(WireError, match="64 MiB"):
        hearing.take(big)


def test_a_sandbox_that_dies_says_how() -> None:
    killed = died(137, "")
    assert isinstance(killed, Failure)
    assert killed.retryable
    assert "memory" in killed.detail
    assert "exit status 3: boom" in died(3, "boom\n").detail
