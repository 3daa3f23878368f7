"""What the gateway costs: the same requests to a model server directly, and through a host's gateway."""

import http.client
import json
import os
import socket
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from bench.measures import a_host, a_world
from nanoclaw.model import Folder
from nanoclaw.testing.models import say
from nanoclaw.testing.world import World
from nanoclaw.wire import GATEWAY_SOCKET

_BODY = json.dumps({"model": "m", "stream": True, "instructions": "x" * 20_000, "input": []})
_HEADERS = {"content-type": "application/json", "authorization": "Bearer placeholder", "connection": "keep-alive"}
_STREAMS = 16
_STREAM_BYTES = 32 << 20
_PAUSE = 0.02
"""Seconds before each piece of a slow stream."""


@dataclass(kw_only=True)
class Way:
    """Seconds, one of each per request; the first of each is not counted."""

    whole: list[float] = field(default_factory=list[float])
    """To the end of a short answer."""
    first_byte: list[float] = field(default_factory=list[float])
    """To the first byte of a stream whose pieces come slowly."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Both ways, and what streaming does to the host's memory."""

    direct: Way
    through: Way
    growth_megabytes: float
    """Of the host's memory, at its highest, while so many large answers stream at once."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("gateway")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.fspath(self._path))


async def gateway(engine: str, count: int) -> Cost:
    """Measure on a host of its own, whose group has had one turn."""
    with a_world(engine) as world:
        async with a_host(world) as (client, pid):
            await world.ask(client, "main", "hello")  # its socket is open now
            return await anyio.to_thread.run_sync(_measure, world, pid, count)


def _measure(world: World, pid: int, count: int) -> Cost:
    direct, through = Way(), Way()
    with _connection(world, direct=True) as straight, _connection(world, direct=False) as around:
        for number in range(count + 1):  # alternating, as the machine's pace changes
            for connection, path, way in ((straight, "/v1/responses", direct), (around, "/openai/responses", through)):
                world.openai.script = say("hello")
                whole, _ = _ask(connection, path)
                world.openai.script = say("one two three", pause=_PAUSE)
                _, first_byte = _ask(connection, path)
                if number:
                    way.whole.append(whole)
                    way.first_byte.append(first_byte - _PAUSE)
    return Cost(direct=direct, through=through, growth_megabytes=_growth(world, pid))


@contextmanager
def _connection(world: World, *, direct: bool) -> Generator[http.client.HTTPConnection]:
    if direct:
        connection = http.client.HTTPConnection(world.openai.origin.removeprefix("http://"))
    else:
        connection = _UnixConnection(world.home.gateway_directory(Folder("main")) / GATEWAY_SOCKET)
    try:
        yield connection
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, path: str) -> tuple[float, float]:
    """Seconds to the end of the answer, and to its first byte."""
    started = time.perf_counter()
    connection.request("POST", path, _BODY, _HEADERS)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    response.read(1)
    first_byte = time.perf_counter() - started
    response.read()
    return time.perf_counter() - started, first_byte


def _growth(world: World, pid: int) -> float:
    world.openai.script = say("x" * _STREAM_BYTES)
    before = _megabytes(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # the highest so far counts from here
    with ThreadPoolExecutor(_STREAMS) as streams:
        for received in streams.map(_stream, [world] * _STREAMS):
            assert received > _STREAM_BYTES, received
    return _megabytes(pid, "VmHWM") - before


def _stream(world: World) -> int:
    """How many bytes came."""
    with _connection(world, direct=False) as connection:
        connection.request("POST", "/openai/responses", _BODY, _HEADERS)
        response = connection.getresponse()
        return sum(len(piece) for piece in iter(lambda: response.read(1 << 16), b""))


def _megabytes(pid: int, what: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split(f"{what}:")[1].split()[0]) / 1024
