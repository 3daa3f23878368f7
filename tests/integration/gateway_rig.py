"""What tests of the gateway share: a sandbox on one side, a server on loopback on the other, all on real sockets."""

import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import anyio
from anyio.abc import AnyByteStream, ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

from nanoclaw.clock import Clock
from nanoclaw.gateway import Bounds, Gateway, Network, Policy, Quota, Route
from nanoclaw.gateway.network import Judge, is_allowed
from nanoclaw.model import Folder, NetworkDecision

MAIN = Folder("main")
OPEN = Policy(folder=MAIN, mode="open")
KEY = "sk-real-and-secret"
SHORT = 0.2  # seconds: a deadline that is to pass
PATIENCE = 20.0  # seconds: what must happen has happened long before


class Line:
    """One end of a connection, spoken by hand."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._incoming = BufferedByteReceiveStream(stream)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    async def send(self, text: str) -> None:
        await self.stream.send(text.encode("latin-1"))

    async def end(self) -> None:
        """Say that no more will be sent."""
        await self.stream.send_eof()

    async def head(self) -> tuple[str, dict[str, str]]:
        """The first line and the headers of what comes."""
        block = await self._incoming.receive_until(b"\r\n\r\n", 1 << 17)
        first, *rest = block.decode("latin-1").split("\r\n")
        return first, {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}

    async def body(self, headers: dict[str, str]) -> str:
        """The body that these headers announce, to its end."""
        if "transfer-encoding" not in headers:
            return await self.exactly(int(headers.get("content-length", "0")))
        text = ""
        while piece := await self.chunk():
            text += piece
        return text

    async def chunk(self) -> str:
        """One chunk; empty at the end."""
        size = int(await self._incoming.receive_until(b"\r\n", 100), 16)
        text, end = await self.exactly(size), await self.exactly(2)
        assert end == "\r\n", "trailers are not passed on"
        return text

    async def exactly(self, count: int) -> str:
        return (await self._incoming.receive_exactly(count)).decode("latin-1") if count else ""

    async def answer(self) -> tuple[int, str]:
        """Status and body of the next answer."""
        first, headers = await self.head()
        return int(first.split()[1]), await self.body(headers)

    async def refusal(self) -> tuple[int, str]:
        """Status and sentence of the next answer, which is the gateway's own."""
        status, body = await self.answer()
        message = json.loads(body)["error"]["message"]
        assert message.startswith("NanoClaw gateway: ")
        return status, message

    async def is_closed(self) -> bool:
        """Wait for the other end to close without another byte."""
        try:
            await self._incoming.receive_exactly(1)
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
            return True
        return False


Script = Callable[[Line], Awaitable[None]]


@dataclass
class Server:
    """A server on loopback that follows a script; one call for each connection."""

    script: Script
    port: int = 0
    connections: int = 0
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list[Any])

    async def welcome(self, stream: ByteStream) -> None:
        self.connections += 1
        async with Line(stream) as line:
            try:
                await self.script(line)
            except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async def take(self, line: Line) -> str:
        """Read and remember one request; its first line."""
        first, headers = await line.head()
        self.requests.append((first, headers, await line.body(headers)))
        return first


@asynccontextmanager
async def serving(script: Script | None = None, certificate: Path | None = None) -> AsyncGenerator[Server]:
    """A server; without a script it answers every request with the number of requests so far."""

    async def count(line: Line) -> None:
        while True:
            await server.take(line)
            body = str(len(server.requests))
            await line.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nSet-Cookie: a=b\r\n\r\n{body}")

    server = Server(script or count)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            secure = QuietTLSListener(listener, context, standard_compatible=False)
            tasks.start_soon(secure.serve, server.welcome)
        else:
            tasks.start_soon(listener.serve, server.welcome)
        yield server
        tasks.cancel_scope.cancel()


class QuietTLSListener(TLSListener):
    """Takes a failed handshake as a client that went away."""

    @staticmethod
    async def handle_handshake_error(exc: BaseException, stream: AnyByteStream) -> None:
        await anyio.aclose_forcefully(stream)
        if not isinstance(exc, Exception):
            raise exc


@dataclass
class Sandbox:
    """The gateway, seen from a group's sandbox."""

    gateway: Gateway
    socket: Path
    noted: list[NetworkDecision]

    async def connect(self) -> Line:
        return Line(await anyio.connect_unix(self.socket))

    async def ask(self, line: str, body: str = "", headers: str = "") -> tuple[int, str]:
        """One request on a connection of its own."""
        async with await self.connect() as client:
            await client.send(f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}")
            return await client.answer()


def api(port: int, *, scheme: str = "http", key: str = KEY) -> Route:
    """A way to a server on loopback, with an API key."""
    return Route(
        provider="codex",
        base_url=f"{scheme}://127.0.0.1:{port}/v1",
        headers={"authorization": f"Bearer {key}"},
        chatgpt_base_url=None,
    )


Start = Callable[..., AbstractAsyncContextManager[Sandbox]]


@asynccontextmanager
async def started(
    directory: Path,
    route: Route | int,
    *,
    policy: Policy = OPEN,
    bounds: Bounds | None = None,
    network: Network | None = None,
    quota: Quota | None = None,
    clock: Clock | None = None,
) -> AsyncGenerator[Sandbox]:
    """A gateway with `main` open; leaving the context ends it, within bounds."""
    noted: list[NetworkDecision] = []
    gateway = Gateway(
        lambda folder: directory / "run" / "gateway" / folder,
        clock=clock,
        quota=quota,
        note=noted.append,
        bounds=bounds,
        network=network,
    )
    gateway.follow({MAIN: policy})
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(gateway.run)
            await gateway.open(MAIN, api(route) if isinstance(route, int) else route)
            yield Sandbox(gateway, directory / "run" / "gateway" / MAIN / "gateway.sock", noted)
            tasks.cancel_scope.cancel()


class Detour(Network):
    """The public network of a test: all names resolve to `answers`, and ports 80 and 443 are at `port`."""

    def __init__(self, port: int, *answers: str, judge: Judge = is_allowed) -> None:
        async def resolve(host: str, port: int) -> list[str]:
            self.asked.append((host, port))
            return list(answers)

        super().__init__(resolve, judge)
        self.asked: list[tuple[str, int]] = []
        self._port = port

    async def connect(self, host: str, port: int, lookups: anyio.CapacityLimiter, *, private: bool) -> SocketStream:
        return await super().connect(host, self._port, lookups, private=private)


def open_network(port: int) -> Detour:
    """A network on which every name leads to the server at `port`."""
    return Detour(port, "127.0.0.1", judge=lambda address: True)
