"""`/healthz`: whether this host can do its work, for whoever watches over it. Open to all; tells nothing else."""

from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from nanoclaw.errors import StoreError
from nanoclaw.services import Services
from nanoclaw.store import health

_HOLDS_SECONDS: Final = 2.0  # an answer is good for so long: everybody on this machine may ask, as often as they like
_WRITE_SECONDS: Final = 5.0  # a database that takes longer is of no use to anybody who waits for an answer


class Health:
    """Answers from the last attempt to write to the database, which is made anew when it is too old."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = anyio.Lock()
        self._tried_at = float("-inf")
        self._well = False

    async def answer(self, _request: Request) -> Response:
        """200 `ok`, or 503 `not well`."""
        async with self._lock:
            if anyio.current_time() - self._tried_at > _HOLDS_SECONDS:
                self._well = await self._can_write()
                self._tried_at = anyio.current_time()
        return PlainTextResponse("ok\n") if self._well else PlainTextResponse("not well\n", status_code=503)

    async def _can_write(self) -> bool:
        try:
            with anyio.fail_after(_WRITE_SECONDS):
                await self._services.database.write(health.note, self._services.clock.now())
        except (StoreError, TimeoutError):
            return False
        return True
