"""The worker's end of the socket to the host."""

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict

from nanoclaw.channels.whatsapp.protocol import VERSION, Frame, News, Outcome, Unpacker, pack

_CHUNK = 1 << 16


class Wire:
    """Any thread may speak; one listens."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()

    def say(self, what: str, **fields: object) -> None:
        """Tell the host something. Without a host there is nothing left to do here."""
        data = pack({"v": VERSION, "is": what, **fields})
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            os._exit(0)

    def news(self, news: News) -> None:
        """Tell what happened to the connection."""
        self.say("news", **asdict(news))

    def outcome(self, outcome: Outcome) -> None:
        """Tell what became of a send."""
        self.say("outcome", **asdict(outcome))

    def frames(self) -> Iterator[Frame]:
        """What the host says, until it is gone."""
        unpacker = Unpacker()
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except OSError:
                return
            if not data:
                return
            yield from unpacker.feed(data)
