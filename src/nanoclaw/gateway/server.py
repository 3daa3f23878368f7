"""The listening side: one socket for each group, and who may connect to it."""

import socket
import traceback
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio.abc import ByteStream, TaskGroup, TaskStatus

from nanoclaw.carriage import Pipe
from nanoclaw.clock import Clock, SystemClock
from nanoclaw.config import NetworkSettings
from nanoclaw.errors import WireError
from nanoclaw.gateway import unix
from nanoclaw.gateway.account import Account, Allowance, Note, Quota
from nanoclaw.gateway.bounds import Bounds
from nanoclaw.gateway.carried import carry
from nanoclaw.gateway.conversation import Conversation
from nanoclaw.gateway.decision import Refuse, Route
from nanoclaw.gateway.network import Network
from nanoclaw.gateway.policy import Policy, nothing
from nanoclaw.gateway.pool import Pool
from nanoclaw.gateway.unix import UnixStream
from nanoclaw.model import Folder, NetworkCounts, NetworkDecision
from nanoclaw.wire import GATEWAY_SOCKET

_ACCEPT_PAUSE_SECONDS: Final = 0.5  # when the system has no file descriptor left: some will be free by then
_CLOSE_SECONDS: Final = 10.0  # far more than a cancelled conversation needs to let go

log = structlog.stdlib.get_logger()


class Gateway:
    """Listens on one unix socket for each group that is open, for as long as `run` runs."""

    def __init__(
        self,
        sockets: Callable[[Folder], Path],
        *,
        clock: Clock | None = None,
        quota: Quota | None = None,
        note: Note | None = None,
        bounds: Bounds | None = None,
        network: Network | None = None,
    ) -> None:
        """Nothing listens before `run`.

        Args:
            sockets: the directory of a group's socket.
            clock: for what is noted, and for the days that are counted; if not the machine's.
            quota: what each group may do, if not the usual.
            note: told of every decision; must not block.
            bounds: limits, if not the usual ones.
            network: the way to hosts, if not the system's.
        """
        self._sockets = sockets
        self._clock = clock or SystemClock()
        self._quota = quota or Quota.of(NetworkSettings())
        self._note = note or _nobody
        self._bounds = bounds or Bounds()
        self._pool = Pool(network or Network(), self._bounds)
        self._accounts: dict[Folder, Account] = {}
        self._doors: dict[Folder, _Door] = {}
        self._changing = anyio.Lock()
        self._tasks: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every socket and connection is closed. `open` works once this has started."""
        unix.make_room()
        async with self._pool, anyio.create_task_group() as self._tasks:
            task_status.started()
            while True:
                await anyio.sleep(self._bounds.keep_seconds)
                await self._pool.prune(self._bounds.keep_seconds)

    def resume(self, day: date, counts: Mapping[Folder, NetworkCounts]) -> None:
        """Go on counting where an earlier host has stopped that day."""
        for folder, each in counts.items():
            self._account(folder).resume(day, each)

    def follow(self, policies: Mapping[Folder, Policy]) -> None:
        """These policies are in force from the next request on, and what they do not allow any more is closed. A group
        without one may reach its provider only."""
        for folder in {*self._accounts, *policies}:
            self._account(folder).follow(policies.get(folder) or nothing(folder))

    def counts(self, folder: Folder) -> NetworkCounts:
        """What a group has done today, open connections left out."""
        account = self._accounts.get(folder)
        return account.counts() if account else NetworkCounts()

    async def open(self, folder: Folder, route: Route) -> None:
        """Let a group reach `route` from its next request on; its socket listens when this returns.

        Raises:
            SandboxError: the socket cannot be made.
        """
        assert self._tasks is not None, "the gateway is not running"
        async with self._changing:
            account = self._account(folder)
            account.route = route
            if folder in self._doors:
                return
            path = self._sockets(folder) / GATEWAY_SOCKET
            door = _Door(account, self._pool, self._bounds)
            self._tasks.start_soon(door.serve, unix.listen(path), path, name=f"gateway of {folder}")
            self._doors[folder] = door

    async def carry(self, folder: Folder, pipe: Pipe) -> None:
        """Serve a sandbox that has a pipe in place of its group's socket, which must be open, until either ends.
        Returns as soon as the sandbox's end listens.

        Raises:
            SandboxError: it ended before that.
        """
        assert self._tasks is not None, "the gateway is not running"
        await self._tasks.start(self._doors[folder].carry, pipe, name=f"carry {folder}")

    async def close(self, folder: Folder) -> None:
        """End a group's connections and remove its socket; not open is success."""
        async with self._changing:
            if door := self._doors.pop(folder, None):
                await door.close()

    def _account(self, folder: Folder) -> Account:
        """What is known of a group; of one that is new, that it may reach nothing."""
        if folder not in self._accounts:
            self._accounts[folder] = Account(
                nothing(folder), quota=self._quota, bounds=self._bounds, clock=self._clock, note=self._note
            )
        return self._accounts[folder]


class _Door:
    """One group's socket."""

    def __init__(self, account: Account, pool: Pool, bounds: Bounds) -> None:
        self._account = account
        self._pool = pool
        self._bounds = bounds
        self._connections = 0
        self._pace = Allowance(bounds.connections_per_second, 1.0)
        self._scope = anyio.CancelScope()
        self._closed = anyio.Event()
        self._carrying: set[anyio.CancelScope] = set()

    async def serve(self, listener: socket.socket, path: Path) -> None:
        """Accept connections until closed."""
        try:
            with listener, self._scope:
                async with anyio.create_task_group() as tasks:
                    while True:
                        tasks.start_soon(self._welcome, await _next_connection(listener))
                        await self._keep_pace()
        finally:
            _remove(path)
            self._closed.set()

    async def carry(self, pipe: Pipe, *, task_status: TaskStatus[None]) -> None:
        """Serve what comes over a pipe until it ends, or this is closed."""
        with anyio.CancelScope() as scope:
            self._carrying.add(scope)
            try:
                await carry(pipe, self._keep_pace, self._welcome, task_status=task_status)
            except WireError as error:
                log.warning("gateway.nonsense", group=self._account.folder, error=str(error))
            finally:
                self._carrying.discard(scope)

    async def close(self) -> None:
        """Return once everything is closed."""
        for scope in (self._scope, *self._carrying):
            scope.cancel()
        with anyio.move_on_after(_CLOSE_SECONDS):
            await self._closed.wait()

    async def _keep_pace(self) -> None:
        if wait := self._pace.take():
            await anyio.sleep(wait)

    async def _welcome(self, stream: ByteStream) -> None:
        conversation = Conversation(stream, self._account, self._pool, self._bounds)
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
                group=self._account.folder,
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


def _nobody(_decision: NetworkDecision) -> None:
    """Listens."""


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
