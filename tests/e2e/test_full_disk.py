"""A disk that is full for a while, with a real agent at work."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from nanoclaw.errors import NanoclawError
from nanoclaw.store import database
from nanoclaw.testing.models import say, shell, steps
from nanoclaw.testing.world import make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]


class Disk:
    """What the database writes to."""

    def __init__(self) -> None:
        self.full = False
        self.refused = 0

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Generator[None]:
        with self._real(connection):
            yield
            if self.full:
                self.refused += 1
                raise sqlite3.OperationalError("database or disk is full")

    _real = staticmethod(database.transaction)


@pytest.mark.timeout(200)
async def test_the_host_outlives_a_full_disk_and_says_what_it_could_not_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    monkeypatch.setattr(database, "transaction", disk.transaction)
    wait = shell("while [ ! -e go-on ]; do sleep 0.1; done")
    with make_world(steps(wait, say("Done.")), say("x"), engine="bubblewrap", directory=tmp_path) as world:
        world.secrets(OPENAI_API_KEY="sk-synthetic")
        world.register("main", provider="codex")
        async with world.hosting() as client:
            asked = await client.post("/v1/messages", {"chat": "local:main", "sender": "Bob", "text": "go"})
            with anyio.fail_after(60):
                while not world.openai.requests:  # noqa: ASYNC110 - it happens in a sandbox
                    await anyio.sleep(0.05)
            disk.full = True
            (world.home.groups / "main" / "go-on").touch()
            with anyio.fail_after(60):
                while disk.refused < 2:  # noqa: ASYNC110 - nobody tells of it
                    await anyio.sleep(0.05)
            with pytest.raises(NanoclawError, match="disk is full"):
                await client.post("/v1/messages", {"chat": "local:main", "sender": "Bob", "text": "lost?"})
            disk.full = False
            chat, seq = "local:main", int(asked["seq"])
            answer = await client.get("/v1/answers", 60, chat=chat, seq=seq, wait=50)
            assert [reply["text"] for reply in answer["replies"]] == ["Done."]
            assert [reply["text"] for reply in await world.ask(client, "main", "again")] == ["Done."]
            status = await client.get("/v1/status")
            assert status["waiting"] == status["running"] == status["outbox"] == 0
