"""How one part of the host tells others that something changed, without a poll and without a lost wake-up."""

from dataclasses import dataclass, field

import anyio


class Pulse:
    """A counter that can be waited on.

    Take `count`, look at the world, then wait with `after(count)`: what happened in between is not missed. It carries
    no data: the truth is in the database.
    """

    def __init__(self) -> None:
        self.count = 0
        self._event = anyio.Event()

    def fire(self) -> None:
        """Wake everybody who waits."""
        self.count += 1
        self._event.set()
        self._event = anyio.Event()

    async def after(self, count: int) -> None:
        """Return once there was a pulse later than `count`."""
        while self.count == count:
            await self._event.wait()

    async def after_or(self, count: int, seconds: float) -> None:
        """Like `after`, but for at most so many seconds."""
        with anyio.move_on_after(max(0.0, seconds)):
            await self.after(count)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulses:
    """What the host's parts tell each other."""

    runs: Pulse = field(default_factory=Pulse)
    """A run was queued, put back or ended."""
    activity: Pulse = field(default_factory=Pulse)
    """A run has done something that its log tells."""
    outbox: Pulse = field(default_factory=Pulse)
    """A reply was put into the outbox, or settled."""
    tasks: Pulse = field(default_factory=Pulse)
    """A task was made, changed or moved on."""
    stops: Pulse = field(default_factory=Pulse)
    """Somebody told a group's agent to stop."""
    chats: Pulse = field(default_factory=Pulse)
    """A platform told what a chat is called and who is in it."""
