"""What a chat sees while a run goes on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from nanoclaw.channels.base import Channel, MessageRef
from nanoclaw.clock import SystemClock
from nanoclaw.config import RunSettings, Settings
from nanoclaw.model import Folder, InboundMessage, Jid, Run, TokenUsage
from nanoclaw.pulse import Pulses
from nanoclaw.store import endings, messages, runs
from nanoclaw.store.database import Connection, Database, open_database
from nanoclaw.store.endings import Failing, Success
from nanoclaw.vigil import Vigil

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CHAT = Jid("1@g.us")


class WatchedChannel:
    """Writes down what is shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.reacted = anyio.Event()

    async def set_typing(self, chat: Jid, typing: bool) -> None:
        self.shown.append("typing" if typing else "still")

    async def react(self, chat: Jid, to: MessageRef, emoji: str) -> None:
        self.shown.append(f"{emoji} {to.sender} {to.ext_id}")
        self.reacted.set()


class FewServices:
    """What a vigil needs."""

    def __init__(self, database: Database, settings: RunSettings) -> None:
        self.database = database
        self.settings = Settings(runs=settings)
        self.pulses = Pulses()
        self.clock = SystemClock()


def asked(db: Connection) -> Run:
    """Two messages that wake the agent, and their run, begun."""
    for ext_id in ("first", "last"):
        message = InboundMessage(
            channel="x", account="me", chat=CHAT, chat_name="Family", sender="bob", sender_name="Bob",
            ext_id=ext_id, text="hi", sent_at=NOW,
        )  # fmt: skip
        messages.insert(db, message, NOW, wakes=True)
    runs.queue(db, Folder("family"), CHAT, NOW)
    return runs.claim(db, NOW, 1, ())[0]


def done(db: Connection, run: Run) -> None:
    endings.finish(db, run, Success(reply="", provider="claude", session_id=None, usage=TokenUsage()), NOW)


def failed(db: Connection, run: Run) -> None:
    endings.fail(db, run, Failing(kind="auth", detail="", provider=None, retry_at=None, notice=None), NOW)


def put_back(db: Connection, run: Run) -> None:
    endings.interrupt(db, run, NOW)


@pytest.mark.parametrize(("end", "last"), [(done, ["✅ bob last"]), (failed, ["❌ bob last"]), (put_back, [])])
async def test_the_message_that_asked_shows_how_it_stands(tmp_path: Path, end: Any, last: list[str]) -> None:  # noqa: ANN401
    channel = WatchedChannel()
    async with open_database(tmp_path / "x.db", NOW) as database:
        run = await database.write(asked)
        services = cast("Any", FewServices(database, RunSettings()))
        async with Vigil(services, run, cast("Channel", channel)).kept():
            with anyio.fail_after(10):
                await channel.reacted.wait()
            await database.write(end, run)
    assert channel.shown == ["typing", "👀 bob last", "still", *last]


async def test_reactions_can_be_switched_off(tmp_path: Path) -> None:
    channel = WatchedChannel()
    async with open_database(tmp_path / "x.db", NOW) as database:
        run = await database.write(asked)
        services = cast("Any", FewServices(database, RunSettings(reactions=False)))
        async with Vigil(services, run, cast("Channel", channel)).kept():
            await database.write(done, run)
    assert set(channel.shown) <= {"typing", "still"}
