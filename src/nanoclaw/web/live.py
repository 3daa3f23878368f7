"""Tells a browser what has changed: server-sent events with the names of topics, and nothing else."""

from collections.abc import AsyncGenerator, Mapping
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from nanoclaw.pulse import Pulse

_HEARTBEAT_SECONDS: Final = 20.0  # a comment, so that a browser that is gone is noticed
_TOGETHER_SECONDS: Final = 0.1  # what changes within this time is told once


class Live:
    """Every topic with the pulses that fire when it changes."""

    def __init__(self, topics: Mapping[str, tuple[Pulse, ...]]) -> None:
        self._topics = topics

    async def events(self, _request: Request) -> Response:
        """The stream, for as long as the browser listens."""
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    def _counts(self) -> dict[str, int]:
        return {topic: sum(pulse.count for pulse in pulses) for topic, pulses in self._topics.items()}

    async def _stream(self) -> AsyncGenerator[str]:
        seen = self._counts()
        yield "retry: 2000\n\n"
        while True:
            with anyio.move_on_after(_HEARTBEAT_SECONDS):
                await self._any_after(seen)
                await anyio.sleep(_TOGETHER_SECONDS)
            now = self._counts()
            changed = [topic for topic in now if now[topic] != seen[topic]]
            seen = now
            yield f"data: {' '.join(changed)}\n\n" if changed else ": still here\n\n"

    async def _any_after(self, seen: Mapping[str, int]) -> None:
        if self._counts() != seen:
            return
        pulses = {pulse for pulses in self._topics.values() for pulse in pulses}
        async with anyio.create_task_group() as waiting:

            async def first(pulse: Pulse) -> None:
                await pulse.after(pulse.count)
                waiting.cancel_scope.cancel()

            for pulse in pulses:
                waiting.start_soon(first, pulse)
