"""Sends what lies in the outbox, in order per chat; the only caller of `Channel.send`."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import structlog

from nanoclaw.channels.base import Channel, MessageRef, Outbound, OutboundFile
from nanoclaw.clock import Clock
from nanoclaw.config import Home
from nanoclaw.errors import ChannelUnavailable, DeliveryRejected, DeliveryUnknown, StoreError
from nanoclaw.formatting import shorten, split_text
from nanoclaw.groups import GroupRegistry
from nanoclaw.model import MAIN_FOLDER, Jid, OutboxItem, OutboxState
from nanoclaw.pulse import Pulse
from nanoclaw.store import messages, outbox
from nanoclaw.store.database import Connection, Database
from nanoclaw.timeline import SendingOutcome

SETTLING: Final = timedelta(minutes=10)
"""A receipt that could tell whether a reply arrived has come by then, or a phone is off: the owner is told."""

_FIRST_RETRY_SECONDS: Final = 2.0
_LONGEST_RETRY_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 30.0  # the net below the pulse
_CAPTION: Final = 1000  # characters; a longer text goes before its files, as a message of its own
_SHOWN_CHARACTERS: Final = 120  # of a reply, in a notice about it
_LOSS: Final = "loss-"
_FAULT: Final = "a fault of the host, of which its log says more"

log = structlog.stdlib.get_logger()

Observe = Callable[[OutboxItem, SendingOutcome, datetime], None]
"""Told what became of each attempt to send a reply; must not block."""


class Delivery:
    """The outbox's loop. It fires `changed` too: an item was settled, one way or another."""

    def __init__(
        self,
        home: Home,
        database: Database,
        groups: GroupRegistry,
        channels: Sequence[Channel],
        clock: Clock,
        changed: Pulse,
        observe: Observe | None = None,
    ) -> None:
        self._observe = observe or _nobody
        self._outgoing = home.outgoing
        self._database = database
        self._groups = groups
        self._channels = channels
        self._clock = clock
        self._changed = changed
        self._lost = Pulse()

    async def run(self) -> None:
        """Send for ever; ends by cancellation, which lets a send that must not be repeated be settled first."""
        async with anyio.create_task_group() as sends:
            while True:
                seen = self._changed.count
                for item in await self._database.write_surely(outbox.take, self._clock.now()):
                    sends.start_soon(self._deliver, item, name=f"deliver {item.id}")
                await self._changed.after_or(seen, await self._pause())

    async def follow(self, channel: Channel) -> None:
        """Whenever a channel is connected again, send at once what waited for that; ends by cancellation."""
        connected = channel.state().connected
        while True:
            seen = channel.changed.count
            was, connected = connected, channel.state().connected
            if connected and not was:
                await self._database.write_surely(self._hurry, channel)
                self._changed.fire()
            await channel.changed.after(seen)

    def _hurry(self, db: Connection, channel: Channel) -> None:
        chats = [chat for chat in outbox.waiting_chats(db) if channel.owns(chat)]
        outbox.hurry(db, chats, self._clock.now())

    async def tell_of_losses(self) -> None:
        """Say in main, once each, what did not arrive or may not have; ends by cancellation."""
        while True:
            seen = self._lost.count
            since = await self._database.read(outbox.first_untold)
            if since is None:
                await self._lost.after(seen)
                continue
            now = self._clock.now()
            if await self._database.write_surely(self._tell, now):
                self._changed.fire()
            await self._lost.after_or(seen, (since + SETTLING - now).total_seconds())

    def _tell(self, db: Connection, now: datetime) -> int:
        """Answers how many losses were told."""
        lost = outbox.untold(db, now - SETTLING)
        main = self._groups.by_folder(MAIN_FOLDER)
        for item in lost:
            if main is not None and not item.key.startswith(_LOSS):  # a lost notice about a loss is seen in `status`
                group = self._groups.groups.get(item.chat)
                text = loss_notice(item, group.name if group else item.chat)
                outbox.put(db, f"{_LOSS}{item.id}", main.jid, "notice", text, None, now)
        return len(lost)

    async def flush(self) -> None:
        """Return once nothing is left that can go now."""
        while True:
            seen = self._changed.count
            if not await self._database.read(outbox.due_count, self._clock.now()):
                return
            await self._changed.after(seen)

    async def _pause(self) -> float:
        due = await self._database.read(outbox.next_due)
        if due is None:
            return _POLL_SECONDS
        return min(_POLL_SECONDS, (due - self._clock.now()).total_seconds())

    async def _deliver(self, item: OutboxItem) -> None:
        try:
            await self._send(item)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True), suppress(StoreError):
                await self._database.write_surely(outbox.retry, item, "the host stopped", self._clock.now())
            raise
        except StoreError as error:  # the host was stopped meanwhile; the next start finds out what became of it
            log.error("delivery.not_recorded", chat=item.chat, key=item.key, error=str(error))  # noqa: TRY400
        except Exception:  # the boundary: a fault of ours costs one reply, not the host, which would meet it for ever
            log.exception("delivery.bug", chat=item.chat, key=item.key)
            await self._give_up(item, _FAULT)
        self._changed.fire()

    async def _send(self, item: OutboxItem) -> None:
        """Send what is left of a reply, part by part; each part's outcome is on the disk before the next one goes."""
        try:
            channel = self._channel(item.chat)
            gone = await self._database.read(outbox.parts_gone, item) if item.attempt > 1 else 0
            reference = await self._database.read(_reference, item) if item.answers is not None else None
            parts = parts_of(item, channel, self._outgoing, reference)
            if gone >= len(parts):
                await self._database.write_surely(outbox.settle, item.id, self._clock.now())
            for number in range(gone + 1, len(parts) + 1):
                await anyio.lowlevel.checkpoint()
                # what cannot be repeated is seen to its end, which its channel bounds; the rest is asked about again
                with anyio.CancelScope(shield=not channel.repeatable):
                    await self._send_part(item, channel, number, parts[number - 1], last=number == len(parts))
        except ChannelUnavailable as error:
            pause = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** (item.attempt - 1))
            due = self._clock.now() + timedelta(seconds=pause)
            await self._database.write_surely(outbox.retry, item, str(error), due)
            self._observe(item, "again", self._clock.now())
            log.warning("delivery.retry", chat=item.chat, key=item.key, seconds=pause, error=str(error))
        except DeliveryRejected as error:
            await self._give_up(item, str(error))
            log.error("delivery.rejected", chat=item.chat, key=item.key, error=str(error))  # noqa: TRY400

    async def _give_up(self, item: OutboxItem, error: str) -> None:
        now = self._clock.now()
        await self._database.write_surely(outbox.reject, item, error, now)
        self._observe(item, "failed", now)
        self._lost.fire()

    async def _send_part(self, item: OutboxItem, channel: Channel, number: int, part: Outbound, *, last: bool) -> None:
        try:
            with anyio.fail_after(channel.send_seconds):
                receipt = await channel.send(item.chat, part)
        except (DeliveryUnknown, TimeoutError) as error:
            told = str(error) or "no answer from the platform in time"
            await self._database.write_surely(outbox.part_unknown, item, number, told, self._clock.now(), last=last)
            log.error("delivery.unknown", chat=item.chat, key=part.key, error=told)  # noqa: TRY400
            self._lost.fire()
            if last:
                self._observe(item, "unknown", self._clock.now())
        else:
            platform_id, now = receipt.platform_id, self._clock.now()
            await self._database.write_surely(outbox.part_sent, item, number, platform_id, now, last=last)
            log.info("delivery.sent", chat=item.chat, key=part.key)
            if last:
                self._observe(item, "sent", now)

    def _channel(self, chat: Jid) -> Channel:
        for channel in self._channels:
            if channel.owns(chat):
                return channel
        raise DeliveryRejected(f"no channel owns {chat}", "check the jid in registered_groups.json")


