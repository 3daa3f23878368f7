"""What takes minutes and is watched on the page: a sign-in, a link to WhatsApp. Each in a task of the host's."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
import structlog

from nanoclaw.errors import NanoclawError, UsageError
from nanoclaw.pulse import Pulse

E = TypeVar("E")

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedBadly:
    """It could not be done."""

    reason: str
    hint: str


class Errand(Generic[E]):
    """One kind of errand, of which there is one at a time; `changed` fires at everything that it says.

    Whoever makes its events bounds their time: each kind has an end of its own.
    """

    def __init__(self) -> None:
        """Nothing happens before `run`."""
        self.changed = Pulse()
        self.about = ""
        """For whom; stays when it is over."""
        self.under_way = False
        self.events: list[E | EndedBadly] = []
        """All that the last one has said so far."""
        self._make: Callable[[], AsyncGenerator[E]] | None = None
        self._scope = anyio.CancelScope()

    def start(self, about: str, make: Callable[[], AsyncGenerator[E]]) -> None:
        """Begin one.

        Raises:
            UsageError: another is under way.
        """
        if self.under_way:
            raise UsageError("this is under way already", "finish or stop it first")
        self.about, self.events, self._make = about, [], make
        self._scope = anyio.CancelScope()
        self.under_way = True
        self.changed.fire()

    def stop(self) -> None:
        """Break off the one that is under way; what it said is forgotten."""
        if self.under_way:
            self.events = []
            self._scope.cancel()

    async def run(self) -> None:
        """Carry out what is started, one after the other; ends by cancellation."""
        while True:
            seen = self.changed.count
            if self._make is None:
                await self.changed.after(seen)
                continue
            with self._scope:
                if not self._scope.cancel_called:
                    await self._carry_out(self._make)
            self._make, self.under_way = None, False
            self.changed.fire()

    async def _carry_out(self, make: Callable[[], AsyncGenerator[E]]) -> None:
        try:
            async with aclosing(make()) as events:
                async for event in events:
                    self._say(event)
        except NanoclawError as error:
            self._say(EndedBadly(reason=str(error), hint=error.hint))
        except Exception:  # the boundary: a fault of ours costs this errand, not the host
            log.exception("page.errand.bug")
            self._say(EndedBadly(reason="internal error", hint="the host's log says more"))

    def _say(self, event: E | EndedBadly) -> None:
        self.events.append(event)
        self.changed.fire()
