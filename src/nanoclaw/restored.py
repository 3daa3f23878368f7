"""A home that was restored does not do again what may have been done since its backup was made."""

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from zoneinfo import ZoneInfo

from nanoclaw.clock import iso
from nanoclaw.config import Home, load_settings, machine_timezone
from nanoclaw.errors import ConfigError
from nanoclaw.formatting import shorten, spoken_time
from nanoclaw.groups import load_groups
from nanoclaw.model import MAIN_FOLDER, Jid, ScheduledTask
from nanoclaw.schedule import next_due
from nanoclaw.store import outbox, restored, tasks
from nanoclaw.store.database import Connection, connect, transaction
from nanoclaw.taskbook import schedule_of

_Passed = tuple[ScheduledTask, datetime]
"""A task, and when it was due."""
_SHOWN = 80  # characters of a task's instruction
_MOST_TASKS = 1_000_000


def settle(home: Home, made: datetime, now: datetime) -> str:
    """Settle, in a home that no host has used yet, what was under way when its backup was made. Answers the sentence
    that `main` is told.

    Raises:
        StoreError: its database cannot be opened.
    """
    zone, main = _surroundings(home)
    why = f"it was under way when the backup of {spoken_time(made, zone)} was made"
    with closing(connect(home.database, now)) as db, transaction(db):
        replies = restored.doubt_replies(db, why, now)
        runs = restored.end_runs(db, why, now)
        sentence = told(made, zone, replies, runs, _move_on(db, now))
        if main is not None:
            outbox.put(db, f"restored-{iso(now)}", main, "notice", sentence, None, now)
    return sentence


def _surroundings(home: Home) -> tuple[ZoneInfo, Jid | None]:
    """The owner's zone and chat, as far as broken files say: what they break is told when the host starts."""
    zone = ZoneInfo(machine_timezone())
    try:
        zone = ZoneInfo(load_settings(home).timezone or machine_timezone())
        groups = load_groups(home.registered_groups).values()
    except ConfigError:
        return zone, None
    return zone, next((group.jid for group in groups if group.folder == MAIN_FOLDER), None)


def told(
    made: datetime, zone: ZoneInfo, replies: int, runs: int, passed: Sequence[tuple[ScheduledTask, datetime]]
) -> str:
    """What the owner is told. Pure."""
    lines = [
        f"I was restored from a backup of {spoken_time(made, zone)}. What happened after that I do not know, so I do"
        " not do again what may have been done."
    ]
    if replies:
        lines.append(f"Replies that were on their way, and are not sent again: {replies}.")
    if runs:
        lines.append(f"Runs that were waiting or going on, and do not begin again: {runs}. `/retry` in the chat does.")
    for task, due in passed:
        lines.append(f"Was due {spoken_time(due, ZoneInfo(task.timezone))}: {shorten(task.prompt, _SHOWN)}")
    return "\n".join(lines)


def _move_on(db: Connection, now: datetime) -> list[_Passed]:
    """Move the tasks that were due since to their next time, without a run."""
    passed = [(task, task.next_at) for task in tasks.due(db, now, _MOST_TASKS) if task.next_at]
    for task, due in passed:
        tasks.advance(db, task, next_due(schedule_of(task), due, now), now)
    return passed
