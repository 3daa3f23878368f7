"""What commands do: authorised by who sends them, applied once, in one transaction with the record that they were."""

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final

import anyio
import anyio.to_thread
import structlog

from nanoclaw import taskbook
from nanoclaw.channels.base import Channel
from nanoclaw.clock import Clock, iso
from nanoclaw.config import Home, Settings, machine_timezone
from nanoclaw.errors import ChannelUnavailable, MailboxError, NanoclawError
from nanoclaw.formatting import reply_text
from nanoclaw.groups import Entries, GroupRegistry, find_group, new_entry
from nanoclaw.ipc.authority import authorise
from nanoclaw.ipc.commands import (
    CancelTask,
    Command,
    GroupSettings,
    PauseTask,
    RefreshGroups,
    RegisterGroup,
    ResumeTask,
    RunTask,
    ScheduleTask,
    SendMessage,
    TaskCommand,
    UnregisterGroup,
    UpdateGroup,
    UpdateTask,
)
from nanoclaw.ipc.outgoing import copy_out
from nanoclaw.ipc.protocol import ok_answer
from nanoclaw.model import MAIN_FOLDER, Folder, Jid, OutgoingFile, RegisteredGroup, ScheduledTask
from nanoclaw.pulse import Pulses
from nanoclaw.store import mailbox_files, outbox, runs, tasks
from nanoclaw.store.database import Connection, Database
from nanoclaw.taskview import task_json

_REFRESH_SECONDS: Final = 8.0  # an agent waits ten for its answer

log = structlog.stdlib.get_logger()

Answer = dict[str, object]
Effect = Callable[[Connection], Answer]


class Verbs:
    """Applies commands, from mailboxes and, with the authority of `main`, from the owner's command line."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        database: Database,
        groups: GroupRegistry,
        channels: Sequence[Channel],
        clock: Clock,
        pulses: Pulses,
    ) -> None:
        self._home = home
        self._owners = settings.owners
        self._timezone = settings.timezone or machine_timezone()
        self._database = database
        self._groups = groups
        self._channels = channels
        self._clock = clock
        self._pulses = pulses

    async def apply(self, folder: Folder, key: str, command: Command) -> Answer:
        """Carry out what an agent asks for and answer it; the same key again gets the same answer and has no second
        effect. Where owners are named, `main` has its power only while it works for one of them.

        Raises:
            MailboxError: it is refused; says why.
        """
        group = self._group(folder)
        limited = group.is_main and self._owners
        for_owner = not limited or await self._database.read(runs.woken_by_owner, folder)
        return await self._apply(group, key, command, for_owner=for_owner)

    async def apply_for_owner(self, key: str, command: Command) -> Answer:
        """Carry out what the owner asks for at the command line or the page, with the power of `main`.

        Raises:
            MailboxError: it is refused; says why.
        """
        return await self._apply(self._group(MAIN_FOLDER), key, command, for_owner=True)

    def _group(self, folder: Folder) -> RegisteredGroup:
        group = self._groups.by_folder(folder)
        if group is None:
            raise MailboxError("this group is not registered any more")
        return group

    async def _apply(self, group: RegisteredGroup, key: str, command: Command, *, for_owner: bool) -> Answer:
        folder = group.folder
        permit = authorise(command, folder, group.jid, group.is_main, for_owner=for_owner)
        if permit.contradictions:
            log.warning("mailbox.false_claim", folder=folder, claims=permit.contradictions)
        try:
            effect = await self._effect(group, key, command, for_owner)
            now = self._clock.now()
            answer = await self._database.write(mailbox_files.apply_once, folder, key, now, effect)
        except MailboxError:
            raise
        except NanoclawError as error:
            raise MailboxError(f"{error}; {error.hint}" if error.hint else str(error)) from error
        log.info("mailbox.applied", folder=folder, verb=command.verb)
        for pulse in (self._pulses.outbox, self._pulses.tasks, self._pulses.runs):
            pulse.fire()
        return answer

    async def _effect(self, group: RegisteredGroup, key: str, command: Command, for_owner: bool) -> Effect:
        match command:
            case SendMessage():
                return partial(self._say, group, key, command, await self._copies(group, key, command))
            case ScheduleTask():
                return partial(self._schedule, group, command)
            case TaskCommand():
                return partial(self._change_task, group, command, for_owner)
            case RegisterGroup() | UpdateGroup() | UnregisterGroup() | RefreshGroups():
                answer = await self._change_groups(command)
                return lambda _: answer
            case _:
                raise MailboxError(f"{command.verb} is not understood")

    async def _copies(self, group: RegisteredGroup, key: str, command: SendMessage) -> tuple[OutgoingFile, ...]:
        """The host's own copies of the files; a message that was put into the outbox already has them."""
        if not command.files or await self._database.read(mailbox_files.answer_to, key):
            return ()
        try:
            return await anyio.to_thread.run_sync(copy_out, self._home, group.folder, key, command.files)
        except OSError as error:
            raise MailboxError(f"the files cannot be copied: {error.strerror}; try again later") from error

    def _say(
        self,
        group: RegisteredGroup,
        key: str,
        command: SendMessage,
        files: Sequence[OutgoingFile],
        db: Connection,
    ) -> Answer:
        chat = command.chat or group.jid
        if chat not in self._groups.groups:
            raise MailboxError(f"{chat} is not a registered chat; leave chatJid out to write to your own")
        text = reply_text(command.text)
        if not text and not files:
            raise MailboxError("nothing of the text is for the chat: it is all inside <internal>")
        run = runs.running(db, group.folder)
        name = f"ipc-{sha256(key.encode()).hexdigest()}"
        outbox.put(db, name, chat, "message", text, run.id if run else None, self._clock.now(), files=files)
        return ok_answer(chat=chat)

    def _schedule(self, group: RegisteredGroup, command: ScheduleTask, db: Connection) -> Answer:
        draft = taskbook.Draft(
            folder=self._target(group, command).folder,
            prompt=command.prompt,
            schedule_type=command.schedule_type,
            schedule_value=command.schedule_value,
            timezone=command.timezone or self._timezone,
            context_mode=command.context_mode,
            missed=command.missed,
        )
        return _told(taskbook.add(db, draft, self._clock.now()))

    def _target(self, group: RegisteredGroup, command: ScheduleTask) -> RegisteredGroup:
        """Whose task it is to be; from `main`, NanoClaw's files name that group in `groupFolder`."""
        claimed = command.claimed_folder if group.is_main and isinstance(command.claimed_folder, str) else None
        target = command.target or claimed
        return find_group(self._groups.groups, target) if target else group

    def _change_task(self, group: RegisteredGroup, command: TaskCommand, for_owner: bool, db: Connection) -> Answer:
        task = taskbook.find(db, command.task_id)
        authorise(command, group.folder, group.jid, group.is_main, owner=task.folder, for_owner=for_owner)
        now = self._clock.now()
        match command:
            case UpdateTask():
                changes = command.model_dump(include=set(_EDITABLE))
                return _told(taskbook.edit(db, task, changes, now))
            case PauseTask():
                return _told(taskbook.pause(db, task))
            case ResumeTask():
                return _told(taskbook.resume(db, task, now))
            case RunTask():
                taskbook.run_now(db, task, self._chat_of(task), now)
                return _told(task)
            case CancelTask():
                tasks.cancel(db, task.id, now)
                return ok_answer(taskId=task.id)
            case _:
                raise MailboxError(f"{command.verb} is not understood")

    def _chat_of(self, task: ScheduledTask) -> Jid:
        owner = self._groups.by_folder(task.folder)
        if owner is None:
            raise MailboxError(f"the group {task.folder} is not registered any more")
        return owner.jid

    async def _change_groups(self, command: RegisterGroup | UpdateGroup | UnregisterGroup | RefreshGroups) -> Answer:
        """Edit the groups' file. A file has no part in a transaction, so each change is one that may be made twice."""
        match command:
            case RegisterGroup():
                await self._groups.change(partial(_register, command, iso(self._clock.now())))
                return ok_answer(folder=command.folder, jid=command.jid)
            case UpdateGroup():
                group = find_group(self._groups.groups, command.folder)
                await self._groups.change(lambda entries: _merge(entries[group.jid], _settings(command)))
                return ok_answer(folder=group.folder, jid=group.jid)
            case UnregisterGroup():
                await self._groups.change(partial(_unregister, command.folder))
                return ok_answer(folder=command.folder)
            case RefreshGroups():
                return ok_answer(**await self._refresh())

    async def _refresh(self) -> Answer:
        """Have every platform asked for its chats; those that cannot be asked now are named."""
        away: dict[str, str] = {}
        for channel in self._channels:
            try:
                with anyio.fail_after(_REFRESH_SECONDS):
                    await channel.refresh()
            except (ChannelUnavailable, TimeoutError) as error:
                away[channel.name] = str(error) or "no answer in time"
        return {"unavailable": away} if away else {}


