"""The gateway for a sandbox that its socket does not reach: connections that come over one pair of pipes.

The other end is inside, `nanoclaw_runner.carrier`. The host has started it there itself, so the pipe is the identity,
as elsewhere the socket is. What comes over it is hostile input nevertheless.
"""

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, TaskGroup, TaskStatus

from nanoclaw.carriage import LARGEST, Carriage, Frame, Kind, Pipe
from nanoclaw.errors import SandboxError, WireError

Welcome = Callable[[ByteStream], Awaitable[None]]
"""Holds a connection to its end and closes it."""


async def carry(
    pipe: Pipe, admit: Callable[[], Awaitable[None]], welcome: Welcome, *, task_status: TaskStatus[None]
) -> None:
    """Serve what comes over `pipe` until it ends, or nonsense comes.

    Args:
        pipe: the way to the other end.
        admit: waits until one more connection may begin.
        welcome: serves each of them.
        task_status: told when the other end listens.

    Raises:
        SandboxError: it ended before the other end listened.
        WireError: what came is nothing that an end of ours says.
    """
    carriage = Carriage()
    problem: WireError | None = None
    listens = False
    async with anyio.create_task_group() as tasks:
        connections = _Connections(pipe, carriage, welcome, tasks)
        try:
            while True:
                for frame in carriage.receive(await pipe.receive()):
                    if frame.kind is Kind.READY:
                        listens = True
                        task_status.started()
                    elif frame.kind is Kind.OPEN:
                        await admit()
                        connections.open(frame.number)
                    else:
                        connections.heed(frame)
        except anyio.EndOfStream:
            pass
        except WireError as error:
            problem = error
        tasks.cancel_scope.cancel()
    if not listens:
        hint = "the next attempt makes a new one; if that does not help either, `nanoclaw image build`"
        raise SandboxError("its way out ended before it began", hint, retryable=True)
    if problem:
        raise problem


class _Connections:
    """Those that are being served."""

    def __init__(self, pipe: Pipe, carriage: Carriage, welcome: Welcome, tasks: TaskGroup) -> None:
        self._pipe = pipe
        self._carriage = carriage
        self._welcome = welcome
        self._tasks = tasks
        self._streams: dict[int, CarriedStream] = {}

    def open(self, number: int) -> None:
        self._streams[number] = CarriedStream(self._pipe, self._carriage, number)
        self._tasks.start_soon(self._serve, number, name=f"carried {number}")

    def heed(self, frame: Frame) -> None:
        """Of a connection that we have let go of there is nothing to heed."""
        if stream := self._streams.get(frame.number):
            stream.heed(frame)

    async def _serve(self, number: int) -> None:
        try:
            await self._welcome(self._streams[number])
        finally:
            del self._streams[number]


class CarriedStream(ByteStream):
    """One connection of somebody inside."""

    def __init__(self, pipe: Pipe, carriage: Carriage, number: int) -> None:
        self._number = number
        self._pipe = pipe
        self._carriage = carriage
        self._arrived = bytearray()
        self._ended = False
        self._gone = False
        self._news = anyio.Event()

    def heed(self, frame: Frame) -> None:
        """Take note of what the other end says."""
        self._arrived += frame.data if frame.kind is Kind.DATA else b""
        self._ended |= frame.kind is Kind.END
        self._gone |= frame.kind is Kind.GONE
        self._tell()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes, at most so many; raises `EndOfStream` when the other end has said everything."""
        await self._until(lambda: bool(self._arrived) or self._ended)
        if not self._arrived:
            raise anyio.EndOfStream if self._ended else anyio.BrokenResourceError
        data = bytes(self._arrived[:max_bytes])
        del self._arrived[:max_bytes]
        await self._say(self._carriage.taken(self._number, len(data)))
        return data

    async def send(self, item: bytes) -> None:
        """Return when the other end has room for all of it."""
        rest = memoryview(item)
        while rest:
            await self._until(lambda: self._carriage.room(self._number) > 0)
            most = min(self._carriage.room(self._number), LARGEST)
            if not most:
                raise anyio.BrokenResourceError
            await self._say(self._carriage.data(self._number, bytes(rest[:most])))
            rest = rest[most:]

    async def send_eof(self) -> None:
        """Say that no more will come."""
        await self._say(self._carriage.end(self._number))

    async def aclose(self) -> None:
        """Let go; what was sent still arrives."""
        self._gone = True
        self._tell()
        self._pipe.post(self._carriage.drop(self._number))

    async def _say(self, frame: bytes) -> None:
        self._pipe.post(frame)
        await self._pipe.flushed()

    async def _until(self, so: Callable[[], bool]) -> None:
        """Wait until it is so, or the connection is over."""
        await anyio.lowlevel.checkpoint()  # a flood must not keep everybody else waiting
        while not so() and not self._gone:
            await self._news.wait()

    def _tell(self) -> None:
        """Wake whoever receives and whoever sends."""
        self._news.set()
        self._news = anyio.Event()
