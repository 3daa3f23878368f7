"""WhatsApp, on the fake server: what its way adds to a turn, how much it carries, what the worker weighs.

The server, the people and the host share the machine with the worker, so the rates are lower bounds.
"""

import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.e2e.test_whatsapp import hosting, living, register
from tests.fakes.whatsapp import Device, FakeWhatsApp
from tests.integration.whatsapp_rig import a_rig

from bench.measures import resident_megabytes, run_log
from nanoclaw.clock import from_iso
from nanoclaw.model import Folder, InboundMessage
from nanoclaw.testing.models import say
from nanoclaw.testing.world import World

_PATIENCE = 600.0  # seconds for ten thousand messages, on a slow machine


@dataclass(kw_only=True)
class Latency:
    """Seconds, one of each per turn."""

    to_agent: list[float] = field(default_factory=list[float])
    """From the server's acknowledgement to the sender, to the start of the sandbox."""
    to_wire: list[float] = field(default_factory=list[float])
    """From the runner's last word to the reply at the server."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Many messages."""

    received_per_second: float
    sent_per_second: float
    megabytes: float
    """Of the worker afterwards."""


async def latency(count: int) -> Latency:
    """Turns of a group that thinks with scripted Codex, one after the other; the first is not counted."""
    found = Latency()
    async with _a_server() as wa, living(wa, say("hello"), "15550011") as (world, device):
        bob = await wa.peer(wa.account("15550002", "Bob"))
        group = await bob.create_group("bench", [device.account])
        register(world, group.jid, "bench", provider="codex")
        async with hosting(world):
            for number in range(count + 1):
                answered = len(_answers(wa, device))
                await bob.send_text(group, "@Andy hello")
                sent = datetime.now(UTC)
                await wa.until(lambda known=answered: len(_answers(wa, device)) > known, "an answer", within=60.0)
                arrived = datetime.now(UTC)
                if number:
                    _note(world, number + 1, sent, arrived, found)
    return found


def _answers(wa: FakeWhatsApp, device: Device) -> list[Any]:
    return [message for message in wa.sent_by(device) if message.type == "text"]


def _note(world: World, number: int, sent: datetime, arrived: datetime, found: Latency) -> None:
    lines = run_log(world.home.run_logs(Folder("bench")) / f"{number:06d}-1.jsonl")
    began = next(line for line in lines if line["what"] == "start")
    ended = [line for line in lines if line["what"] == "event"][-1]
    found.to_agent.append((from_iso(began["at"]) - sent).total_seconds())
    found.to_wire.append((arrived - from_iso(ended["at"])).total_seconds())


async def load(received: int, sent: int) -> Load:
    """So many messages in and out of one group."""
    async with _a_server() as wa:
        bob = await wa.peer(wa.account("15550002", "Bob"))
        andy = wa.account("15550001", "Andy")
        group = wa.create_group("bench", by=bob.account, members=[andy])
        with tempfile.TemporaryDirectory() as directory:
            async with a_rig(wa, Path(directory), andy, [group.jid]) as (rig, _):
                started = time.monotonic()
                for number in range(received):
                    await bob.send_text(group, f"message {number}")
                await rig.until(lambda: len(rig.of(InboundMessage)) >= received, _PATIENCE)
                receiving = time.monotonic() - started
                started = time.monotonic()
                for number in range(sent):
                    await rig.send(group.jid, f"answer {number}", f"bench-{number}")
                sending = time.monotonic() - started
                weight = resident_megabytes(int(rig.channel.state().facts["process"]))
    return Load(received_per_second=received / receiving, sent_per_second=sent / sending, megabytes=weight)


@asynccontextmanager
async def _a_server() -> AsyncGenerator[FakeWhatsApp]:
    with tempfile.TemporaryDirectory() as directory:
        async with FakeWhatsApp(Path(directory)) as wa:
            yield wa
