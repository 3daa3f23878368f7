"""The three pipes of a process, as the event loop tells of them."""

import asyncio
from typing import Final, cast

import anyio

STDERR_KEPT: Final = 64 << 10
_HIGH_WATER: Final = 1 << 20  # read ahead at most so much of stdout


class Pipes(asyncio.SubprocessProtocol):
    """What the event loop tells of one process."""

    def __init__(self) -> None:
        self.transport: asyncio.SubprocessTransport
        self.unread: list[bytes] = []
        self.unread_bytes = 0
        self.stderr = bytearray()
        self.stdout_ended = False
        self.discarding = False
        self.news = anyio.Event()
        self.writable = anyio.Event()
        self.writable.set()
        self.exited = anyio.Event()
        self.finished = anyio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.stderr += data
            del self.stderr[:-STDERR_KEPT]
            return
        if self.discarding:
            return
        self.unread.append(data)
        self.unread_bytes += len(data)
        if self.unread_bytes > _HIGH_WATER:
            self._stdout().pause_reading()
        self.news.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:
            self.writable.set()
        elif fd == 1:
            self.stdout_ended = True
            self.news.set()

    def pause_writing(self) -> None:
        self.writable = anyio.Event()

    def resume_writing(self) -> None:
        self.writable.set()

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finished.set()

    async def read(self) -> bytes:
        """What stdout has, waiting for at least a byte; nothing at its end."""
        while not self.unread:
            if self.stdout_ended:
                return b""
            self.news = anyio.Event()
            await self.news.wait()
        data = b"".join(self.unread)
        self.unread.clear()
        if self.unread_bytes > _HIGH_WATER and not self.stdout_ended:
            self._stdout().resume_reading()
        self.unread_bytes = 0
        return data

    def discard_stdout(self) -> None:
        """Read on to the end, for nobody."""
        if not self.stdout_ended:
            self.unread_bytes = 0
            self.discarding = True
            self._stdout().resume_reading()

    def _stdout(self) -> asyncio.ReadTransport:
        return cast("asyncio.ReadTransport", self.transport.get_pipe_transport(1))
