"""Forgets what is old: rows, files that people sent, the host's copies of files that agents sent."""

from typing import Final

import anyio
import anyio.to_thread

from nanoclaw import media
from nanoclaw.ipc import outgoing
from nanoclaw.services import Services
from nanoclaw.store import history, network, outbox

_HOUSEKEEPING_SECONDS: Final = 86_400.0


async def keep_house(services: Services) -> None:
    """Once now and once a day; not before every mailbox was read, as that may hold what was applied already."""
    while True:
        await services.database.write_surely(history.prune, services.clock.now())
        await services.database.write_surely(network.prune, services.clock.now())
        await _prune_files(services)
        await anyio.sleep(_HOUSEKEEPING_SECONDS)


async def _prune_files(services: Services) -> None:
    now = services.clock.now()
    await anyio.to_thread.run_sync(media.prune, services.home.data / "media", now)
    on_their_way = await services.database.read(outbox.files_on_their_way)
    await anyio.to_thread.run_sync(outgoing.prune, services.home, on_their_way, now)
