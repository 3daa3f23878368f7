"""What the host's loops share: built once by `host`, handed to each."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from nanoclaw.channels.base import Channel
from nanoclaw.clock import Clock
from nanoclaw.config import Home, Settings
from nanoclaw.credentials import Keeper
from nanoclaw.gateway import Gateway
from nanoclaw.groups import GroupRegistry
from nanoclaw.ipc.mailbox import MailboxReader
from nanoclaw.metrics import Metrics
from nanoclaw.model import Jid, OutboxItem
from nanoclaw.network_log import NetworkLog
from nanoclaw.pulse import Pulses
from nanoclaw.sandbox.base import Sandbox
from nanoclaw.snapshots import Snapshots
from nanoclaw.store.database import Database
from nanoclaw.timeline import SendingOutcome, Timeline
from nanoclaw.traces import Traces
from nanoclaw.verbs import Verbs

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Finished collaborators; nothing here is optional and nothing has a default."""

    home: Home
    settings: Settings
    clock: Clock
    installation: str
    database: Database
    groups: GroupRegistry
    channels: Sequence[Channel]
    gateway: Gateway
    credentials: Keeper
    network_log: NetworkLog
    mailbox: MailboxReader
    sandbox: Callable[[], Awaitable[Sandbox]]
    """The sandbox in use; raises `SandboxError` when none works."""
    pulses: Pulses
    snapshots: Snapshots
    verbs: Verbs
    metrics: Metrics
    traces: Traces

    def channel(self, chat: Jid) -> Channel | None:
        """The channel that owns this address."""
        return next((channel for channel in self.channels if channel.owns(chat)), None)

    @contextmanager
    def watching(self, timeline: Timeline) -> Generator[None]:
        """Have an attempt counted and traced that lasts as long as the context."""
        with self.traces.following(timeline):
            try:
                yield
            finally:
                timeline.end()
                self.metrics.attempted(timeline)

    def delivered(self, item: OutboxItem, outcome: SendingOutcome, at: datetime) -> None:
        """Have an attempt to send a reply counted and traced."""
        self.metrics.delivered(item, outcome, at)
        self.traces.delivered(item, outcome, at)


def all_of(*told: Callable[[T], None]) -> Callable[[T], None]:
    """One function that calls all of them, in order."""

    def tell(what: T) -> None:
        for each in told:
            each(what)

    return tell