_EDITABLE = ("prompt", "schedule_type", "schedule_value", "timezone", "context_mode", "missed")


def _told(task: ScheduledTask) -> Answer:
    return ok_answer(taskId=task.id, **task_json(task))


def _settings(command: RegisterGroup | UpdateGroup) -> dict[str, Any]:
    """The named fields, as `registered_groups.json` spells them."""
    chosen = {"name", "trigger", *GroupSettings.model_fields} - Command.model_fields.keys()
    return command.model_dump(include=chosen, by_alias=True, exclude_none=True)


def _merge(entry: dict[str, Any], settings: dict[str, Any]) -> None:
    """Change what is named; inside `providerConfig` and `containerConfig` what is not named stays, too."""
    for key, value in settings.items():
        if isinstance(value, dict) and isinstance(entry.get(key), dict):
            _merge(entry[key], value)  # pyright: ignore[reportUnknownArgumentType]  # JSON
        else:
            entry[key] = value


def _register(command: RegisterGroup, now: str, entries: Entries) -> None:
    entry = {**new_entry(command.name, command.folder, command.trigger, now), **_settings(command)}
    known = entries.get(command.jid)
    if known is None:
        entries[command.jid] = entry
    elif {**known, "added_at": ""} != {**entry, "added_at": ""}:
        raise MailboxError(f"{command.jid} is registered already as {known['folder']}; use update_group to change it")


def _unregister(name: str, entries: Entries) -> None:
    found = next((jid for jid, entry in entries.items() if name in (jid, entry["folder"])), None)
    if found is None:
        return
    if entries[found]["folder"] == MAIN_FOLDER:
        raise MailboxError("main cannot be unregistered: it is the owner's control chat")
    del entries[found]
