"""kill -9 of a host that is linked to WhatsApp, again and again, while messages stream both ways; counted by the fake
server. `pytest tests/e2e/test_whatsapp_kill.py --streamed 500` is the long version."""

import collections
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from nanoclaw.channels.whatsapp.protocol import UNREADABLE
from nanoclaw.client import Client, NoHostError
from nanoclaw.clock import SystemClock
from nanoclaw.model import Jid
from nanoclaw.selftest import echo
from nanoclaw.store import outbox
from nanoclaw.store.database import connect
from nanoclaw.testing.models import say
from nanoclaw.testing.world import World
from tests.e2e.test_whatsapp import living, register
from tests.fakes.whatsapp import Device, FakeWhatsApp, Group, Peer

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_STREAMED = 30
_HOST = Path(__file__).with_name("whatsapp_host.py")
_SETTINGS = "per_chat_minute = 10000\n[runs]\nretry_base_seconds = 0.2\n"


@pytest.fixture
async def wa(tmp_path: Path) -> AsyncGenerator[FakeWhatsApp]:
    async with FakeWhatsApp(tmp_path / "whatsapp") as server:
        yield server


@dataclass(kw_only=True)
class Victim:
    """A host in a process of its own, that is killed and started again."""

    world: World
    launcher: list[str]
    log: Path
    kills: int = 0
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        command = [sys.executable, os.fspath(_HOST), json.dumps(self.launcher), "--home", self.world.home.root]
        command += ["run", "--anyway"]  # else a host that was killed fifty times stops itself
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def until(self, key: str) -> None:
        """Wait until it is connected to WhatsApp, or idle."""
        while True:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            try:
                async with Client(self.world.home) as client:
                    status = await client.get("/v1/status")
            except NoHostError:
                status = None
            if status and key == "connected" and any(each["state"] == "connected" for each in _whatsapp(status)):
                return
            if status and key == "idle" and status["waiting"] == status["running"] == status["outbox"] == 0:
                return
            await anyio.sleep(0.1)


def _whatsapp(status: dict[str, list[dict[str, object]]]) -> list[dict[str, object]]:
    return [channel for channel in status["channels"] if channel["name"] == "whatsapp"]


async def kill_again_and_again(victim: Victim, done: anyio.Event, randomly: random.Random) -> None:
    while not done.is_set():
        await victim.until("connected")
        with anyio.move_on_after(randomly.uniform(0.0, 2.0)):
            await done.wait()
        victim.kill()
        victim.start()
        victim.kills += 1


async def write(bob: Peer, group: Group, count: int, randomly: random.Random) -> list[str]:
    """So many messages for the assistant; their markers."""
    markers = [f"marker-{number}" for number in range(count)]
    for marker in markers:
        await bob.send_text(group, f"@Andy {marker}")
        await anyio.sleep(randomly.uniform(0.0, 1.2))
    return markers


def queue(world: World, group: Group, count: int) -> list[str]:
    """So many messages of ours, in the outbox before the host starts."""
    texts = [f"ours {number}" for number in range(count)]
    now = SystemClock().now()
    with closing(connect(world.home.database, now)) as db:
        for text in texts:
            outbox.put(db, text, Jid(group.jid), "message", text, None, now)
    return texts


def stored(world: World, sql: str, *values: str) -> int:
    with closing(sqlite3.connect(world.home.database)) as db:
        return db.execute(sql, values).fetchone()[0]


@pytest.mark.timeout(1500)
async def test_a_host_killed_again_and_again_answers_every_message_once(
    wa: FakeWhatsApp, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    count = pytestconfig.getoption("streamed") or _STREAMED
    randomly = random.Random(20261122)
    bob = await wa.peer(wa.account("15550002", "Bob"))
    markers: list[str] = []
    async with living(wa, say(echo), "15550015", _SETTINGS) as (world, device):
        group = await bob.create_group("kills", [device.account])
        register(world, group.jid, "kills", provider="codex")
        ours = queue(world, group, count)
        victim = Victim(world=world, launcher=wa.launcher, log=tmp_path / "host.log")
        victim.start()
        try:
            done = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kill_again_and_again, victim, done, randomly)
                markers += await write(bob, group, count, randomly)
                done.set()
            await victim.until("connected")
            await all_came(world, count)
            await victim.until("idle")
        finally:
            victim.kill()
        unknown = stored(world, "SELECT count(*) FROM outbox WHERE state = 'unknown'")
        judge(wa, bob, device, markers, unknown)
        heard = [each.text for each in bob.heard if each.text.startswith("ours ")]
        assert heard == [text for text in ours if text in set(heard)], "in order, and none twice"
        assert len(ours) - len(heard) <= unknown
    sent = len([message for message in wa.sent_by(device) if message.type == "text"])
    told = f"{count} messages in, {sent} out, {victim.kills} kills, {unknown} unknown"
    pytestconfig.get_terminal_writer().line(told)


async def all_came(world: World, count: int) -> None:
    """Wait until the host has stored everything; nothing of it was lost in the library."""
    while stored(world, "SELECT count(*) FROM message") < count:  # noqa: ASYNC110  # another process writes it
        await anyio.sleep(0.1)
    assert stored(world, "SELECT count(*) FROM message WHERE text = ?", UNREADABLE) == 0


def judge(wa: FakeWhatsApp, bob: Peer, device: Device, markers: list[str], unknown: int) -> None:
    """Nothing was answered twice, everything once, but for what nobody can tell of; and Bob was sent nothing twice."""
    replies = [heard.text for heard in bob.heard if heard.text.startswith("You said:")]
    said = [word for reply in replies for word in reply.split() if word.startswith("marker-")]
    twice = [marker for marker, times in collections.Counter(said).items() if times > 1]
    assert twice == []
    assert said == sorted(said, key=lambda marker: int(marker.removeprefix("marker-"))), "in order"
    missing = set(markers) - set(said)
    assert not missing or unknown, sorted(missing)
    for message in wa.sent_by(device):
        assert message.sent == 1
