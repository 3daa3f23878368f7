"""Many connections over one pair of pipes: the frames, and how much of each connection may be on its way. Pure.

The sandbox's end opens connections, the host's end serves them. A frame is its kind, a connection's number, a length,
and so many bytes. Neither end sends more of a connection than the other has room for, so that a connection that nobody
reads does not hold up the rest, nor fill anybody's memory. Only the standard library: the sandbox's end imports this.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from nanoclaw.errors import WireError

WINDOW: Final = 1 << 17
"""Bytes of one connection, in one direction, that may be on their way."""
LARGEST: Final = 1 << 14
"""Bytes of one frame's content."""
MOST: Final = 100
"""Connections at once; more wait inside the sandbox. It is more than the gateway takes, which says so."""

_HEAD: Final = struct.Struct("!BIH")
_COUNT: Final = struct.Struct("!I")


class Pipe(Protocol):
    """The way to the other end."""

    async def receive(self) -> bytes:
        """The next bytes; raises `anyio.EndOfStream` when the other end has closed."""
        ...

    def post(self, data: bytes) -> None:
        """Write all of it after what was posted before, without waiting for anything."""
        ...

    async def flushed(self) -> None:
        """Return when most of it is read; raises `anyio.BrokenResourceError` when that does not come about."""
        ...


class Kind(IntEnum):
    """What a frame says."""

    READY = 0  # the sandbox's end listens; its first frame, of no connection
    OPEN = 1
    DATA = 2
    TAKEN = 3  # so many bytes were taken in, and there is room for as many more
    END = 4  # no more will come in this direction
    GONE = 5  # the connection is over in both


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was received and is allowed where it came."""

    kind: Kind
    number: int
    data: bytes = b""


@dataclass(slots=True)
class _Connection:
    room: int = WINDOW
    """Bytes that may still be sent."""
    waiting: int = 0
    """Bytes that were received and not taken in."""
    ended: bool = False
    """Nothing more comes."""
    finished: bool = False
    """Nothing more goes."""


class Carriage:
    """What one end knows of the connections. What it makes must be sent in the order in which it was made."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._open: dict[int, _Connection] = {}
        self._last = 0
        self._is_ready = False

    @property
    def is_full(self) -> bool:
        """Whether no other connection can be opened now."""
        return len(self._open) >= MOST

    def receive(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete. What crossed with the end of its connection is left out.

        Raises:
            WireError: no end of ours says such a thing.
        """
        self._unread += data
        while len(self._unread) >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(self._unread)
            if kind > max(Kind) or length > LARGEST:
                raise WireError(f"a frame of kind {kind} with {length} bytes")
            if len(self._unread) < _HEAD.size + length:
                return
            content = bytes(self._unread[_HEAD.size : _HEAD.size + length])
            del self._unread[: _HEAD.size + length]
            frame = Frame(Kind(kind), number, content)
            if self._heed(frame):
                yield frame

    def ready(self) -> bytes:
        """The sandbox's first frame."""
        return _frame(Kind.READY, 0)

    def open(self) -> tuple[int, bytes]:
        """A new connection's number, and the frame that opens it."""
        self._last += 1
        self._open[self._last] = _Connection()
        return self._last, _frame(Kind.OPEN, self._last)

    def room(self, number: int) -> int:
        """How many bytes may be sent now."""
        connection = self._open.get(number)
        return connection.room if connection else 0

    def data(self, number: int, content: bytes) -> bytes:
        """The frame for some bytes: at most `LARGEST`, and no more than there is `room` for."""
        self._open[number].room -= len(content)
        return _frame(Kind.DATA, number, content)

    def taken(self, number: int, count: int) -> bytes:
        """The frame that makes room for what comes next; none for a connection that is over."""
        connection = self._open.get(number)
        if connection is None:
            return b""
        connection.waiting -= count
        return _frame(Kind.TAKEN, number, _COUNT.pack(count))

    def end(self, number: int) -> bytes:
        """The frame after which no more is sent."""
        connection = self._open.get(number)
        if connection is None:
            return b""
        connection.finished = True
        self._forget_if_over(number, connection)
        return _frame(Kind.END, number)

    def drop(self, number: int) -> bytes:
        """The frame that ends a connection at once; none if it is over already."""
        return _frame(Kind.GONE, number) if self._open.pop(number, None) else b""

    def _heed(self, frame: Frame) -> bool:
        """Whether the frame is news."""
        if frame.kind is Kind.READY:
            news, self._is_ready = not self._is_ready, True
            return news
        if frame.kind is Kind.OPEN:
            self._admit(frame.number)
            return True
        connection = self._open.get(frame.number)
        if connection is not None:
            self._change(connection, frame)
        return connection is not None

    def _admit(self, number: int) -> None:
        if number <= self._last or self.is_full:
            raise WireError(f"connection {number} cannot be opened")
        self._last = number
        self._open[number] = _Connection()

    def _change(self, connection: _Connection, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            connection.waiting += len(frame.data)
            if connection.waiting > WINDOW or connection.ended:
                raise WireError(f"connection {frame.number} got more than there was room for")
        elif frame.kind is Kind.TAKEN:
            connection.room += _count(frame)
            if connection.room > WINDOW:
                raise WireError(f"connection {frame.number} took more than it got")
        elif frame.kind is Kind.END:
            connection.ended = True
            self._forget_if_over(frame.number, connection)
        else:
            del self._open[frame.number]

    def _forget_if_over(self, number: int, connection: _Connection) -> None:
        if connection.ended and connection.finished:
            self._open.pop(number, None)


def _count(frame: Frame) -> int:
    if len(frame.data) != _COUNT.size:
        raise WireError(f"a frame of kind {frame.kind} with {len(frame.data)} bytes")
    return _COUNT.unpack(frame.data)[0]


def _frame(kind: Kind, number: int, content: bytes = b"") -> bytes:
    return _HEAD.pack(kind, number, len(content)) + content
