"""At start: what the database believes against what is there."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import structlog

from nanoclaw.channels.base import Channel
from nanoclaw.clock import Clock
from nanoclaw.errors import SandboxError
from nanoclaw.model import OutboxItem
from nanoclaw.sandbox.base import Sandbox
from nanoclaw.store import endings, outbox
from nanoclaw.store.database import Connection, Database

_WENT_AWAY: Final = "the host went away while sending"

log = structlog.stdlib.get_logger()


async def remove_orphans(sandbox: Callable[[], Awaitable[Sandbox]], installation: str) -> None:
    """Remove the sandboxes that an earlier host of this installation left."""
    try:
        for name in await (await sandbox()).sweep(installation):
            log.warning("sandbox.orphan_removed", name=name)
    except SandboxError as error:
        log.error("sandbox.unusable", problem=str(error), hint=error.hint)  # noqa: TRY400


async def recover_runs(database: Database, clock: Clock) -> None:
    """Let the runs of an earlier host go on, once their sandboxes are gone and their mailboxes are read."""
    for run_id in await database.write(endings.recover, clock.now()):
        log.warning("run.interrupted", run=run_id)


async def reconcile_outbox(database: Database, channels: Sequence[Channel], clock: Clock) -> None:
    """Settle what an earlier host was sending when it went away, and let the rest of it go on.

    Nobody knows whether the part that was on its way arrived: it goes again only where that shows nothing twice.
    """
    for item in await database.read(outbox.interrupted):
        await database.write(_settle, item, channels, clock.now())


def _settle(db: Connection, item: OutboxItem, channels: Sequence[Channel], now: datetime) -> None:
    channel = next((channel for channel in channels if channel.owns(item.chat)), None)
    if channel is not None and not channel.repeatable:
        number = outbox.parts_gone(db, item) + 1
        outbox.part_unknown(db, item, number, _WENT_AWAY, now, last=False)
    outbox.retry(db, item, _WENT_AWAY, now)
