"""The sandbox's way out: TCP on its own loopback, carried to the host's gateway over a unix socket.

CLIs and shells can speak to a TCP port only; the sandbox has no network but the gateway's socket. One thread and one
selector carry every connection: threads would count against the sandbox's limit of processes.
"""

import selectors
import socket
import threading
from typing import Final, NoReturn

from nanoclaw.wire import GATEWAY_DIRECTORY, GATEWAY_SOCKET, RELAY_PORT

SOCKET: Final = f"{GATEWAY_DIRECTORY}/{GATEWAY_SOCKET}"
_CHUNK: Final = 1 << 16
_BACKLOG: Final = 128
_MOST: Final = 400
"""Connections at once; more wait. It is more than the gateway takes, which says so, and not so many that there is no
descriptor left: then the listener would be ready for ever and nothing could be accepted."""
_GATEWAY_PATIENCE: Final = 5.0
"""Seconds for the host to accept; it does so at once unless it is stuck, and until then every connection waits."""


class _Side:
    """One end of a connection: what it has to read and what waits to be written to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.other = self
        self.waiting = b""
        self.finished = False
        """It has said everything; the other side is told once it has received all of it."""
        self.watched = 0


class Relay:
    """Accepts on `127.0.0.1:port` and carries each connection to the unix socket at `gateway`."""

    def __init__(self, gateway: str = SOCKET, port: int = RELAY_PORT) -> None:
        """Listen at once, so that whoever is started next can connect. Raises `OSError` when the port is taken."""
        self._gateway = gateway
        self._listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._open = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.getsockname()[1]

    def start(self) -> None:
        """Serve in a thread of its own, until the process ends."""
        threading.Thread(target=self.serve, name="relay", daemon=True).start()

    def serve(self) -> NoReturn:
        """Serve until the process ends."""
        while True:
            for key, events in self._selector.select():
                side: _Side | None = key.data
                if side is None:
                    self._accept()
                elif side.watched:  # else closed by an earlier event of the same round
                    self._carry(side, events)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # it has gone again, or there are no descriptors left
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gateway = socket.socket(socket.AF_UNIX)
        gateway.settimeout(_GATEWAY_PATIENCE)
        try:
            gateway.connect(self._gateway)
        except OSError:  # no gateway: the client sees its connection end
            client.close()
            gateway.close()
            return
        self._open += 1
        if self._open == _MOST:
            self._selector.unregister(self._listener)
        near, far = _Side(client), _Side(gateway)
        near.other, far.other = far, near
        for side in (near, far):
            side.sock.setblocking(False)
            self._watch(side)

    def _carry(self, side: _Side, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(side)
            if events & selectors.EVENT_READ:
                self._read(side)
        except OSError:
            self._close(side)
            return
        if side.finished and side.other.finished and not side.waiting and not side.other.waiting:
            self._close(side)
        else:
            self._watch(side)
            self._watch(side.other)

    def _read(self, side: _Side) -> None:
        data = side.sock.recv(_CHUNK)
        side.finished = not data
        side.other.waiting += data
        self._flush(side.other)

    def _flush(self, side: _Side) -> None:
        if side.waiting:
            try:
                side.waiting = side.waiting[side.sock.send(side.waiting) :]
            except BlockingIOError:
                return
        if side.other.finished and not side.waiting:
            side.sock.shutdown(socket.SHUT_WR)

    def _watch(self, side: _Side) -> None:
        """Ask for what can be used: bytes to read while the other side has none waiting, room to write while it has."""
        wanted = 0
        if not side.finished and not side.other.waiting:
            wanted |= selectors.EVENT_READ
        if side.waiting:
            wanted |= selectors.EVENT_WRITE
        if wanted == side.watched:
            return
        if not side.watched:
            self._selector.register(side.sock, wanted, side)
        elif not wanted:
            self._selector.unregister(side.sock)
        else:
            self._selector.modify(side.sock, wanted, side)
        side.watched = wanted

    def _close(self, side: _Side) -> None:
        for each in (side, side.other):
            if each.watched:
                self._selector.unregister(each.sock)
                each.watched = 0
            each.sock.close()
        self._open -= 1
        if self._open == _MOST - 1:
            self._selector.register(self._listener, selectors.EVENT_READ)
