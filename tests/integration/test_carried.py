"""The way out over pipes: the sandbox's end in a process of its own, the host's end here, connections through both."""

import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest
from anyio.abc import ByteStream, SocketStream

from nanoclaw.carriage import MOST, Carriage
from nanoclaw.errors import SandboxError, WireError
from nanoclaw.gateway.carried import carry
from nanoclaw.sandbox.process import Process, open_process

pytestmark = pytest.mark.anyio

_PROGRAM = "import sys; from nanoclaw_runner.carrier import main; main(int(sys.argv[1]))"
_BLOCK: Final = bytes(range(256)) * 256

Serve = Callable[[ByteStream], Awaitable[None]]


async def at_once() -> None:
    """No pace."""


async def echo(stream: ByteStream) -> None:
    async with stream:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await stream.send(await stream.receive())


async def count_all(stream: ByteStream) -> None:
    """Answer, after everything, how much it was."""
    async with stream:
        total = 0
        with contextlib.suppress(anyio.EndOfStream):
            while True:
                total += len(await stream.receive())
        await stream.send(str(total).encode())


@asynccontextmanager
async def carrying(serve: Serve) -> AsyncGenerator[tuple[int, Process]]:
    """A port that leads to `serve`, and the process that listens there."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    argv = [sys.executable, "-c", _PROGRAM, str(port)]
    async with open_process(argv, environment) as process, anyio.create_task_group() as tasks:
        await tasks.start(carry, process, at_once, serve)
        yield port, process
        tasks.cancel_scope.cancel()


async def connected(port: int) -> SocketStream:
    return await anyio.connect_tcp("127.0.0.1", port)


async def read_all(stream: ByteStream) -> bytes:
    found = bytearray()
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            found += await stream.receive()
    return bytes(found)


async def test_what_is_said_arrives_whole_and_each_side_ends_when_it_wants() -> None:
    async with carrying(count_all) as (port, _), await connected(port) as client:
        for _ in range(40):
            await client.send(_BLOCK)
        await client.send_eof()
        assert await read_all(client) == str(40 * len(_BLOCK)).encode()


async def test_many_connections_at_once_do_not_mix() -> None:
    async def talk(port: int, number: int) -> None:
        said = f"{number} ".encode() * 20_000
        async with await connected(port) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(say, client, said)
            assert await read_all(client) == said

    async def say(client: SocketStream, said: bytes) -> None:
        await client.send(said)
        await client.send_eof()

    async with carrying(echo) as (port, _), anyio.create_task_group() as tasks:
        for number in range(MOST + 20):  # the last ones wait for a place
            tasks.start_soon(talk, port, number)


async def test_one_that_nobody_reads_does_not_hold_up_the_others() -> None:
    async with carrying(echo) as (port, _), await connected(port) as silent:
        with anyio.move_on_after(0.5):  # until every buffer on the way is full
            while True:
                await silent.send(_BLOCK)
        async with await connected(port) as client:
            await client.send(b"are you there?")
            assert await client.receive() == b"are you there?"


async def test_a_server_that_lets_go_after_its_answer_is_read_to_the_end() -> None:
    async def answer(stream: ByteStream) -> None:
        await stream.send(_BLOCK)
        await anyio.aclose_forcefully(stream)

    async with carrying(answer) as (port, _), await connected(port) as client:
        assert await read_all(client) == _BLOCK


async def test_a_client_that_breaks_off_is_noticed() -> None:
    noticed = anyio.Event()

    async def listen(stream: ByteStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.send(_BLOCK)
        noticed.set()

    async with carrying(listen) as (port, _):
        async with await connected(port) as client:
            await client.receive()
        await noticed.wait()


async def test_the_end_of_the_other_end_ends_every_connection() -> None:
    began, ended = anyio.Event(), anyio.Event()

    async def wait(stream: ByteStream) -> None:
        began.set()
        try:
            await read_all(stream)
        finally:
            ended.set()

    async with carrying(wait) as (port, process), await connected(port):
        await began.wait()
        await process.close_stdin()
        await ended.wait()


class Said:
    """A pipe on which all of this is said, and then nothing more."""

    def __init__(self, *said: bytes) -> None:
        self._said = list(said)

    async def receive(self) -> bytes:
        if not self._said:
            raise anyio.EndOfStream
        return self._said.pop(0)

    def post(self, data: bytes) -> None: ...

    async def flushed(self) -> None: ...


async def test_one_that_ends_before_it_listens_is_an_error() -> None:
    with pytest.raises(SandboxError, match="before it began"):
        await carry(Said(), at_once, echo, task_status=anyio.TASK_STATUS_IGNORED)


async def test_nonsense_ends_it() -> None:
    with pytest.raises(WireError):
        await carry(Said(Carriage().ready(), b"HTTP/1.1 200 OK"), at_once, echo, task_status=anyio.TASK_STATUS_IGNORED)
