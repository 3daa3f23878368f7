"""Talking to a running host over its control socket. On h11 itself: a whole HTTP library takes longer to import than
most commands take."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import anyio
import h11
from anyio.abc import SocketStream

from nanoclaw.clock import from_iso
from nanoclaw.config import Home
from nanoclaw.errors import HostError, NanoclawError, NotFoundError, UsageError

_ANSWER_SECONDS: Final = 30.0  # beyond what the request itself asks the host to wait
_SILENCE_SECONDS: Final = 60.0  # in a stream, the host says something every 15
_CONNECT_SECONDS: Final = 5.0
_ERRORS: Final = 400

_CLASSES: Final[Mapping[int, type[NanoclawError]]] = {404: NotFoundError, 400: UsageError}
_GONE: Final = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, h11.RemoteProtocolError)


class NoHostError(HostError):
    """Nobody listens on the control socket."""


class Client:
    """Each request goes over a connection of its own. Every method raises `NoHostError` when no host runs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._open: set[SocketStream] = set()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in list(self._open):  # left in the middle
            await anyio.aclose_forcefully(stream)

    async def get(self, path: str, patience: float = 0.0, **query: str | int) -> dict[str, Any]:
        """GET; `patience` is how many seconds the host is asked to take at most."""
        return await self._ask("GET", _target(path, query), b"", patience)

    async def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """POST a JSON object."""
        return await self._ask("POST", path, json.dumps(body).encode(), 0.0)

    async def stream(self, path: str, **query: str | int) -> AsyncGenerator[dict[str, Any]]:
        """The JSON objects of a stream, until the host ends it."""
        try:
            async with self._asked("GET", _target(path, query), b"", _SILENCE_SECONDS) as answer:
                if answer.status >= _ERRORS:
                    raise _refusal(answer.status, await answer.rest())
                begun = b""
                while (data := await answer.next()) is not None:
                    *whole, begun = (begun + data).split(b"\n")
                    for line in filter(None, whole):
                        yield json.loads(line)
        except _GONE as error:
            raise self._nobody() from error

    async def _ask(self, method: str, target: str, body: bytes, patience: float) -> dict[str, Any]:
        try:
            async with self._asked(method, target, body, patience + _ANSWER_SECONDS) as answer:
                said = await answer.rest()
        except _GONE as error:
            raise self._nobody() from error
        if answer.status >= _ERRORS:
            raise _refusal(answer.status, said)
        return json.loads(said)

    @asynccontextmanager
    async def _asked(self, method: str, target: str, body: bytes, patience: float) -> AsyncGenerator["_Answer"]:
        """The answer to a request, whose body can be read for as long as the context lasts."""
        with anyio.fail_after(_CONNECT_SECONDS):
            stream = await anyio.connect_unix(self._home.control_socket)
        self._open.add(stream)
        try:
            answer = _Answer(stream, patience)
            await answer.ask(method, target, body)
            yield answer
        finally:
            self._open.discard(stream)
            await anyio.aclose_forcefully(stream)

    def _nobody(self) -> NoHostError:
        return NoHostError(f"no host is running on {self._home.root}", "start one with `nanoclaw up` or `nanoclaw run`")


async def tell_host(home: Home) -> None:
    """Have a running host take the groups' file into force, as it stands, before this returns."""
    try:
        async with Client(home) as client:
            await client.post("/v1/groups/reload", {})
    except NoHostError:
        pass


async def running_since(home: Home) -> datetime | None:
    """Since when a host runs; None: none does."""
    try:
        async with Client(home) as client:
            return from_iso((await client.get("/v1/status"))["host"]["since"])
    except NoHostError:
        return None


class _Answer:
    """What comes back over one connection. Raises what is in `_GONE` when nothing more does."""

    def __init__(self, stream: SocketStream, patience: float) -> None:
        self._stream = stream
        self._patience = patience
        self._http = h11.Connection(h11.CLIENT)
        self.status = 0

    async def ask(self, method: str, target: str, body: bytes) -> None:
        """Send the request, and wait for the answer's beginning."""
        headers = [("Host", "nanoclaw"), ("Connection", "close"), ("Content-Type", "application/json")]
        request = h11.Request(method=method, target=target, headers=[*headers, ("Content-Length", str(len(body)))])
        parts = [self._http.send(part) for part in (request, h11.Data(body), h11.EndOfMessage())]
        await self._stream.send(b"".join(filter(None, parts)))
        while not isinstance(event := await self._event(), h11.Response):
            pass  # an interim answer
        self.status = event.status_code

    async def rest(self) -> bytes:
        """Its body, to the end."""
        whole = bytearray()
        while (data := await self.next()) is not None:
            whole += data
        return bytes(whole)

    async def next(self) -> bytes | None:
        """Some of its body; None: that was all."""
        event = await self._event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _event(self) -> h11.Event | None:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            with anyio.fail_after(self._patience):
                try:
                    self._http.receive_data(await self._stream.receive())
                except anyio.EndOfStream:
                    self._http.receive_data(b"")
        return event if isinstance(event, h11.Event) else None


def _target(path: str, query: Mapping[str, str | int]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _refusal(status: int, answer: bytes) -> NanoclawError:
    try:
        body = json.loads(answer)
    except ValueError:
        return HostError(f"the host answered {status}", "its log says more")
    return _CLASSES.get(status, HostError)(body["error"], body["hint"])
