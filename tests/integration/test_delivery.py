"""The outbox's way to a channel that fails in every way a platform can."""

import json
import sqlite3
from collections.abc import AsyncGenerator, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from nanoclaw.channels.base import ChannelState, MessageRef, Outbound, Receipt, Receive
from nanoclaw.clock import Clock
from nanoclaw.config import Home
from nanoclaw.delivery import Delivery
from nanoclaw.errors import ChannelError, ChannelUnavailable, DeliveryRejected, DeliveryUnknown
from nanoclaw.groups import GroupRegistry
from nanoclaw.model import InboundMessage, InboundReceipt, Jid, OutboxState, OutgoingFile
from nanoclaw.pulse import Pulse
from nanoclaw.reconcile import reconcile_outbox
from nanoclaw.store import messages, outbox
from nanoclaw.store.database import Database, open_database

pytestmark = pytest.mark.anyio
_CHAT = Jid("flaky:a")
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_PARTS = ["one " * 20 + "end", "two " * 20 + "end", "three " * 12 + "end"]
_LONG = "\n\n".join(_PARTS)


class SteppingClock:
    """Every look is an hour later, so that a retry is due at once."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(hours=1)
        return self._now


class StandingClock:
    """It is always the same time."""

    def now(self) -> datetime:
        return _AT


def _nothing() -> None: ...


class FlakyChannel:
    """Fails as told, once for each entry, and keeps what it took."""

    name = title = "flaky"
    text_limit = 100

    def __init__(self, *failures: ChannelError | None, repeatable: bool = False, send_seconds: float = 60.0) -> None:
        self.send_seconds = send_seconds
        self.repeatable = repeatable
        self.changed = Pulse()
        self._failures = list(failures)
        self.parts: list[Outbound] = []
        self.raised: list[ChannelError] = []
        self.connected = True
        self.after_send = _nothing

    @property
    def took(self) -> list[tuple[str, str]]:
        return [(part.key, part.text) for part in self.parts]

    def owns(self, chat: Jid) -> bool:
        return chat.startswith("flaky:")

    def connect(self, receive: Receive) -> AbstractAsyncContextManager[None]:
        return self._connected()

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[None]:
        yield

    def state(self) -> ChannelState:
        return ChannelState(state="connected", connected=self.connected)

    def follow(self, chats: Set[Jid]) -> None: ...

    def formatted(self, text: str) -> str:
        return text

    async def send(self, chat: Jid, message: Outbound) -> Receipt:
        failure = self._failures.pop(0) if self._failures else None
        if failure is not None:
            self.raised.append(failure)
            raise failure
        self.parts.append(message)
        self.after_send()
        return Receipt(platform_id=f"p-{message.key}")

    async def react(self, chat: Jid, to: MessageRef, emoji: str) -> None: ...

    async def refresh(self) -> None: ...

    async def set_typing(self, chat: Jid, typing: bool) -> None: ...


def write_groups(tmp_path: Path, folders: dict[str, str]) -> None:
    groups = {jid: {"name": folder.title(), "folder": folder, "trigger": "@A"} for jid, folder in folders.items()}
    (tmp_path / "registered_groups.json").write_text(json.dumps(groups), encoding="utf-8")


def a_delivery(
    tmp_path: Path, database: Database, channel: FlakyChannel, clock: Clock, changed: Pulse | None = None
) -> Delivery:
    groups = GroupRegistry(tmp_path / "registered_groups.json")
    return Delivery(Home(tmp_path), database, groups, [channel], clock, changed or Pulse())


@asynccontextmanager
async def delivering(
    tmp_path: Path, channel: FlakyChannel, clock: Clock | None = None
) -> AsyncGenerator[tuple[Database, Delivery]]:
    clock = clock or SteppingClock()
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        delivery = a_delivery(tmp_path, database, channel, clock)
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


class ConfusedChannel(FlakyChannel):
    """Stumbles over the first text."""

    def formatted(self, text: str) -> str:
        if text == "one":
            raise ValueError("what is this?")
        return text


async def test_a_reply_over_which_the_host_itself_stumbles_fails_visibly_and_holds_up_nobody(tmp_path: Path) -> None:
    channel, clock = ConfusedChannel(), SteppingClock()
    async with delivering(tmp_path, channel, clock) as (database, _):
        await put(database, "one", "two")
    assert [text for _, text in channel.took] == ["two"]
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        assert await states(database) == {"one": OutboxState.FAILED, "two": OutboxState.SENT}
        (lost,) = await database.write(outbox.untold, clock.now())
        assert "a fault of the host" in (lost.error or "")


async def test_a_chat_that_no_channel_owns_fails_visibly_and_holds_up_nobody(tmp_path: Path) -> None:
    channel = FlakyChannel()
    async with delivering(tmp_path, channel) as (database, _):
        await put(database, "lost", chat=Jid("nowhere:x"))
        await put(database, "one")
    assert [text for _, text in channel.took] == ["one"]


@pytest.mark.parametrize(("repeatable", "took"), [(True, ["1", "2", "3"]), (False, ["2", "3"])])
async def test_what_a_crash_interrupted_is_repeated_only_where_that_is_harmless_and_the_rest_goes(
    tmp_path: Path, repeatable: bool, took: list[str]
) -> None:
    clock = SteppingClock()
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        await put(database, _LONG)
        await database.write(outbox.take, clock.now())
        await reconcile_outbox(database, [FlakyChannel(repeatable=repeatable)], clock)
    channel = FlakyChannel(repeatable=repeatable)
    async with delivering(tmp_path, channel, clock):
        pass
    assert [key.rpartition("/")[2] for key, _ in channel.took] == took
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        assert await states(database) == {_LONG: OutboxState.SENT if repeatable else OutboxState.UNKNOWN}


async def test_a_reply_whose_last_part_a_crash_interrupted_is_settled_as_unknown(tmp_path: Path) -> None:
    clock = SteppingClock()
    channel = FlakyChannel()
    async with delivering(tmp_path, channel, clock) as (database, _):
        await put(database, "one")
        await database.write(outbox.take, clock.now())
        await reconcile_outbox(database, [channel], clock)
    assert channel.took == []
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        assert await states(database) == {"one": OutboxState.UNKNOWN}


async def test_a_long_text_goes_in_parts_and_a_pause_repeats_none_of_them(tmp_path: Path) -> None:
    channel = FlakyChannel(None, ChannelUnavailable("away"))
    async with delivering(tmp_path, channel) as (database, _):
        await put(database, _LONG, "after")
    assert [text for _, text in channel.took] == [*_PARTS, "after"]
    assert [key for key, _ in channel.took] == [f"{_LONG}/{number}" for number in (1, 2, 3)] + ["after/1"]


async def test_a_part_of_which_nobody_knows_holds_up_none_of_the_rest(tmp_path: Path) -> None:
    channel = FlakyChannel(None, DeliveryUnknown("no ack"))
    async with delivering(tmp_path, channel) as (database, _):
        await put(database, _LONG)
    assert [text for _, text in channel.took] == [_PARTS[0], _PARTS[2]]
    async with open_database(tmp_path / "n.db", SteppingClock().now()) as database:
        assert await states(database) == {_LONG: OutboxState.UNKNOWN}


async def test_a_receipt_settles_what_was_unknown_whether_it_comes_later_or_was_there_first(tmp_path: Path) -> None:
    channel = FlakyChannel(DeliveryUnknown("no ack"), DeliveryUnknown("no ack"))
    async with delivering(tmp_path, channel) as (database, _):
        await put(database, "late")
        await put(database, "early", chat=Jid("flaky:b"))
        receipt = InboundReceipt(chat=Jid("flaky:b"), platform_id="e", state="server", at=_AT, key="early/1")
        assert not await database.write(outbox.note_receipt, receipt), "nothing is unknown yet"
    async with open_database(tmp_path / "n.db", SteppingClock().now()) as database:
        assert await states(database) == {"late": OutboxState.UNKNOWN, "early": OutboxState.SENT}
        receipt = InboundReceipt(chat=_CHAT, platform_id="l", state="device", at=_AT, key="late/1")
        assert await database.write(outbox.note_receipt, receipt)
        assert not await database.write(outbox.note_receipt, receipt), "once"
        assert (await states(database))["late"] is OutboxState.SENT


async def test_a_host_that_stops_between_two_parts_goes_on_with_the_next(tmp_path: Path) -> None:
    channel = FlakyChannel()
    clock = SteppingClock()
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        await put(database, _LONG)
        delivery = a_delivery(tmp_path, database, channel, clock)
        async with anyio.create_task_group() as group:
            channel.after_send = group.cancel_scope.cancel
            await delivery.run()
        assert len(channel.took) == 1
        assert await states(database) == {_LONG: OutboxState.READY}
    channel.after_send = _nothing
    async with delivering(tmp_path, channel, clock):
        pass
    assert [text for _, text in channel.took] == _PARTS


class SilentChannel(FlakyChannel):
    """Takes a message, and never answers."""

    def __init__(self, *, repeatable: bool, send_seconds: float) -> None:
        super().__init__(repeatable=repeatable, send_seconds=send_seconds)
        self.asked = anyio.Event()

    async def send(self, chat: Jid, message: Outbound) -> Receipt:
        self.asked.set()
        await anyio.sleep_forever()
        raise AssertionError


async def test_a_channel_has_as_long_as_it_says_to_answer_and_then_nobody_knows(tmp_path: Path) -> None:
    async with delivering(tmp_path, SilentChannel(repeatable=True, send_seconds=0.05)) as (database, _):
        await put(database, "one")
    async with open_database(tmp_path / "n.db", SteppingClock().now()) as database:
        assert await states(database) == {"one": OutboxState.UNKNOWN}


async def test_a_host_that_stops_does_not_wait_for_a_long_send_that_may_be_repeated(tmp_path: Path) -> None:
    channel = SilentChannel(repeatable=True, send_seconds=3600.0)
    async with open_database(tmp_path / "n.db", SteppingClock().now()) as database:
        await put(database, "one")
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(a_delivery(tmp_path, database, channel, SteppingClock()).run)
                await channel.asked.wait()
                group.cancel_scope.cancel()
        assert await states(database) == {"one": OutboxState.READY}


async def test_the_owner_is_told_once_of_what_was_lost_and_not_of_the_loss_of_that(tmp_path: Path) -> None:
    write_groups(tmp_path, {"flaky:main": "main", "flaky:a": "family"})
    failures = (DeliveryUnknown("no ack"), DeliveryRejected("blocked"), DeliveryRejected("blocked"))
    channel = FlakyChannel(*failures)
    clock = SteppingClock()
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        await put(database, "perhaps", "never")
        pulse = Pulse()
        delivery = a_delivery(tmp_path, database, channel, clock, pulse)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(delivery.run)
                group.start_soon(delivery.tell_of_losses)
                while len(channel.took) + len(channel.raised) < 4:
                    await pulse.after(pulse.count)
                await delivery.flush()
                group.cancel_scope.cancel()
        found = await states(database)
        assert sorted(found) == ["loss-1", "loss-2", "never", "perhaps"]
        assert sorted(state for key, state in found.items() if key.startswith("loss")) == ["failed", "sent"]
        (told,) = [text for _, text in channel.took]
        assert "Family" in told
        assert "“perhaps”" in told or "“never”" in told


async def test_what_waited_for_a_connection_goes_when_it_is_back(tmp_path: Path) -> None:
    channel = FlakyChannel(ChannelUnavailable("away"))
    channel.connected = False
    clock = StandingClock()
    async with open_database(tmp_path / "n.db", clock.now()) as database:
        await put(database, "one")
        pulse = Pulse()
        delivery = a_delivery(tmp_path, database, channel, clock, pulse)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(delivery.run)
                group.start_soon(delivery.follow, channel)
                await pulse.after(0)
                assert (channel.took, len(channel.raised)) == ([], 1)
                channel.connected = True
                channel.changed.fire()
                while not channel.took:
                    await pulse.after(pulse.count)
                group.cancel_scope.cancel()


async def test_files_follow_their_text_and_the_first_has_a_short_one_as_its_caption(tmp_path: Path) -> None:
    files = [OutgoingFile(file=f"family/{name}", name=name, mime="text/plain") for name in ("a.txt", "b.txt")]
    channel = FlakyChannel()
    async with delivering(tmp_path, channel) as (database, _):
        for key, text in (("short", "here"), ("long", _LONG), ("none", "")):
            await database.write(outbox.put, key, _CHAT, "message", text, None, _AT, files=files)
    assert [(part.key, part.text, part.file and part.file.name) for part in channel.parts] == [
        ("short/1", "here", "a.txt"),
        ("short/2", "", "b.txt"),
        *((f"long/{number}", text, None) for number, text in enumerate(_PARTS, 1)),
        ("long/4", "", "a.txt"),
        ("long/5", "", "b.txt"),
        ("none/1", "", "a.txt"),
        ("none/2", "", "b.txt"),
    ]
    first = channel.parts[0].file
    assert first is not None
    assert first.path == Home(tmp_path).outgoing / "family" / "a.txt"


async def test_a_reply_refers_to_the_message_that_asked_while_that_is_there(tmp_path: Path) -> None:
    channel = FlakyChannel()
    asked = InboundMessage(
        channel="flaky",
        account="me",
        chat=_CHAT,
        chat_name="",
        sender="bob",
        sender_name="Bob",
        ext_id="7",
        text="@A?",
        sent_at=_AT,
    )
    async with delivering(tmp_path, channel) as (database, _):
        seq = (await database.write(messages.insert, asked, _AT)).seq
        gone = (await database.write(messages.insert, replace(asked, ext_id="8"), _AT)).seq
        await database.write(messages.withdraw, gone, _AT)
        await database.write(outbox.put, "k", _CHAT, "reply", _LONG, None, _AT, answers=seq)
        await database.write(outbox.put, "l", _CHAT, "reply", "x", None, _AT, answers=gone)
    reference = MessageRef(sender="bob", ext_id="7", text="@A?")
    assert [part.answers for part in channel.parts] == [reference, None, None, None]
