"""What the owner does to a group's runs from outside of its chat: the page and the command line do the same."""

from nanoclaw.errors import NotFoundError, UsageError
from nanoclaw.model import RegisteredGroup, RunId
from nanoclaw.services import Services
from nanoclaw.store import endings, runs, waiting
from nanoclaw.store.database import Connection


async def try_again(services: Services, group: RegisteredGroup) -> None:
    """Let the group's agent answer what is still unanswered, now.

    Raises:
        UsageError: everything is answered.
    """
    if not await services.database.write(_queued, group, services):
        raise UsageError(f"nothing in {group.folder} is unanswered")
    services.pulses.runs.fire()


def _queued(db: Connection, group: RegisteredGroup, services: Services) -> bool:
    if not waiting.is_unanswered(db, group.folder, group.jid):
        return False
    runs.queue_at_once(db, group.folder, group.jid, services.clock.now())
    return True


async def stop(services: Services, group: RegisteredGroup, *, queue_too: bool) -> tuple[bool, int]:
    """End what goes on in the group. Answers whether anything did, and how many waiting runs were forgotten."""
    now = services.clock.now()
    ended, forgotten = await services.database.write(endings.stop, group.folder, group.jid, now, queue_too=queue_too)
    _wake(services)
    return ended is not None, forgotten


async def stop_run(services: Services, run_id: RunId) -> None:
    """End this run and no other: who asks may know less than is true by now.

    Raises:
        UsageError, NotFoundError: it does not go on; there is none.
    """
    if not await services.database.write(_stopped, run_id, services):
        raise UsageError(f"run {run_id} does not go on any more", "see `nanoclaw runs list`")
    _wake(services)


def _stopped(db: Connection, run_id: RunId, services: Services) -> bool:
    run = runs.get(db, run_id)
    if run is None:
        raise NotFoundError(f"there is no run {run_id}", "see `nanoclaw runs list`")
    going = runs.running(db, run.folder)
    if going is None or going.id != run_id:
        return False
    endings.stop(db, going.folder, going.chat, services.clock.now(), queue_too=False)
    return True


def _wake(services: Services) -> None:
    for pulse in (services.pulses.stops, services.pulses.runs):
        pulse.fire()
