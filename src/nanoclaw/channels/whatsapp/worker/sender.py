"""Sends, one message at a time, each key at most once."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from nanoclaw.channels.whatsapp.protocol import EXIT_DISK, Frame, Outcome
from nanoclaw.channels.whatsapp.worker.library import Library, LibraryError
from nanoclaw.channels.whatsapp.worker.outgoing import Quoted, build, kind_of, result_of
from nanoclaw.channels.whatsapp.worker.people import People
from nanoclaw.channels.whatsapp.worker.spool import Chat, Sent, Spool, SpoolError
from nanoclaw.channels.whatsapp.worker.underway import Underway
from nanoclaw.channels.whatsapp.worker.wire import Wire

_CATCH_UP_SECONDS: Final = 15.0  # after a restart the server brings the receipts that were due at once
_SETTLE_SECONDS: Final = 3.0  # for one that was just on its way
_LOOK_SECONDS: Final = 0.1
_DONE: Final = ("server", "device", "read")

log = logging.getLogger(__name__)


class Sender:
    """One thread with a queue."""

    def __init__(
        self,
        spool: Spool,
        people: People,
        underway: Underway,
        library: Library,
        wire: Wire,
        leaves: Callable[[], None],
    ) -> None:
        """`leaves` is called just before a message does. `caught_up` is to be set when what waited has come."""
        self._tell_that_it_leaves = leaves
        self._spool = spool
        self._people = people
        self._underway = underway
        self._library = library
        self._wire = wire
        self._queue: queue.Queue[Frame] = queue.Queue()
        self.caught_up = threading.Event()

    def put(self, frame: Frame) -> None:
        """To be sent in its turn: a `send` or a `react`."""
        self._queue.put(frame)

    def run(self) -> None:
        """Send for ever."""
        while True:
            frame = self._queue.get()
            if frame["do"] == "react":
                self._react(frame)
            else:
                self._wire.outcome(self._send(frame))

    def _send(self, frame: Frame) -> Outcome:
        key = str(frame["key"])
        sent = self._spool.begin(key, frame["chat"])
        if sent.state == "wire":
            sent = self._settled(sent)
        if sent.state in _DONE:
            return Outcome(key=key, result="sent", platform_id=sent.ext_id)
        if sent.state == "wire":
            return _unknown(sent, "the connection ended before WhatsApp had acknowledged it")
        try:
            return self._try(frame, key)
        except LibraryError as error:
            return self._failed(key, str(error))
        except OSError as error:
            self._spool.undo(key)
            return Outcome(key=key, result="rejected", detail=f"the file cannot be read: {error.strerror}")

    def _try(self, frame: Frame, key: str) -> Outcome:
        chat = self._spool.chat(frame["chat"])
        chat = replace(chat, route=chat.route or frame["chat"])
        file = frame["file"] or {"mime": "", "name": "", "path": ""}
        uploaded = (
            self._library.upload(Path(file["path"]).read_bytes(), kind_of(file["mime"])) if file["path"] else None
        )
        message = build(
            frame["text"],
            quoted=self._quoted(frame, chat),
            expiration=chat.expiration,
            file=uploaded,
            name=file["name"],
            mime=file["mime"],
        )
        self._wire.say("sending", key=key)
        with self._underway.sending() as encrypted:
            ext_id = self._library.send(chat.route, message, partial(self._leaves, key, encrypted))
        self._spool.acknowledged(key)
        return Outcome(key=key, result="sent", platform_id=ext_id)

    def _leaves(self, key: str, encrypted: Callable[[], None], ext_id: str) -> None:
        """Called just before the message leaves: what is not on the disk must not."""
        encrypted()
        try:
            self._spool.on_wire(key, ext_id)
        except SpoolError:
            log.exception("the spool cannot be written")
            os._exit(EXIT_DISK)
        self._tell_that_it_leaves()

    def _failed(self, key: str, problem: str) -> Outcome:
        sent = self._spool.sent(key)
        result = result_of(problem, on_wire=sent.state == "wire")
        if result == "unknown":
            return _unknown(sent, problem)
        self._spool.undo(key)
        return Outcome(key=key, result=result, detail=problem)

    def _settled(self, sent: Sent) -> Sent:
        """Wait a little for a receipt that tells what became of it, and no longer than is needed."""
        self.caught_up.wait(_CATCH_UP_SECONDS)
        sent = self._spool.sent(sent.key)
        until = time.monotonic() + min(_SETTLE_SECONDS, sent.begun_at + _SETTLE_SECONDS - time.time())
        while sent.state == "wire" and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            sent = self._spool.sent(sent.key)
        return sent

    def _quoted(self, frame: Frame, chat: Chat) -> Quoted | None:
        answers = frame["answers"]
        if not answers:
            return None
        participant = self._named(chat, answers["sender"])
        return Quoted(ext_id=answers["ext_id"], participant=participant, text=answers["text"])

    def _named(self, chat: Chat, person: str) -> str:
        """A person's address as this chat uses it."""
        hidden = chat.hidden or chat.route.endswith("@lid")
        wanted = "@lid" if hidden else "@s.whatsapp.net"
        known = self._spool.addresses(person)
        return next((address for address in known if address.endswith(wanted)), person)

    def _react(self, frame: Frame) -> None:
        chat = self._spool.chat(frame["chat"])
        route = chat.route or frame["chat"]
        to = frame["to"]
        try:
            message = self._library.reaction(route, self._named(chat, to["sender"]), to["ext_id"], frame["emoji"])
            with self._underway.sending() as encrypted:
                self._library.send(route, message, lambda _ext_id: encrypted())
        except LibraryError as error:
            log.warning("a reaction was not sent: %s", error)


def _unknown(sent: Sent, detail: str) -> Outcome:
    return Outcome(key=sent.key, result="unknown", platform_id=sent.ext_id, detail=detail)
