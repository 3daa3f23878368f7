"""What a chat sees of a run that goes on: typing, a reaction on the message that asked, a word when it takes long."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import anyio
import structlog

from nanoclaw.channels.base import Channel, MessageRef
from nanoclaw.events import Activity, Event
from nanoclaw.formatting import shorten
from nanoclaw.model import Run, RunState
from nanoclaw.services import Services
from nanoclaw.store import outbox, runs, wakers
from nanoclaw.store.database import Connection

_SHOWN: Final = 160
_LAST_WORD_SECONDS: Final = 5.0  # for the end of typing and the last reaction; a channel that is away drops them
_SEEN, _DONE, _FAILED = "\N{EYES}", "\N{WHITE HEAVY CHECK MARK}", "\N{CROSS MARK}"

log = structlog.stdlib.get_logger()


class Vigil:
    """Watches over one attempt. `take` hears what the agent does."""

    def __init__(self, services: Services, run: Run, channel: Channel) -> None:
        self._services = services
        self._run = run
        self._channel = channel
        self._doing = ""
        self._told = 0

    def take(self, event: Event) -> None:
        """The agent did something."""
        if isinstance(event, Activity):
            self._doing = shorten(event.text, _SHOWN)

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Show that the agent is at work, for as long as the context lasts; nothing here delays it."""
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._harmlessly, self._show, name=f"vigil {self._run.id}")
            try:
                yield
            finally:
                beside.cancel_scope.cancel()
                with anyio.move_on_after(_LAST_WORD_SECONDS, shield=True):
                    await self._harmlessly(self._end)

    async def _harmlessly(self, show: Callable[[], Awaitable[None]]) -> None:
        try:
            await show()
        except Exception:  # the boundary: what is shown of a run costs no run
            log.exception("vigil.bug", run=self._run.id)

    async def _show(self) -> None:
        await self._channel.set_typing(self._run.chat, True)
        if asked := await self._asked():
            await self._channel.react(self._run.chat, asked, _SEEN)
        pause = self._services.settings.runs.sign_of_life_seconds
        while pause:
            await anyio.sleep(pause)
            await self._say_so()
            pause *= 2

    async def _say_so(self) -> None:
        self._told += 1
        started = self._run.started_at or self._run.created_at
        so_far = timedelta(seconds=round((self._services.clock.now() - started).total_seconds()))
        text = f"Still at it, for {so_far} now" + (f": {self._doing}" if self._doing else ".")
        await self._services.database.write(self._put, text)
        self._services.pulses.outbox.fire()

    def _put(self, db: Connection, text: str) -> None:
        run = runs.get(db, self._run.id)
        if run is not None and run.state is RunState.RUNNING and run.attempt == self._run.attempt:
            key = f"run-{run.id}-alive-{run.attempt}-{self._told}"
            outbox.put(db, key, run.chat, "notice", text, run.id, self._services.clock.now())

    async def _end(self) -> None:
        await self._channel.set_typing(self._run.chat, False)
        run = await self._services.database.read(runs.get, self._run.id)
        ended = {RunState.DONE: _DONE, RunState.FAILED: _FAILED}.get(run.state) if run else None
        if ended and (asked := await self._asked()):
            await self._channel.react(self._run.chat, asked, ended)

    async def _asked(self) -> MessageRef | None:
        """The message that a reaction goes to, where reactions are wanted."""
        if not self._services.settings.runs.reactions or self._run.task_id is not None:
            return None
        return await self._services.database.read(_last_waker, self._run)


def _last_waker(db: Connection, run: Run) -> MessageRef | None:
    message = wakers.last(db, run)
    return MessageRef(sender=message.sender, ext_id=message.ext_id, text=message.text) if message else None
