"""Sends what lies in the outbox, in order per chat; the only caller of `Channel.send`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import anyio
import structlog

from nanoclaw.channels.base import Channel
from nanoclaw.clock import Clock
from nanoclaw.errors import ChannelUnavailable, DeliveryRejected, DeliveryUnknown
from nanoclaw.model import Jid, OutboxItem, OutboxState
from nanoclaw.pulse import Pulse
from nanoclaw.store import outbox
from nanoclaw.store.database import Database

_SEND_SECONDS: Final = 60.0  # a platform that has not answered by then is not going to
_FIRST_RETRY_SECONDS: Final = 2.0
_LONGEST_RETRY_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 30.0  # the net below the pulse

log = structlog.stdlib.get_logger()


class Delivery:
    """The outbox's loop. It fires `changed` too: an item was settled, one way or another."""

    def __init__(self, database: Database, channels: Sequence[Channel], clock: Clock, changed: Pulse) -> None:
        self._database = database
        self._channels = channels
        self._clock = clock
        self._changed = changed

    async def run(self) -> None:
        """Send for ever; ends by cancellation, which lets a send that is under way be settled first."""
        async with anyio.create_task_group() as sends:
            while True:
                seen = self._changed.count
                for item in await self._database.write(outbox.take, self._clock.now()):
                    sends.start_soon(self._deliver, item, name=f"deliver {item.id}")
                await self._changed.after_or(seen, await self._pause())

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
        with anyio.CancelScope(shield=True):  # bounded by _SEND_SECONDS; an outcome that is known must be recorded
            await self._send(item)
        self._changed.fire()

    async def _send(self, item: OutboxItem) -> None:
        try:
            with anyio.fail_after(_SEND_SECONDS):
                receipt = await self._channel(item.chat).send(item.chat, item.text, item.key)
        except ChannelUnavailable as error:
            pause = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** (item.attempt - 1))
            due = self._clock.now() + timedelta(seconds=pause)
            await self._database.write(outbox.retry, item, str(error), due)
            log.warning("delivery.retry", chat=item.chat, key=item.key, seconds=pause, error=str(error))
        except DeliveryRejected as error:
            await self._give_up(item, OutboxState.FAILED, str(error))
        except (DeliveryUnknown, TimeoutError) as error:
            await self._give_up(item, OutboxState.UNKNOWN, str(error) or "no answer from the platform in time")
        else:
            await self._database.write(outbox.sent, item, receipt.platform_id, self._clock.now())
            log.info("delivery.sent", chat=item.chat, key=item.key)

    async def _give_up(self, item: OutboxItem, state: OutboxState, error: str) -> None:
        await self._database.write(outbox.give_up, item, state, error)
        log.error("delivery.gave_up", chat=item.chat, key=item.key, state=state.value, error=error)

    def _channel(self, chat: Jid) -> Channel:
        for channel in self._channels:
            if channel.owns(chat):
                return channel
        raise DeliveryRejected(f"no channel owns {chat}", "check the jid in registered_groups.json")