def parts_of(item: OutboxItem, channel: Channel, outgoing: Path, answers: MessageRef | None) -> list[Outbound]:
    """The messages that a reply goes out as: its text in as many as it takes, then its files, of which the first has a
    short text as its caption. Pure: the same after a crash."""
    texts = split_text(channel.formatted(item.text), channel.text_limit) if item.text else []
    files = [OutboundFile(path=outgoing / file.file, name=file.name, mime=file.mime) for file in item.files]
    contents: list[tuple[str, OutboundFile | None]] = [(text, None) for text in texts]
    if files and len(texts) <= 1 and len("".join(texts)) <= _CAPTION:
        contents = [("".join(texts), files.pop(0))]
    contents += [("", file) for file in files]
    return [
        Outbound(key=outbox.part_key(item, number), text=text, file=file, answers=answers if number == 1 else None)
        for number, (text, file) in enumerate(contents, 1)
    ]


def loss_notice(item: OutboxItem, chat: str) -> str:
    """What the owner is told of a reply that did not arrive, or may not have. Pure."""
    beginning = f" It began: “{shorten(item.text, _SHOWN_CHARACTERS)}”" if item.text else ""
    if item.state is OutboxState.FAILED:
        return f"What I wrote to {chat} was not delivered: {item.error}.{beginning}"
    return (
        f"What I wrote to {chat} may not have arrived: {item.error}. I do not send it again by myself, as it might then"
        f" be there twice.{beginning}"
    )


def _nobody(_item: OutboxItem, _outcome: SendingOutcome, _at: datetime) -> None:
    """Watches."""


def _reference(db: Connection, item: OutboxItem) -> MessageRef | None:
    message = messages.get(db, item.answers) if item.answers is not None else None
    return message and MessageRef(sender=message.sender, ext_id=message.ext_id, text=message.text)
