"""Keeps what agents may look at fresh: `current_tasks.json` in every mailbox, `available_groups.json` in main's.

The mailbox's own directory is the host's; sandboxes see it read-only.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import structlog

from nanoclaw.atomic import replace_file
from nanoclaw.clock import iso
from nanoclaw.config import Home
from nanoclaw.groups import GroupRegistry
from nanoclaw.model import RegisteredGroup, ScheduledTask
from nanoclaw.pulse import Pulse, Pulses
from nanoclaw.store import messages, tasks
from nanoclaw.store.database import Database
from nanoclaw.taskview import task_json

TASKS_FILE: Final = "current_tasks.json"
GROUPS_FILE: Final = "available_groups.json"

log = structlog.stdlib.get_logger()


class Snapshots:
    """Writes the files; one whose content is as it was is left alone."""

    def __init__(self, home: Home, database: Database, groups: GroupRegistry, pulses: Pulses) -> None:
        self._home = home
        self._database = database
        self._groups = groups
        self._changes = (pulses.tasks, pulses.chats, groups.changed)
        self._written: dict[Path, object] = {}
        self._one_at_a_time = anyio.Lock()  # what was read first must not be written last
        self._as_of: list[int] | None = None

    async def run(self) -> None:
        """Write whenever tasks, chats or groups change; ends by cancellation."""
        while True:
            seen = self._counts()
            await self.write()
            async with anyio.create_task_group() as waiting:
                for pulse, count in zip(self._changes, seen, strict=True):
                    waiting.start_soon(self._first, pulse, count, waiting.cancel_scope)

    def _counts(self) -> list[int]:
        return [pulse.count for pulse in self._changes]

    @staticmethod
    async def _first(pulse: Pulse, count: int, others: anyio.CancelScope) -> None:
        await pulse.after(count)
        others.cancel()

    async def write(self) -> None:
        """Bring the files of all groups whose mailbox is there up to date."""
        async with self._one_at_a_time:
            as_of = self._counts()
            self._forget_others()
            every = await self._database.read(tasks.existing)
            for group in self._groups.groups.values():
                own = every if group.is_main else [task for task in every if task.folder == group.folder]
                await self._write_for(group, own)
            self._as_of = as_of

    async def refresh(self, group: RegisteredGroup) -> None:
        """Bring one group's files up to date, before its agent looks at them."""
        if self._as_of == self._counts() and self._home.mailboxes / group.folder / TASKS_FILE in self._written:
            return
        async with self._one_at_a_time:
            own = await self._database.read(tasks.existing, None if group.is_main else group.folder)
            await self._write_for(group, own)

    async def _write_for(self, group: RegisteredGroup, own: Sequence[ScheduledTask]) -> None:
        mailbox = self._home.mailboxes / group.folder
        await self._replace(mailbox / TASKS_FILE, [task_json(task) for task in own])
        if group.is_main:
            await self._replace(mailbox / GROUPS_FILE, await self._available())

    def _forget_others(self) -> None:
        """What was written for groups that are no more."""
        folders = {group.folder for group in self._groups.groups.values()}
        self._written = {path: text for path, text in self._written.items() if path.parent.name in folders}

    async def _available(self) -> dict[str, Any]:
        known = await self._database.read(messages.known_chats)
        groups = [
            {
                "jid": chat.jid,
                "name": chat.name,
                "channel": chat.channel,
                "lastActivity": iso(chat.last_at),
                "isRegistered": chat.jid in self._groups.groups,
            }
            for chat in known
        ]
        return {"groups": groups}

    async def _replace(self, path: Path, content: object) -> None:
        if self._written.get(path) == content or not path.parent.is_dir():
            return
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        try:
            await anyio.to_thread.run_sync(replace_file, path, text, 0o644)
        except OSError as error:
            log.warning("snapshot.not_written", path=str(path), error=str(error))
            return
        self._written[path] = content
