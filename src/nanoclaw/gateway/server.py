"""The listening side: one socket for each group, and who may connect to it."""

import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from nanoclaw.gateway import unix
from nanoclaw.gateway.bounds import Bounds
from nanoclaw.gateway.conversation import Conversation
from nanoclaw.gateway.decision import Refuse, Route
from nanoclaw.gateway.network import Network
from nanoclaw.gateway.pool import Pool
from nanoclaw.gateway.unix import UnixStream
from nanoclaw.model import Folder
from nanoclaw.wire import GATEWAY_SOCKET

_ACCEPT_PAUSE_SECONDS: Final = 0.5  # when the system has no file descriptor left: some will be free by then
_CLOSE_SECONDS: Final = 10.0  # far more than a cancelled conversation needs to let go

log = structlog.stdlib.get_logger()


class Gateway:
    """Listens on one unix socket for each group that is open, for as long as `run` runs."""

    def __init__(
        self, sockets: Callable[[Folder], Path], *, bounds: Bounds | None = None, network: Network | None = None
    ) -> None:
        """Nothing listens before `run`.

        Args:
            sockets: the directory of a group's socket.
            bounds: limits, if not the usual ones.
            network: the way to public hosts, if not the system's.
        """
        self._sockets = sockets
        self._bounds = bounds or Bounds()
        self._pool = Pool(network or Network(), self._bounds)
        self._doors: dict[Folder, _Door] = {}
        self._changing = anyio.Lock()
        self._tasks: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every socket and connection is closed. `open` works once this has started."""
        async with self._pool, anyio.create_task_group() as self._tasks:
            task_status.started()
            while True:
                await anyio.sleep(self._bounds.keep_seconds)
                await self._pool.prune(self._bounds.keep_seconds)

    async def open(self, folder: Folder, route: Route) -> None:
        """Let a group reach `route` from its next request on; its socket listens when this returns.

        Raises:
            SandboxError: the socket cannot be made.
        """
        assert self._tasks is not None, "the gateway is not running"
        async with self._changing:
            if door := self._doors.get(folder):
                door.route = route
                return
            path = self._sockets(folder) / GATEWAY_SOCKET
            door = _Door(folder, route, self._pool, self._bounds)
            self._tasks.start_soon(door.serve, unix.listen(path), path)
            self._doors[folder] = door

    async def close(self, folder: Folder) -> None:
        """End a group's connections and remove its socket; not open is success."""
        async with self._changing:
            if door := self._doors.pop(folder, None):
                await door.close()


class _Door:
    """One group's socket."""

    def __init__(self, folder: Folder, route: Route, pool: Pool, bounds: Bounds) -> None:
        self.route = route
        self._folder = folder
        self._pool = pool
        self._bounds = bounds
        self._connections = 0
        self._scope = anyio.CancelScope()
        self._closed = anyio.Event()

    async def serve(self, listener: socket.socket, path: Path) -> None:
        """Accept connections until closed."""
        try:
            with listener, self._scope:
                async with anyio.create_task_group() as tasks:
                    while True:
                        tasks.start_soon(self._welcome, await _next_connection(listener))
        finally:
            _remove(path)
            self._closed.set()

    async def close(self) -> None:
        """Return once everything is closed."""
        self._scope.cancel()
        with anyio.move_on_after(_CLOSE_SECONDS):
            await self._closed.wait()

    async def _welcome(self, stream: UnixStream) -> None:
        conversation = Conversation(
            stream, group=self._folder, route=lambda: self.route, pool=self._pool, bounds=self._bounds
        )
        self._connections += 1
        try:
            if self._connections > self._bounds.connections:
                await conversation.turn_away(Refuse(503, "too many connections at once; close some and try again"))
            else:
                await conversation.hold()
        except Exception as error:  # noqa: BLE001 - no agent may bring the host down by a fault of ours
            at = traceback.extract_tb(error.__traceback__)[-1]
            log.error(  # noqa: TRY400 - a traceback's texts could quote a header
                "gateway.bug",
                group=self._folder,
                error=type(error).__name__,
                at=f"{Path(at.filename).name}:{at.lineno}",
            )
        finally:
            self._connections -= 1


async def _next_connection(listener: socket.socket) -> UnixStream:
    while True:
        try:
            return await unix.accept(listener)
        except OSError as error:
            log.warning("gateway.accept", error=error.strerror)
            await anyio.sleep(_ACCEPT_PAUSE_SECONDS)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
