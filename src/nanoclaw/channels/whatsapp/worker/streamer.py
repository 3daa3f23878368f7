"""From the spool to the host, in order; forgotten there once the host has it for good."""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nanoclaw.channels.whatsapp.worker.spool import Row, Spool
from nanoclaw.channels.whatsapp.worker.wire import Wire

_WINDOW: Final = 32  # given to the host and not acknowledged yet

log = logging.getLogger(__name__)


class Streamer:
    """One thread. `wake` is set when there is something new."""

    def __init__(self, spool: Spool, wire: Wire, media: Path, read: Callable[[str, str, str], None] | None) -> None:
        """`read` is told chat, sender and id of each message that the host has, to show that it was read."""
        self._spool = spool
        self._wire = wire
        self._media = media
        self._read = read
        self._out: set[int] = set()
        self._lock = threading.Lock()
        self._stopping = False
        self.wake = threading.Event()

    def run(self) -> None:
        """Stream for ever."""
        while True:
            self.wake.wait()
            self.wake.clear()
            with self._lock:
                out = frozenset(self._out)
            for row in self._spool.ready(out, _WINDOW - len(out)):
                with self._lock:
                    self._out.add(row.seq)
                self._wire.say("spooled", seq=row.seq, kind=row.kind, body=row.body)
            if self._stopping and not self._spool.count():
                os._exit(0)

    def stop(self) -> None:
        """End the worker once the host has everything."""
        self._stopping = True
        self.wake.set()

    def acknowledge(self, seq: int) -> None:
        """The host has it."""
        row = self._spool.forget(seq)
        with self._lock:
            self._out.discard(seq)
        self.wake.set()
        if row is not None and row.kind == "message":
            self._clean(row)
            if row.origin and self._read:
                chat, sender, ext_id = json.loads(row.origin)
                self._read(chat, sender, ext_id)

    def _clean(self, row: Row) -> None:
        for attachment in row.body["attachments"]:
            if attachment["source"]:
                (self._media / Path(attachment["source"]).name).unlink(missing_ok=True)
