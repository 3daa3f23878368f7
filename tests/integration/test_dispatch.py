"""Which runs are executed when, and what ends them, on a real database."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.from_thread
import pytest

from nanoclaw.clock import SystemClock
from nanoclaw.config import RunSettings, Settings
from nanoclaw.dispatch import Dispatch
from nanoclaw.execution import Executor
from nanoclaw.model import Folder, InboundMessage, Jid, Run, TokenUsage
from nanoclaw.pulse import Pulses
from nanoclaw.store import endings, messages, runs
from nanoclaw.store.database import Connection, Database, open_database
from nanoclaw.store.endings import Success

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PATIENCE = 30.0


class FewServices:
    """What dispatch needs."""

    def __init__(self, database: Database, places: int) -> None:
        self.database = database
        self.settings = Settings(runs=RunSettings(max_concurrent=places))
        self.pulses = Pulses()
        self.clock = SystemClock()


class Lab:
    """Dispatch, with an executor that does what the test says."""

    def __init__(self, database: Database, places: int) -> None:
        self.database = database
        self.services = FewServices(database, places)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.may_end = anyio.Event()
        self.dispatch = Dispatch(cast("Any", self.services), cast("Executor", self))

    async def execute(self, run: Run) -> None:
        """As the executor: the run's end is recorded, its sandbox is gone a little later."""
        self.begun.append(run.folder)
        try:
            await self.database.write(finish, run)
            await self.may_end.wait()
        finally:
            self.ended.append(run.folder)
            self.services.pulses.activity.fire()

    async def say(self, folder: str) -> None:
        await self.database.write(ask, folder)
        self.services.pulses.runs.fire()

    async def until(self, wanted: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not wanted():  # noqa: ASYNC110 - nobody tells of it
                await anyio.sleep(0.01)


def finish(db: Connection, run: Run) -> None:
    endings.finish(db, run, Success(reply="", provider="p", session_id=None, usage=TokenUsage()), NOW)


def ask(db: Connection, folder: str) -> None:
    chat = Jid(f"local:{folder}")
    number = db.execute("SELECT count(*) FROM message").fetchone()[0]
    message = InboundMessage(
        channel="x", account="me", chat=chat, chat_name="", sender="bob", sender_name="Bob",
        ext_id=str(number), text="hi", sent_at=NOW,
    )  # fmt: skip
    messages.insert(db, message, NOW, wakes=True)
    runs.queue(db, Folder(folder), chat, NOW)


@asynccontextmanager
async def dispatching(tmp_path: Path, places: int = 5) -> AsyncGenerator[Lab]:
    async with open_database(tmp_path / "n.db", NOW) as database, anyio.create_task_group() as tasks:
        lab = Lab(database, places)
        tasks.start_soon(lab.dispatch.run)
        yield lab
        tasks.cancel_scope.cancel()


async def test_a_group_is_busy_until_its_sandbox_is_gone(tmp_path: Path) -> None:
    async with dispatching(tmp_path) as lab:
        await lab.say("a")
        await lab.until(lambda: lab.begun == ["a"])
        await lab.say("a")
        await lab.say("b")
        await lab.until(lambda: lab.begun == ["a", "b"])
        lab.may_end.set()
        await lab.until(lambda: lab.begun == ["a", "b", "a"])


async def test_no_more_run_at_once_than_there_are_places(tmp_path: Path) -> None:
    async with dispatching(tmp_path, places=1) as lab:
        await lab.say("a")
        await lab.until(lambda: lab.begun == ["a"])
        await lab.say("b")
        await lab.say("c")
        assert lab.begun == ["a"]
        lab.may_end.set()
        await lab.until(lambda: lab.begun == ["a", "b", "c"])


async def test_a_run_that_was_stopped_as_soon_as_it_was_claimed_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = runs.claim
    async with dispatching(tmp_path) as lab:

        def claim_and_stop(db: Connection, *args: Any) -> list[Run]:  # noqa: ANN401
            claimed = claim(db, *args)
            for run in claimed:
                endings.stop(db, run.folder, run.chat, NOW, queue_too=False)
            anyio.from_thread.run_sync(lab.services.pulses.stops.fire)
            return claimed

        monkeypatch.setattr(runs, "claim", claim_and_stop)
        await lab.say("a")
        await lab.until(lambda: lab.ended == ["a"])
