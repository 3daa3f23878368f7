"""Spans: what they say, how they belong together, and what happens when nobody takes them."""

import sys
from datetime import timedelta
from pathlib import Path
from subprocess import run as run_program

import anyio
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from nanoclaw.config import Home, load_settings
from nanoclaw.errors import ConfigError
from nanoclaw.intake import take_in
from nanoclaw.model import NetworkDecision, RunId, TokenUsage
from nanoclaw.store import endings, outbox, runs
from nanoclaw.store.database import open_database
from nanoclaw.store.endings import Success
from nanoclaw.timeline import Timeline
from nanoclaw.traces import make_traces, trace_id
from nanoclaw.traces.otlp import encoded
from nanoclaw.traces.spans import attempt_spans, gateway_span, message_span, read_story
from nanoclaw.traces.tracer import Tracer
from tests.unit.test_metrics import FAMILY, HELLO, NOW, Ticking, a_run, an_attempt

pytestmark = pytest.mark.anyio

INSTALLATION = "0123456789ab"
ASKED = NetworkDecision(
    at=NOW, folder=FAMILY.folder, host="api.openai.com", port=443, verdict="allowed", reason="provider", ms=250,
    uploaded=10, downloaded=20, status=200, usage=TokenUsage(input_tokens=5, output_tokens=2),
)  # fmt: skip


def test_the_ids_follow_from_installation_and_run():
    assert trace_id(INSTALLATION, RunId(1)) == trace_id(INSTALLATION, RunId(1))
    others = {trace_id(INSTALLATION, RunId(2)), trace_id("another", RunId(1))}
    assert trace_id(INSTALLATION, RunId(1)) not in others
    assert len(trace_id(INSTALLATION, RunId(1))) == 32


def test_stages_follow_each_other_without_a_gap_within_their_attempt():
    queue, whole, *stages = attempt_spans(INSTALLATION, an_attempt())
    assert (queue.name, queue.began, queue.ended) == ("queue", NOW - timedelta(seconds=2), NOW)
    assert [span.name for span in stages] == ["prepare", "start", "proof", "agent", "settle", "end"]
    assert [span.ended for span in stages] == [*(span.began for span in stages[1:]), whole.ended]
    assert {span.parent for span in stages} == {whole.id}
    assert whole.values["gen_ai.usage.output_tokens"] == 7


def test_an_attempt_that_never_got_a_sandbox_has_the_stages_that_it_had():
    timeline = Timeline(a_run(), "codex", Ticking())
    timeline.failed("not_signed_in", again=False)
    timeline.end()
    spans = list(attempt_spans(INSTALLATION, timeline))
    assert [span.name for span in spans] == ["queue", "run", "prepare"]
    assert spans[1].problem == "not_signed_in"


def test_a_request_says_whom_it_asked_and_what_it_cost():
    span = gateway_span(INSTALLATION, a_run(), ASKED)
    agent = next(each for each in attempt_spans(INSTALLATION, an_attempt()) if each.name == "agent")
    assert span.parent == agent.id
    assert span.ended - span.began == timedelta(milliseconds=250)
    assert span.values["http.response.status_code"] == 200
    assert span.values["gen_ai.usage.input_tokens"] == 5
    assert not span.problem


def test_what_is_sent_is_what_the_protocol_says():
    failed = gateway_span(INSTALLATION, a_run(), ASKED)
    request = ExportTraceServiceRequest.FromString(encoded([failed], INSTALLATION))
    (sent,) = request.resource_spans[0].scope_spans[0].spans
    assert sent.trace_id.hex() == trace_id(INSTALLATION, RunId(1))
    assert len(sent.span_id) == 8
    assert sent.end_time_unix_nano == int(NOW.timestamp()) * 10**9
    values = {pair.key: pair.value for pair in sent.attributes}
    assert values["server.address"].string_value == "api.openai.com"
    assert values["server.port"].int_value == 443
    assert sent.status.code == Status.STATUS_CODE_UNSET
    about = {pair.key: pair.value.string_value for pair in request.resource_spans[0].resource.attributes}
    assert about["service.instance.id"] == INSTALLATION


async def test_a_message_is_over_when_its_reply_is_settled(tmp_path: Path):
    async with open_database(tmp_path / "n.db", NOW) as database:
        await database.write(take_in, HELLO, FAMILY, NOW)
        (run,) = await database.write(runs.claim, NOW, 1, ())
        success = Success(reply="hello", provider="codex", session_id=None, usage=TokenUsage())
        await database.write(endings.finish, run, success, NOW + timedelta(seconds=1))
        story = await database.read(read_story, run.id)
        assert story
        assert not story.is_over
        (item,) = await database.write(outbox.take, NOW + timedelta(seconds=1))
        await database.write(outbox.part_sent, item, 1, "x", NOW + timedelta(seconds=3), last=True)
        story = await database.read(read_story, run.id)
        assert story
        assert story.is_over
        span = message_span(INSTALLATION, story)
    assert (span.name, span.began, span.ended) == ("message", NOW, NOW + timedelta(seconds=3))
    assert [note.values for note in span.notes] == [{"nanoclaw.seq": 1}]


async def test_more_than_can_be_sent_is_dropped_and_counted(tmp_path: Path):
    async with open_database(tmp_path / "n.db", NOW) as database:
        tracer = Tracer("http://127.0.0.1:9", INSTALLATION, database)
        timeline = Timeline(a_run(), "codex", Ticking())
        with tracer.following(timeline):
            for _ in range(2100):
                tracer.asked(ASKED)
        assert tracer.counts()["dropped"] == 101
        tracer.asked(ASKED)  # of no run: of no trace
        assert tracer.counts()["dropped"] == 101
        async with anyio.create_task_group() as group:
            group.start_soon(tracer.run)
            with anyio.fail_after(60):
                await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert tracer.counts() == {"sent": 0, "dropped": 2101}


def test_where_nobody_wants_traces_nothing_of_them_is_loaded():
    program = (
        "import sys, nanoclaw.host, nanoclaw.traces;"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))]"
    )
    run_program([sys.executable, "-c", program], check=True, timeout=60)


async def test_an_endpoint_without_the_package_is_told_at_the_start(tmp_path: Path):
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from nanoclaw.traces import make_traces\n"
        "from nanoclaw.errors import ConfigError\n"
        "try: make_traces('http://x', 'y', None)\n"
        "except ConfigError as error: print(error.hint)"
    )
    done = await anyio.run_process([sys.executable, "-c", program])
    assert "pip install 'nanoclaw[traces]'" in done.stdout.decode()
    async with open_database(tmp_path / "n.db", NOW) as database:
        assert make_traces("", INSTALLATION, database).counts() == {}


@pytest.mark.parametrize("endpoint", ["localhost:4318", "http://user:secret@host", "ftp://host"])
def test_what_is_no_address_of_a_collector_is_refused(tmp_path: Path, endpoint: str):
    home = Home(tmp_path)
    home.settings.write_text(f'[traces]\nendpoint = "{endpoint}"\n')
    with pytest.raises(ConfigError, match=r"traces\.endpoint is no address"):
        load_settings(home)
