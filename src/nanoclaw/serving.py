"""Serving an ASGI application on a socket, as a part of the host: no signal handlers, no ticks, an end in time."""

import socket
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.applications import Starlette


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, as the host has its own, and without its ten ticks a second, which only
    refresh the date header that nobody here reads."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stop = anyio.Event()

    def stop(self) -> None:
        """Take no more requests and end."""
        self.should_exit = True
        self._stop.set()

    async def main_loop(self) -> None:
        await self._stop.wait()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve_on(application: Starlette, listener: socket.socket, *, task_status: TaskStatus[None]) -> None:
    """Answer on a listening socket until cancelled; it is closed then."""
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    try:
        async with anyio.create_task_group() as serving:
            serving.start_soon(_serve, server, listener)
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                server.stop()
    finally:
        listener.close()


async def _serve(server: _Server, listener: socket.socket) -> None:
    with anyio.CancelScope(shield=True):  # it ends by should_exit, within timeout_graceful_shutdown
        await server.serve(sockets=[listener])
