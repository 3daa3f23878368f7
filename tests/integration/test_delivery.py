"""The outbox's way to a channel that fails in every way a platform can."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from nanoclaw.channels.base import Receipt, Receive
from nanoclaw.delivery import Delivery
from nanoclaw.errors import ChannelError, ChannelUnavailable, DeliveryRejected, DeliveryUnknown
from nanoclaw.model import Jid, OutboxState
from nanoclaw.pulse import Pulse
from nanoclaw.reconcile import reconcile_outbox
from nanoclaw.store import outbox
from nanoclaw.store.database import Database, open_database

pytestmark = pytest.mark.anyio
_CHAT = Jid("flaky:a")


class SteppingClock:
    """Every look is an hour later, so that a retry is due at once."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(hours=1)
        return self._now


class FlakyChannel:
    """Fails as told, once for each entry, and keeps what it took."""

    name = title = "flaky"

    def __init__(self, *failures: ChannelError, repeatable: bool = False) -> None:
        self.repeatable = repeatable
        self._failures = list(failures)
        self.took: list[tuple[str, str]] = []

    def owns(self, chat: Jid) -> bool:
        return chat.startswith("flaky:")

    def connect(self, receive: Receive) -> AbstractAsyncContextManager[None]:
        return self._nothing()

    @asynccontextmanager
    async def _nothing(self) -> AsyncGenerator[None]:
        yield

    async def send(self, chat: Jid, text: str, key: str) -> Receipt:
        if self._failures:
            raise self._failures.pop(0)
        self.took.append((key, text))
        return Receipt(platform_id=f"p-{key}")

    async def set_typing(self, chat: Jid, typing: bool) -> None: ...


@asynccontextmanager
async def delivering(tmp_path: Path, channel: FlakyChannel) -> AsyncGenerator[tuple[Database, Delivery]]:
    clock = SteppingClock()
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        delivery = Delivery(database, [channel], clock, Pulse())
        async with anyio.create_task_group() as group:
            with anyio.fail_after(20):
                yield database, delivery
                group.start_soon(delivery.run)
                await delivery.flush()
            group.cancel_scope.cancel()


async def put(database: Database, *texts: str, chat: Jid = _CHAT) -> None:
    for text in texts:
        await database.write(outbox.put, text, chat, "reply", text, None, datetime(2026, 1, 1, tzinfo=UTC))


async def states(database: Database) -> dict[str, OutboxState]:
    def look(db: sqlite3.Connection) -> dict[str, OutboxState]:
        rows = db.execute("SELECT key, state FROM outbox")
        return {row["key"]: OutboxState(row["state"]) for row in rows}

    return await database.read(look)


async def test_what_cannot_go_now_goes_later_and_in_order(tmp_path: Path) -> None:
    channel = FlakyChannel(ChannelUnavailable("away"), ChannelUnavailable("away"))
    async with delivering(tmp_path, channel) as (database, _):
        await put(database, "one", "two", "three")
    assert [text for _, text in channel.took] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("failure", "state"),
    [(DeliveryRejected("too long"), OutboxState.FAILED), (DeliveryUnknown("no ack"), OutboxState.UNKNOWN)],
)
async def test_what_will_never_go_or_may_have_gone_is_not_repeated(
    tmp_path: Path, failure: ChannelError, state: OutboxState
) -> None:
    channel = FlakyChannel(failure)
    clock = SteppingClock()
    async with delivering(tmp_path, channel) as (database, _):
        await put(database, "one", "two")
    assert [text for _, text in channel.took] == ["two"]
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        assert await states(database) == {"one": state, "two": OutboxState.SENT}


async def test_a_chat_that_no_channel_owns_fails_visibly_and_holds_up_nobody(tmp_path: Path) -> None:
    channel = FlakyChannel()
    async with delivering(tmp_path, channel) as (database, _):
        await put(database, "lost", chat=Jid("nowhere:x"))
        await put(database, "one")
    assert [text for _, text in channel.took] == ["one"]


@pytest.mark.parametrize(("repeatable", "state"), [(True, OutboxState.READY), (False, OutboxState.UNKNOWN)])
async def test_what_a_crash_interrupted_is_repeated_only_where_that_is_harmless(
    tmp_path: Path, repeatable: bool, state: OutboxState
) -> None:
    clock = SteppingClock()
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        await put(database, "one")
        await database.write(outbox.take, clock.now())
        await reconcile_outbox(database, [FlakyChannel(repeatable=repeatable)], clock)
        assert await states(database) == {"one": state}
