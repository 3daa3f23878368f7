"""Claims due runs and lets each be executed: one at a time for a group, so many at once in all."""

from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup

from nanoclaw.execution import Executor
from nanoclaw.model import Folder, Run
from nanoclaw.services import Services
from nanoclaw.store import endings, runs

_POLL_SECONDS: Final = 30.0  # the net below the pulse

log = structlog.stdlib.get_logger()


class Dispatch:
    """The runs' loop. A group is free again when its sandbox is gone, which is a little later than its run's end."""

    def __init__(self, services: Services, executor: Executor) -> None:
        self._services = services
        self._executor = executor
        self._busy: set[Folder] = set()
        self._stoppable: dict[Run, anyio.CancelScope] = {}
        self._draining = False

    async def run(self) -> None:
        """Claim and execute for ever; ends by cancellation, which puts running runs back."""
        async with anyio.create_task_group() as executions:
            executions.start_soon(self._heed_stops, name="stops")
            while True:
                seen = self._services.pulses.runs.count
                if not self._draining:
                    await self._claim(executions)
                await self._services.pulses.runs.after_or(seen, await self._pause())

    async def drain(self) -> None:
        """Claim nothing more, and return once what runs has ended by itself."""
        self._draining = True
        while self._busy:
            seen = self._services.pulses.runs.count
            if self._busy:
                await self._services.pulses.runs.after(seen)

    async def _claim(self, executions: TaskGroup) -> None:
        places = self._services.settings.runs.max_concurrent - len(self._busy)
        if places <= 0:
            return
        now, stops = self._services.clock.now(), self._services.pulses.stops.count
        for run in await self._services.database.write_surely(runs.claim, now, places, frozenset(self._busy)):
            self._busy.add(run.folder)
            executions.start_soon(self._execute, run, stops, name=f"run {run.id} of {run.folder}")

    async def _execute(self, run: Run, stops: int) -> None:
        """`stops`: how often somebody had said stop before it was claimed."""
        try:
            with anyio.CancelScope() as scope:
                self._stoppable[run] = scope
                if self._services.pulses.stops.count != stops:
                    self._services.pulses.stops.fire()  # it may be this one that was stopped
                await self._executor.execute(run)
        finally:
            self._stoppable.pop(run, None)
            self._busy.discard(run.folder)
            self._services.pulses.runs.fire()

    async def _heed_stops(self) -> None:
        """End the sandbox of every run that somebody has stopped; the database knows which."""
        while True:
            seen = self._services.pulses.stops.count
            for run, scope in list(self._stoppable.items()):
                if await self._services.database.read(endings.was_stopped, run):
                    scope.cancel()
            await self._services.pulses.stops.after(seen)

    async def _pause(self) -> float:
        if self._draining or len(self._busy) >= self._services.settings.runs.max_concurrent:
            return _POLL_SECONDS
        due = await self._services.database.read(runs.next_due, frozenset(self._busy))
        if due is None:
            return _POLL_SECONDS
        return min(_POLL_SECONDS, (due - self._services.clock.now()).total_seconds())
