"""Queues a run for every task whose moment has come. It sleeps until the next moment; it never runs anything itself.

The run is recorded in the transaction that moves the schedule, and the database refuses a second run for the same
moment: a moment has its run once, whatever crashes when.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from nanoclaw.clock import Clock
from nanoclaw.groups import GroupRegistry
from nanoclaw.model import Folder, Jid, ScheduledTask
from nanoclaw.pulse import Pulse
from nanoclaw.schedule import LATE, missed, next_due
from nanoclaw.store import tasks
from nanoclaw.store.database import Connection, Database
from nanoclaw.taskbook import schedule_of

_MOST_MISSED: Final = 10  # runs that policy `all` makes up for
_AT_ONCE: Final = 200  # tasks in one transaction, so that messages are not held up
_POLL_SECONDS: Final = 30.0  # the net below the timer: a clock that was set, a machine that slept

log = structlog.stdlib.get_logger()


def moments_to_run(task: ScheduledTask, due: datetime, now: datetime, *, busy: bool) -> Sequence[datetime]:
    """Which moments get a run. Pure.

    Args:
        task: due.
        due: its moment.
        now: not before `due`.
        busy: a run of it waits or runs still; another would only pile up.
    """
    if task.missed == "all":
        return missed(schedule_of(task), due, now, _MOST_MISSED)
    if busy or (task.missed == "skip" and now - due > LATE):
        return ()
    return (due,)


def tick(db: Connection, now: datetime, chats: Mapping[Folder, Jid]) -> int:
    """Queue what is due and move every due task on. Answers how many tasks were due.

    Args:
        db: the database, in a transaction.
        now: the present.
        chats: the registered groups; the tasks of others pass in silence.
    """
    found = tasks.due(db, now, _AT_ONCE)
    for task in found:
        assert task.next_at is not None
        chat = chats.get(task.folder)
        if chat is not None:
            moments = moments_to_run(task, task.next_at, now, busy=tasks.has_open_run(db, task.id))
            tasks.queue_runs(db, task, chat, moments, now)
        tasks.advance(db, task, next_due(schedule_of(task), task.next_at, now), now)
    return len(found)


class Scheduler:
    """The tasks' loop."""

    def __init__(
        self, database: Database, groups: GroupRegistry, clock: Clock, tasks_changed: Pulse, runs_changed: Pulse
    ) -> None:
        self._database = database
        self._groups = groups
        self._clock = clock
        self._tasks_changed = tasks_changed
        self._runs_changed = runs_changed

    async def run(self) -> None:
        """Queue runs for ever; ends by cancellation."""
        while True:
            seen = self._tasks_changed.count
            due = await self._database.read(tasks.next_due_at)
            pause = (due - self._clock.now()).total_seconds() if due else _POLL_SECONDS
            if pause > 0:
                await self._tasks_changed.after_or(seen, min(_POLL_SECONDS, pause))
                continue
            chats = {group.folder: group.jid for group in self._groups.groups.values()}
            count = await self._database.write_surely(tick, self._clock.now(), chats)
            log.debug("tasks.due", count=count)
            self._runs_changed.fire()
            self._tasks_changed.fire()
