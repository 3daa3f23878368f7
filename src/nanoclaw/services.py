"""What the host's loops share: built once by `host`, handed to each."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nanoclaw.channels.base import Channel
from nanoclaw.clock import Clock
from nanoclaw.config import Home, Settings
from nanoclaw.gateway import Gateway
from nanoclaw.groups import GroupRegistry
from nanoclaw.ipc.mailbox import MailboxReader
from nanoclaw.model import Jid
from nanoclaw.pulse import Pulses
from nanoclaw.sandbox.base import Sandbox
from nanoclaw.store.database import Database
from nanoclaw.verbs import Verbs


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
    mailbox: MailboxReader
    sandbox: Callable[[], Awaitable[Sandbox]]
    """The sandbox in use; raises `SandboxError` when none works."""
    pulses: Pulses
    verbs: Verbs

    def channel(self, chat: Jid) -> Channel | None:
        """The channel that owns this address."""
        return next((channel for channel in self.channels if channel.owns(chat)), None)
