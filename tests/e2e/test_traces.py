"""One trace for each message, from its arrival to its answer, as a collector of OpenTelemetry sees it."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.client import Client
from nanoclaw.logs import set_up_logging
from nanoclaw.serving import serve_on
from nanoclaw.testing.models import Script, fault, first, say, shell, steps
from nanoclaw.testing.world import ANSWER_SECONDS, World, make_world
from nanoclaw.web.application import listen

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_STAGES = {"prepare", "start", "proof", "agent", "settle", "end"}
_SECRET = "the cat is called Tom"


@dataclass
class Collector:
    """Stores every span that is sent to it."""

    spans: list[Span] = field(default_factory=list[Span])
    sent: bytes = b""
    came: anyio.Event = field(default_factory=anyio.Event)

    async def take(self, request: Request) -> Response:
        assert request.headers["content-type"] == "application/x-protobuf"
        body = await request.body()
        self.sent += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        self.came.set()
        self.came = anyio.Event()
        return Response(status_code=200)

    async def until(self, name: str, count: int) -> None:
        """Return once so many spans of that name have come."""
        with anyio.fail_after(ANSWER_SECONDS):
            while len(self.named(name)) < count:
                await self.came.wait()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@asynccontextmanager
async def collecting() -> AsyncGenerator[tuple[Collector, int]]:
    """A collector on loopback, and its port."""
    collector = Collector()
    listener = listen(0)
    port = listener.getsockname()[1]
    application = Starlette(routes=[Route("/v1/traces", collector.take, methods=["POST"])])
    async with anyio.create_task_group() as group:
        await group.start(serve_on, application, listener)
        yield collector, port
        group.cancel_scope.cancel()


@asynccontextmanager
async def traced(script: Script, port: int, directory: Path) -> AsyncGenerator[tuple[World, Client]]:
    """A host that sends traces there, whose `main` and `family` think with Codex, under bubblewrap."""
    with make_world(script, script, engine="bubblewrap", directory=directory) as world:
        world.secrets(OPENAI_API_KEY="sk-test-0123456789")
        with world.home.settings.open("a") as settings:
            settings.write(f'[traces]\nendpoint = "http://127.0.0.1:{port}"\n[runs]\nretry_base_seconds = 0.01\n')
        for folder in ("main", "family"):
            world.register(folder, provider="codex")
        set_up_logging(world.home.logs, "info", to_stderr=False)
        async with world.hosting() as client:
            yield world, client


def value(span: Span, key: str) -> str | int | float | None:
    found = [pair.value for pair in span.attributes if pair.key == key]
    return getattr(found[0], str(found[0].WhichOneof("value"))) if found else None


async def test_every_message_has_one_trace_through_all_parts(tmp_path: Path) -> None:
    async with collecting() as (collector, port):
        work = steps(shell("true"), say("I know."))
        async with traced(work, port, tmp_path / "home") as (world, client):
            for folder in ("main", "family", "main"):
                await world.ask(client, folder, f"@Andy {_SECRET}")
            await collector.until("message", 3)
            await collector.until("end", 3)
            log = [json.loads(line) for line in (world.home.logs / "nanoclaw.log").read_text().splitlines()]
            shown = CliRunner().invoke(app, ["--home", str(world.home.root), "runs", "show", "--json", "2"])
    traces = {span.trace_id for span in collector.spans}
    assert len(traces) == 3
    for trace in traces:
        spans = {span.name: span for span in collector.spans if span.trace_id == trace}
        assert spans.keys() == {"message", "queue", "run", "gateway", "delivery", *_STAGES}
        whole, run, agent = spans["message"], spans["run"], spans["agent"]
        assert not whole.parent_span_id
        assert [event.name for event in whole.events] == ["message"]
        assert {spans[name].parent_span_id for name in ("queue", "run", "delivery")} == {whole.span_id}
        assert {spans[name].parent_span_id for name in _STAGES} == {run.span_id}
        asked = [span for span in collector.spans if span.trace_id == trace and span.name == "gateway"]
        assert len(asked) == 2
        assert all(
            span.parent_span_id == agent.span_id and value(span, "nanoclaw.verdict") == "allowed" for span in asked
        )
        assert all(value(span, "gen_ai.usage.input_tokens") for span in asked)
        assert "activity" in [event.name for event in agent.events]
        assert whole.start_time_unix_nano <= run.start_time_unix_nano <= whole.end_time_unix_nano
        assert whole.end_time_unix_nano >= spans["delivery"].start_time_unix_nano
        of_run = [line for line in log if line["event"] == "run.done" and line["run"] == value(run, "nanoclaw.run")]
        assert [line["trace"] for line in of_run] == [trace.hex()]
    second = next(span for span in collector.named("run") if value(span, "nanoclaw.run") == 2)
    assert json.loads(shown.stdout)["trace"] == second.trace_id.hex()
    for private in (_SECRET, "I know.", "sk-test", "/v1/responses"):
        assert private.encode() not in collector.sent


async def test_attempts_that_fail_are_in_the_trace_of_their_message(tmp_path: Path) -> None:
    async with collecting() as (collector, port):
        script = first(4, fault("overloaded"), say("now"))  # more than the CLI itself tries again
        async with traced(script, port, tmp_path / "home") as (world, client):
            await world.ask(client, "main", "hello")
            await collector.until("message", 1)
            await collector.until("end", 2)
    assert len({span.trace_id for span in collector.spans}) == 1
    attempts = sorted(collector.named("run"), key=lambda span: span.start_time_unix_nano)
    assert [value(span, "nanoclaw.outcome") for span in attempts] == ["again", "done"]
    assert attempts[0].status.message
    assert len(collector.named("queue")) == 2


async def test_a_collector_that_is_not_there_costs_no_answer_and_is_counted(tmp_path: Path) -> None:
    listener = listen(0)
    port = listener.getsockname()[1]
    listener.close()
    async with traced(say("hello"), port, tmp_path / "home") as (world, client):
        assert [reply["text"] for reply in await world.ask(client, "main", "hi")] == ["hello"]
    log = (world.home.logs / "nanoclaw.log").read_text()  # all that is left is sent before a host is gone
    (dropped,) = [json.loads(line) for line in log.splitlines() if '"traces.dropped"' in line]
    assert dropped["spans"] > 5
