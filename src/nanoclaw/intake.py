"""Takes in what channels hand over: stored, and the run that answers it queued, in one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import anyio.to_thread
import structlog

from nanoclaw import media, routing
from nanoclaw.clock import Clock
from nanoclaw.config import Home, Settings
from nanoclaw.groups import GroupRegistry
from nanoclaw.model import (
    Inbound,
    InboundChat,
    InboundDeletion,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    InboundReceipt,
    MediaFile,
    RegisteredGroup,
    Standing,
)
from nanoclaw.pulse import Pulses
from nanoclaw.store import changes, messages, outbox, runs
from nanoclaw.store.database import Connection, Database

_LONGEST_EMOJI: Final = 16  # code points: families and flags; whatever is longer is no emoji

log = structlog.stdlib.get_logger()

AnswerCommand = Callable[[InboundMessage, RegisteredGroup, Standing], Awaitable[bool]]
"""Stores and answers a message that is a command for the host itself; False: it is none."""


def take_in(
    db: Connection,
    message: InboundMessage,
    group: RegisteredGroup | None,
    now: datetime,
    owners: Sequence[str] = (),
    files: Sequence[MediaFile] = (),
) -> messages.Stored | None:
    """Store a message of a registered group and queue a run if it wakes the agent; of other chats keep name and time.

    Answers what became of it, or None for a chat that is not registered. A second delivery changes nothing.
    """
    messages.note_chat(db, message.chat, message.channel, message.chat_name, message.sent_at)
    if group is None:
        return None
    standing = routing.standing(group, message.sender, owners, from_owner=message.from_owner)
    wakes = routing.wakes(group, message, standing)
    stored = messages.insert(db, message, now, standing, files, wakes=wakes)
    if stored.new and wakes and not stored.withdrawn:
        runs.queue(db, group.folder, group.jid, now)
    return stored


class Intake:
    """Where everything that channels hand over enters."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        database: Database,
        groups: GroupRegistry,
        clock: Clock,
        pulses: Pulses,
        answer_command: AnswerCommand,
    ) -> None:
        self._home = home
        self._owners = settings.owners
        self._database = database
        self._groups = groups
        self._clock = clock
        self._pulses = pulses
        self._answer_command = answer_command

    async def receive(self, inbound: Inbound) -> None:
        """Return once it is on the disk; only then may the platform be told that it was received.

        Raises:
            StoreError: it could not be stored; it must come again.
        """
        group = self._groups.groups.get(inbound.chat)
        match inbound:
            case InboundMessage():
                await self._message(inbound, group)
            case InboundChat():
                await self._database.write(messages.describe_chat, inbound, self._clock.now())
                self._pulses.chats.fire()
            case _ if group is None:
                return
            case InboundEdit():
                await self._database.write(changes.edit, group, inbound)
            case InboundDeletion():
                withdrawn = await self._database.write(changes.delete, group, inbound)
                await self._forget(group, withdrawn)
            case InboundReaction():
                await self._reaction(inbound, group)
            case InboundReceipt():
                if await self._database.write(outbox.note_receipt, inbound):
                    log.info("delivery.settled", chat=inbound.chat, key=inbound.key)
                    self._pulses.outbox.fire()

    async def _message(self, message: InboundMessage, group: RegisteredGroup | None) -> None:
        if group and await self._is_command(message, group):
            return
        files: tuple[MediaFile, ...] = ()
        if group and message.attachments:
            files = await anyio.to_thread.run_sync(media.keep, self._home.media(group.folder), message)
        now = self._clock.now()
        stored = await self._database.write(take_in, message, group, now, self._owners, files)
        if group is None or stored is None:
            return
        log.debug("message.stored", chat=message.chat, seq=stored.seq)
        if stored.withdrawn:
            await self._forget(group, [file.file for file in files if file.file])
        self._pulses.runs.fire()

    async def _is_command(self, message: InboundMessage, group: RegisteredGroup) -> bool:
        """Whether the host itself has answered it."""
        standing = routing.standing(group, message.sender, self._owners, from_owner=message.from_owner)
        return await self._answer_command(message, group, standing)

    async def _reaction(self, reaction: InboundReaction, group: RegisteredGroup) -> None:
        if len(reaction.emoji) > _LONGEST_EMOJI:
            return
        standing = routing.standing(group, reaction.sender, self._owners)
        await self._database.write(changes.react, reaction, standing)

    async def _forget(self, group: RegisteredGroup, names: Sequence[str]) -> None:
        if names:
            await anyio.to_thread.run_sync(media.remove, self._home.media(group.folder), names)
