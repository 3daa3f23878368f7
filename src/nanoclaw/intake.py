"""Takes messages in: stored, and the run that answers them queued, in one transaction."""

from datetime import datetime

import structlog

from nanoclaw import routing
from nanoclaw.clock import Clock
from nanoclaw.groups import GroupRegistry
from nanoclaw.model import InboundMessage, RegisteredGroup, Seq
from nanoclaw.pulse import Pulse
from nanoclaw.store import messages, runs
from nanoclaw.store.database import Connection, Database

log = structlog.stdlib.get_logger()


def take_in(db: Connection, message: InboundMessage, group: RegisteredGroup | None, now: datetime) -> Seq | None:
    """Store a message of a registered group and queue a run if it wakes the agent; of other chats keep name and time.

    Answers its seq, or None for a chat that is not registered. A second delivery changes nothing.
    """
    messages.note_chat(db, message)
    if group is None:
        return None
    seq, new = messages.insert(db, message, now)
    if new and routing.wakes(group, message.text):
        runs.queue(db, group.folder, group.jid, now)
    return seq


class Intake:
    """Where every channel's messages enter."""

    def __init__(self, database: Database, groups: GroupRegistry, clock: Clock, runs_changed: Pulse) -> None:
        self._database = database
        self._groups = groups
        self._clock = clock
        self._runs_changed = runs_changed

    async def receive(self, message: InboundMessage) -> None:
        """Return once the message is on the disk; only then may the platform be told that it was received."""
        group = self._groups.groups.get(message.chat)
        seq = await self._database.write(take_in, message, group, self._clock.now())
        log.debug("message.stored", chat=message.chat, seq=seq)
        if seq is not None:
            self._runs_changed.fire()
