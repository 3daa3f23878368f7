"""The sandbox's way out where the host's sockets do not reach into it: TCP on its own loopback, carried over stdin and
stdout of this process, which the host has started inside. What a relay (`nanoclaw_runner.relay`) is elsewhere.

Agents have this process's user. It is closed to them, and whoever ends it has cut off nobody else.
"""

import asyncio
import os
import sys
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from asyncio.streams import FlowControlMixin
from collections.abc import Callable
from typing import Final, NoReturn

from nanoclaw.carriage import LARGEST, Carriage, Frame, Kind
from nanoclaw.wire import RELAY_PORT
from nanoclaw_runner.process_one import close_to_agents

_BACKLOG: Final = 128
_CHUNK: Final = 1 << 16


def main(port: int = RELAY_PORT) -> NoReturn:
    """Carry until the host closes stdin."""
    close_to_agents()
    asyncio.run(_Carrier().run(port))
    os._exit(0)


class _Carrier:
    """The pipe to the host, and the connections that it carries."""

    def __init__(self) -> None:
        self._carriage = Carriage()
        self._connections: dict[int, _Connection] = {}
        self._places = asyncio.Condition()

    async def run(self, port: int) -> None:
        """Listen, say so, and carry."""
        stdin, self._stdout = await _standard_streams()
        await asyncio.start_server(self._accept, "127.0.0.1", port, backlog=_BACKLOG)
        await self.send(self._carriage.ready())
        while data := await stdin.read(_CHUNK):
            for frame in self._carriage.receive(data):
                self._connections[frame.number].heed(frame)

    async def send(self, frame: bytes) -> None:
        """Write a frame, and wait while the host does not read."""
        self._stdout.write(frame)
        await self._stdout.drain()

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        async with self._places:
            await self._places.wait_for(lambda: not self._carriage.is_full)
        number, opening = self._carriage.open()
        connection = _Connection(self, self._carriage, number)
        self._connections[number] = connection
        try:
            await self.send(opening)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.carry_out(reader), name=f"out {number}")
                tasks.create_task(connection.carry_in(writer), name=f"in {number}")
        except* OSError:
            await self.send(self._carriage.drop(number))
        finally:
            del self._connections[number]
            writer.close()
            async with self._places:
                self._places.notify()


class _Connection:
    """One connection of somebody inside."""

    def __init__(self, carrier: _Carrier, carriage: Carriage, number: int) -> None:
        self._carrier = carrier
        self._carriage = carriage
        self._number = number
        self._arrived = bytearray()
        self._ended = False
        self._gone = False
        self._news = asyncio.Event()

    def heed(self, frame: Frame) -> None:
        """Take note of what the host says."""
        self._arrived += frame.data if frame.kind is Kind.DATA else b""
        self._ended |= frame.kind is Kind.END
        self._gone |= frame.kind is Kind.GONE
        self._news.set()

    async def carry_out(self, reader: StreamReader) -> None:
        """To the host, until whoever is inside has nothing more to say."""
        while data := await reader.read(LARGEST):
            while data:
                await self._until(lambda: self._carriage.room(self._number) > 0)
                if self._gone:
                    return
                room = self._carriage.room(self._number)
                now, data = data[:room], data[room:]
                await self._carrier.send(self._carriage.data(self._number, now))
        await self._carrier.send(self._carriage.end(self._number))

    async def carry_in(self, writer: StreamWriter) -> None:
        """From the host, until it has nothing more to say; raises `ConnectionResetError` when it has let go."""
        while True:
            await self._until(lambda: bool(self._arrived) or self._ended)
            data = bytes(self._arrived)
            if not data and self._gone:
                raise ConnectionResetError
            if not data:
                writer.write_eof()
                return
            self._arrived.clear()
            writer.write(data)
            await writer.drain()
            await self._carrier.send(self._carriage.taken(self._number, len(data)))

    async def _until(self, so: Callable[[], bool]) -> None:
        """Wait until it is so, or the host has let go."""
        while not so() and not self._gone:
            self._news.clear()
            await self._news.wait()


async def _standard_streams() -> tuple[StreamReader, StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = StreamReader()
    await loop.connect_read_pipe(lambda: StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(FlowControlMixin, sys.stdout.buffer)
    return reader, StreamWriter(transport, protocol, None, loop)
