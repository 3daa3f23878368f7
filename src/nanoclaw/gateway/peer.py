"""One end of an HTTP/1.1 connection: events on a stream of bytes."""

import ssl
from typing import Final, Self

import anyio
import h11
from anyio.abc import ByteStream

_CHUNK_BYTES: Final = 64 << 10
_BATCH: Final = 32  # a body in chunks of one byte is thousands of events, and parsing is all that happens meanwhile


class Peer:
    """The connection to a client (as its server) or to a server (as its client).

    Reading raises `h11.RemoteProtocolError` for what is no HTTP, sending `anyio.BrokenResourceError` when the other end
    is gone. At most one task reads and one writes.
    """

    def __init__(self, stream: ByteStream, role: type[h11.CLIENT] | type[h11.SERVER], head_bytes: int) -> None:
        self.stream = stream
        self.http = h11.Connection(role, max_incomplete_event_size=head_bytes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await anyio.aclose_forcefully(self.stream)

    async def next_event(self) -> h11.Event | None:
        """The next event; `ConnectionClosed` when the other end closed between messages, None past a message's end."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            await self.receive()
        return event if isinstance(event, h11.Event) else None

    async def next_events(self) -> list[h11.Event]:
        """At least one event of the present message: all that can be read from what comes next."""
        while not (events := self.parsed()):
            await self.receive()
        return events

    def parsed(self) -> list[h11.Event]:
        """The next few events, to the message's end, that can be read from the bytes that are here."""
        events: list[h11.Event] = []
        while len(events) < _BATCH and isinstance(event := self.http.next_event(), h11.Event):
            events.append(event)
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
        return events

    async def receive(self) -> bool:
        """Take in what comes next; False when the other end has closed."""
        try:
            data = await self.stream.receive(_CHUNK_BYTES)
        except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
            data = b""
        self.http.receive_data(data)
        return bool(data)

    async def send(self, *events: h11.Event) -> None:
        """Write events out, at once; returns when the system has taken it all."""
        data = b"".join(self.http.send(event) or b"" for event in events)
        if not data:
            return
        try:
            await self.stream.send(data)
        except ssl.SSLError as error:
            raise anyio.BrokenResourceError from error

    @property
    def finished(self) -> bool:
        """Whether both sides are done with a message pair, and the connection can take another."""
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE
