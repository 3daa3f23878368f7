"""kill -9 of the host at random points under a stream of messages: each is answered exactly once in the end."""

import collections
import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from nanoclaw.client import Client, NoHostError
from nanoclaw.clock import SystemClock
from nanoclaw.model import Jid
from nanoclaw.selftest import echo
from nanoclaw.store import outbox
from nanoclaw.store.database import connect
from nanoclaw.testing.models import say
from nanoclaw.testing.world import World, make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_FOLDERS = ("main", "family", "work")
_SETTINGS = "[runs]\nretry_base_seconds = 0.2\n"


class Victim:
    """A host in a process of its own, that is killed and started again."""

    def __init__(self, home: Path, log: Path) -> None:
        self._command = [sys.executable, "-m", "nanoclaw", "--home", os.fspath(home), "run"]
        self._log = log
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.process = self._start()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


async def stream_messages(world: World, count: int, sent: list[str], randomly: random.Random) -> None:
    """Write in all groups; like a platform, deliver again whatever was not taken."""
    for number, folder in zip(range(count), itertools.cycle(_FOLDERS), strict=False):
        marker = f"marker-{folder}-{number}"
        body = {"chat": f"local:{folder}", "sender": "Bob", "text": f"@Andy {marker}", "id": marker}
        while True:
            try:
                async with Client(world.home) as client:
                    await client.post("/v1/messages", body)
                break
            except NoHostError:
                await anyio.sleep(0.05)
        sent.append(marker)
        await anyio.sleep(randomly.uniform(0.05, 0.5))


async def kill_again_and_again(victim: Victim, times: int, randomly: random.Random) -> None:
    for _ in range(times):
        await anyio.sleep(randomly.uniform(0.3, 2.0))
        victim.kill()
        victim.restart()


async def until_idle(world: World) -> None:
    while True:
        try:
            async with Client(world.home) as client:
                status = await client.get("/v1/status")
            if status["waiting"] == status["running"] == status["outbox"] == 0:
                return
        except NoHostError:
            pass
        await anyio.sleep(0.1)


def replies_of(world: World) -> dict[str, list[str]]:
    db = connect(world.home.database, SystemClock().now())
    try:
        return {
            folder: [item.text for item in outbox.sent_after(db, Jid(f"local:{folder}"), 0, 10_000)]
            for folder in _FOLDERS
        }
    finally:
        db.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("engine_name", "kills", "messages"), [("bubblewrap", 20, 60), ("podman", 4, 12)])
async def test_every_message_is_answered_once(tmp_path: Path, engine_name: str, kills: int, messages: int) -> None:
    randomly = random.Random(20261122)
    with make_world(say(echo), say(echo), engine=engine_name, settings=_SETTINGS, directory=tmp_path / "home") as world:
        world.secrets(OPENAI_API_KEY="sk-test-0123456789", ANTHROPIC_API_KEY="sk-test-0123456789")
        world.register("family", provider="codex")
        world.register("work", provider="codex")
        victim = Victim(world.home.root, tmp_path / "host.log")
        sent: list[str] = []
        try:
            with anyio.fail_after(240):
                async with anyio.create_task_group() as group:
                    group.start_soon(stream_messages, world, messages, sent, randomly)
                    group.start_soon(kill_again_and_again, victim, kills, randomly)
                await until_idle(world)
            assert await anyio.to_thread.run_sync(victim.stop) == 0
        finally:
            victim.kill()
        replies = replies_of(world)
    said = collections.Counter(
        marker for folder in _FOLDERS for reply in replies[folder] for marker in reply.split() if marker in set(sent)
    )
    assert said == collections.Counter(sent), (tmp_path / "host.log").read_text()[-4000:]
    for folder in _FOLDERS:
        order = [word for reply in replies[folder] for word in reply.split() if word.startswith("marker-")]
        assert order == [marker for marker in sent if marker.startswith(f"marker-{folder}-")]
