"""How each channel's connection has stood since the host started, for people who ask when it was away."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import anyio

from nanoclaw.channels.base import Channel
from nanoclaw.clock import Clock

KEPT: Final = 100
"""Changes of one channel that are remembered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How it stood from that moment on."""

    at: datetime
    state: str
    connected: bool
    problem: str


class Connections:
    """Remembers, in memory, the last changes of every channel."""

    def __init__(self, channels: Sequence[Channel], clock: Clock) -> None:
        """Nothing is remembered before `run`."""
        self._channels = channels
        self._clock = clock
        self._kept: dict[str, deque[Standing]] = {channel.name: deque(maxlen=KEPT) for channel in channels}

    def of(self, name: str) -> list[Standing]:
        """What is remembered of a channel, the newest first."""
        return list(reversed(self._kept.get(name, ())))

    async def run(self) -> None:
        """Watch every channel; ends by cancellation."""
        async with anyio.create_task_group() as group:
            for channel in self._channels:
                group.start_soon(self._watch, channel, name=f"history of {channel.name}")

    async def _watch(self, channel: Channel) -> None:
        while True:
            seen = channel.changed.count
            self._note(channel)
            await channel.changed.after(seen)

    def _note(self, channel: Channel) -> None:
        state = channel.state()
        kept = self._kept[channel.name]
        if not kept or (kept[-1].state, kept[-1].problem) != (state.state, state.problem):
            kept.append(
                Standing(at=self._clock.now(), state=state.state, connected=state.connected, problem=state.problem)
            )
