"""Each measurement, on an installation of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from bench.bare import BareTurn
from nanoclaw import taskbook
from nanoclaw.client import Client, NoHostError
from nanoclaw.clock import SystemClock, from_iso
from nanoclaw.model import Folder, Jid, TaskId
from nanoclaw.providers import ProviderName
from nanoclaw.scheduler import tick
from nanoclaw.store import messages, outbox, runs, tasks
from nanoclaw.store.database import connect, transaction
from nanoclaw.testing.models import say
from nanoclaw.testing.world import World, make_world

_KEY = "sk-bench-0123456789"


@dataclass(kw_only=True)
class Turns:
    """Seconds, one of each per turn."""

    turns: list[float] = field(default_factory=list[float])
    bare: list[float] = field(default_factory=list[float])
    host_share: list[float] = field(default_factory=list[float])
    to_runner: list[float] = field(default_factory=list[float])
    proof: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, kw_only=True)
class Idle:
    """A host with nothing to do."""

    cpu_percent: float
    megabytes: float


@contextmanager
def a_world(engine: str, provider: ProviderName = "codex") -> Generator[World]:
    with make_world(say("hello"), say("hello"), engine=engine) as world:
        world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
        world.register("main", provider=provider)
        yield world


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)


@asynccontextmanager
async def a_host(world: World) -> AsyncGenerator[tuple[Client, int]]:
    """A host in a process of its own, as people run it, and its process id."""
    command = [sys.executable, "-m", "nanoclaw", "--home", os.fspath(world.home.root), "run"]
    process = _start(command)
    try:
        async with Client(world.home) as client:
            while True:
                try:
                    await client.get("/v1/status")
                    break
                except NoHostError:
                    await anyio.sleep(0.05)
            yield client, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await anyio.to_thread.run_sync(process.wait, 30)


async def turns(engine: str, provider: ProviderName, count: int, bare: BareTurn) -> Turns:
    """Turns of the installation and of the bare CLI, one after the other; the first of each is not counted."""
    found = Turns()
    with a_world(engine, provider) as world:
        async with a_host(world) as (client, _):
            for number in range(count + 1):
                started = time.monotonic()
                await anyio.to_thread.run_sync(bare, world)
                seconds = time.monotonic() - started
                replies = await world.ask(client, "main", "hello")
                assert [reply["text"] for reply in replies] == ["hello"], replies
                if number:
                    found.bare.append(seconds)
                    _note(world, found)
    return found


def _note(world: World, found: Turns) -> None:
    """Read the newest turn's times from the database and the run log."""
    db = connect(world.home.database, SystemClock().now())
    try:
        (run,) = runs.recent(db, 1)
        (message,) = messages.between(db, run.chat, run.after_seq, run.upto_seq, 1)[0]
        (reply,) = outbox.of_run(db, run.id)
    finally:
        db.close()
    assert reply.sent_at is not None
    lines = run_log(world.home.run_logs(Folder("main")) / f"{run.id:06d}-{run.attempt}.jsonl")
    began = next(line for line in lines if line["what"] == "start")
    spoke = next(line for line in lines if line["what"] == "event")
    proof = next(line for line in lines if line["what"] == "proof")
    found.proof.append(proof["milliseconds"] / 1000)
    found.turns.append((reply.sent_at - message.received_at).total_seconds())
    found.host_share.append((from_iso(began["at"]) - message.received_at).total_seconds())
    found.to_runner.append((from_iso(spoke["at"]) - message.received_at).total_seconds())


def run_log(path: Path) -> list[dict[str, Any]]:
    """A run's log, line by line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def mailbox(engine: str, count: int) -> list[float]:
    """Seconds from the rename of a file in a mailbox to its message being sent."""
    found: list[float] = []
    with a_world(engine) as world:
        async with a_host(world) as (client, _):
            folder = world.home.mailboxes / "main" / "messages"
            await world.ask(client, "main", "hello")  # its mailbox is there now
            events = client.stream("/v1/events", chat="local:main")
            await anext(events)
            for number in range(count):
                (folder / ".new").write_text(json.dumps({"type": "message", "text": str(number)}), encoding="utf-8")
                renamed = SystemClock().now()
                (folder / ".new").rename(folder / f"{number}.json")
                event = await anext(event async for event in events if event["type"] == "reply")
                found.append((from_iso(event["at"]) - renamed).total_seconds())
    return found


async def idle(engine: str, seconds: float) -> Idle:
    """CPU and memory of a host with ten groups, after its start has settled."""
    with a_world(engine) as world:
        for number in range(9):
            world.register(f"group-{number}")
        async with a_host(world) as (client, pid):
            await world.ask(client, "main", "hello")
            await anyio.sleep(2.0)
            before = _cpu_seconds(pid)
            await anyio.sleep(seconds)
            used = _cpu_seconds(pid) - before
            megabytes = resident_megabytes(pid)
    return Idle(cpu_percent=100 * used / seconds, megabytes=megabytes)


def resident_megabytes(pid: int) -> float:
    """What a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def lateness(engine: str, count: int) -> list[float]:
    """Seconds from a task's moment to its run's start, on an idle host."""
    with a_world(engine) as world:
        async with a_host(world) as (client, _):
            schedule = {"type": "schedule_task", "prompt": "x", "schedule_type": "interval", "schedule_value": "1000"}
            made = await client.post("/v1/commands", {**schedule, "context_mode": "isolated"})
            await anyio.sleep(count + 2)
            await client.post("/v1/commands", {"type": "pause_task", "taskId": made["taskId"]})
        db = connect(world.home.database, SystemClock().now())
        try:
            past = tasks.history(db, TaskId(made["taskId"]), count)
        finally:
            db.close()
    return [
        (run.started_at - run.scheduled_for).total_seconds() for run in past if run.started_at and run.scheduled_for
    ]


def many_tasks(count: int) -> list[float]:
    """Seconds of one look at a schedule of so many tasks of which none is due."""
    now = SystemClock().now()
    with tempfile.TemporaryDirectory() as directory:
        db = connect(Path(directory) / "n.db", now)
        draft = taskbook.Draft(
            folder=Folder("main"),
            prompt="x",
            schedule_type="cron",
            schedule_value="0 9 * * 1",
            timezone="UTC",
            context_mode="group",
            missed="coalesce",
        )
        with transaction(db):
            task = taskbook.add(db, draft, now)
            for number in range(count - 1):
                moment = now + timedelta(hours=1, seconds=number)
                tasks.add(db, replace(task, id=TaskId(f"task-{number}"), next_at=moment))
        found: list[float] = []
        for _ in range(200):
            started = time.perf_counter()
            with transaction(db):
                tick(db, now, {})
            tasks.next_due_at(db)
            found.append(time.perf_counter() - started)
        db.close()
    return found


async def ingest(engine: str, count: int) -> float:
    """Messages stored per second, ten writers at once, in a group that they do not wake."""
    with a_world(engine) as world:
        world.register("family")
        async with a_host(world):
            body = {"chat": Jid("local:family"), "sender": "Bob", "text": "just talking"}

            async def write() -> None:
                async with Client(world.home) as client:
                    for _ in range(count // 10):
                        await client.post("/v1/messages", body)

            started = time.monotonic()
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(write)
            return count / (time.monotonic() - started)
