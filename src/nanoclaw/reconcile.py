"""At start: what the database believes against what is there."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from nanoclaw.channels.base import Channel
from nanoclaw.clock import Clock
from nanoclaw.errors import SandboxError
from nanoclaw.model import OutboxItem, OutboxState
from nanoclaw.sandbox.base import Sandbox
from nanoclaw.store import outbox, runs
from nanoclaw.store.database import Database

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
    for run_id in await database.write(runs.recover, clock.now()):
        log.warning("run.interrupted", run=run_id)


async def reconcile_outbox(database: Database, channels: Sequence[Channel], clock: Clock) -> None:
    """Settle what an earlier host was sending when it went away: nobody knows whether it arrived."""
    for item in await database.read(outbox.interrupted):
        await _settle(database, item, channels, clock)


async def _settle(database: Database, item: OutboxItem, channels: Sequence[Channel], clock: Clock) -> None:
    if any(channel.repeatable for channel in channels if channel.owns(item.chat)):
        await database.write(outbox.retry, item, "the host went away while sending", clock.now())
    else:
        await database.write(outbox.give_up, item, OutboxState.UNKNOWN, "the host went away while sending")
