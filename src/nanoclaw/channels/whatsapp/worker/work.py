"""A worker's life: its threads, what the host tells it to do, what the library tells it."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from neonize.proto.Neonize_pb2 import JID
from neonize.proto.Neonize_pb2 import Message as MessageEvent
from neonize.proto.Neonize_pb2 import Receipt as ReceiptEvent

from nanoclaw.channels.whatsapp import account
from nanoclaw.channels.whatsapp.protocol import (
    EXIT_DISK,
    EXIT_UNLINKED,
    EXIT_UNREACHABLE,
    Frame,
    News,
    Start,
)
from nanoclaw.channels.whatsapp.worker import normalise
from nanoclaw.channels.whatsapp.worker.hearing import Hearing
from nanoclaw.channels.whatsapp.worker.journal import JournalError, open_keys
from nanoclaw.channels.whatsapp.worker.library import Library, LibraryError
from nanoclaw.channels.whatsapp.worker.media import Fetcher
from nanoclaw.channels.whatsapp.worker.people import People
from nanoclaw.channels.whatsapp.worker.receiver import Receiver
from nanoclaw.channels.whatsapp.worker.sender import Sender
from nanoclaw.channels.whatsapp.worker.spool import Chat, Spool, SpoolError
from nanoclaw.channels.whatsapp.worker.streamer import Streamer
from nanoclaw.channels.whatsapp.worker.underway import Underway
from nanoclaw.channels.whatsapp.worker.wire import Wire

_BEAT_SECONDS: Final = 5.0
_FIRST_CODE_SECONDS: Final = 60  # how long WhatsApp takes the first QR code, and each later one
_LATER_CODE_SECONDS: Final = 20
_CODE_SECONDS: Final = 20.0  # until the first one comes, over a slow line
_ERRANDS: Final = 256  # small things that may be dropped when nothing moves

log = logging.getLogger(__name__)


class Worker:
    """It is a `library.Listener`."""

    def __init__(self, directory: Path, start: Start, spool: Spool, wire: Wire) -> None:
        self._directory = directory
        self._start = start
        self._spool = spool
        self._wire = wire
        self._errands: queue.Queue[Callable[[], None]] = queue.Queue(_ERRANDS)
        self._codes = 0
        self._online = threading.Event()
        self._suspicious = threading.Event()
        self._hearing = Hearing(
            quiet=start.quiet_seconds, silence=start.silence_seconds, echo=start.echo_seconds, now=time.monotonic()
        )
        self._looks_back = bool(start.renewed_at)
        media = directory / "media"
        media.mkdir(mode=0o700, exist_ok=True)
        self._people = People(spool, account.load(directory), shared=start.shared)
        self._people.follow(start.follow)
        self._open_keys(directory / "session.db")
        self._underway = Underway(_now)
        self._library = Library(directory / "session.db", self)
        self._streamer = Streamer(spool, wire, media, self._read if start.read_receipts else None)
        self._fetcher = Fetcher(spool, self._library, media, start.media_bytes, self._streamer.wake)
        self._sender = Sender(
            spool, self._people, self._underway, self._library, wire, lambda: self._hearing.sent(time.monotonic())
        )
        self._receiver = Receiver(
            spool, self._people, self._underway, start.media_bytes, self._stored, lambda: self._library.handled
        )

    def begin(self) -> None:
        """Start every thread."""
        threads = {
            "stream": self._streamer.run,
            "fetch": self._fetcher.run,
            "send": self._sender.run,
            "errands": self._run_errands,
            "watch": self._watch,
            "library": self._connect,
        }
        for name, target in threads.items():
            threading.Thread(target=_surely, args=(name, target), name=name, daemon=True).start()
        self._stored()

    def _open_keys(self, path: Path) -> None:
        """Take back what was decrypted and had not got to the disk when the last worker ended."""
        try:
            if count := open_keys(path, self._spool.safe()):
                log.info("%d keys were taken back: what they have decrypted comes again", count)
        except JournalError:
            log.exception("the library's keys are left as they are")
        self._spool.begin_keys(_now())

    def obey(self, frame: Frame) -> None:
        """Do what the host says; returns at once."""
        match frame.get("do"):
            case "ack":
                self._streamer.acknowledge(int(frame["seq"]))
            case "send" | "react":
                self._sender.put(frame)
            case "follow":
                self._people.follow(frame["chats"])
            case "typing":
                route = self._spool.chat(frame["chat"]).route or frame["chat"]
                self._errand(lambda: self._library.typing(route, typing=frame["typing"]))
            case "refresh":
                self._errand(lambda: self._refresh(frame["id"]))
            case "logout":
                self._errand(lambda: self._logout(frame["id"]))
            case "stop":
                self._streamer.stop()
            case other:
                log.error("the host says %r", other)

    # What the library tells.

    def message(self, event: MessageEvent) -> None:
        """See `Listener`."""
        self._receiver.message(event)

    def receipt(self, event: ReceiptEvent) -> None:
        """See `Listener`."""
        self._receiver.receipt(event)

    def decrypts(self, sender: str) -> None:
        """See `Listener`."""
        self._underway.begins(sender)

    def dropped(self, ext_id: str) -> None:
        """See `Listener`."""
        self._underway.over(ext_id)

    def confirming(self, ext_id: str) -> None:
        """See `Listener`."""
        self._receiver.confirming(ext_id)

    def heard(self, stanza: str, attributes: dict[str, str]) -> None:
        """See `Listener`."""
        self._hearing.heard(stanza, time.monotonic())
        if self._looks_back and "offline" in attributes and float(attributes.get("t", "inf")) < self._start.renewed_at:
            self._looks_back = False
            self._wire.say("missed")
        if stanza == "message":
            self._receiver.heard(attributes)

    def groups_changed(self, jid: JID | None) -> None:
        """See `Listener`."""
        self._errand(lambda: self._ask_groups(jid))

    def code(self, text: str) -> None:
        """See `Listener`."""
        if not self._start.link:
            os._exit(EXIT_UNLINKED)
        self._codes += 1
        if not self._start.phone:
            seconds = _FIRST_CODE_SECONDS if self._codes == 1 else _LATER_CODE_SECONDS
            self._wire.say("code", kind="qr", text=text, seconds=seconds)
        elif self._codes == 1:
            self._errand(self._pair)

    def paired(self) -> None:
        """See `Listener`."""
        self._is_me()

    def connected(self) -> None:
        """See `Listener`."""
        self._is_me()
        self._hearing.connected(time.monotonic())
        self._online.set()
        self._wire.news(News(happening="connected"))
        if not self._start.shared:
            self._errand(self._library.show_delivery)
        self._errand(lambda: self._ask_groups(None))
        self._fetcher.wake()

    def caught_up(self) -> None:
        """See `Listener`."""
        self._sender.caught_up.set()

    def doubt(self) -> None:
        """See `Listener`."""
        self._suspicious.set()

    def happened(self, news: News) -> None:
        """See `Listener`."""
        self._online.clear()
        if news.happening == "logged_out":
            account.forget(self._directory)
        self._wire.news(news)

    def _is_me(self) -> None:
        if me := self._library.own():
            account.save(self._directory, me)
            self._people.is_me(me)
            self._wire.say("account", phone=me.phone, lid=me.lid, name=me.name)

    def _stored(self) -> None:
        self._streamer.wake.set()
        self._fetcher.wake()

    # Threads.

    def _connect(self) -> None:
        try:
            self._library.connect()
        except LibraryError as error:
            log.warning("no connection: %s", error)
        os._exit(EXIT_UNREACHABLE)

    def _run_errands(self) -> None:
        while True:
            errand = self._errands.get()
            try:
                errand()
            except LibraryError as error:
                log.warning("%s", error)

    def _errand(self, errand: Callable[[], None]) -> None:
        try:
            self._errands.put_nowait(errand)
        except queue.Full:
            log.warning("too many errands: one was dropped")

    def _watch(self) -> None:
        """Show the host that we live, and find out whether the server still hears us."""
        start = self._start
        pause = min(_BEAT_SECONDS, start.quiet_seconds / 2, start.silence_seconds / 2, start.echo_seconds / 2)
        while True:
            self._wire.say("beat")
            self._give_up_linking()
            doubt = self._suspicious.wait(pause)
            self._suspicious.clear()
            now = time.monotonic()
            if not self._online.is_set():
                continue
            if doubt or self._hearing.is_quiet(now):
                self._ask_server()
            elif self._hearing.is_silent(now):
                self._wire.news(News(happening="silent"))

    def _give_up_linking(self) -> None:
        """When all codes have run out, or there was none, the library says so to nobody and never ends."""
        begun = self._codes or self._hearing.idle(time.monotonic()) > _CODE_SECONDS
        if begun and not self._people.own and not self._library.is_connected:
            os._exit(EXIT_UNREACHABLE)

    def _ask_server(self) -> None:
        answered = threading.Event()

        def ask() -> None:
            try:
                self._library.ask()
            except LibraryError as error:
                log.warning("the server was asked whether it hears us: %s", error)
                if self._online.is_set() and "timed out" in str(error):
                    return
            answered.set()

        threading.Thread(target=ask, daemon=True).start()
        until = time.monotonic() + self._start.answer_seconds
        while not answered.wait(min(_BEAT_SECONDS, self._start.answer_seconds)):
            self._wire.say("beat")
            if time.monotonic() >= until:
                if self._online.is_set():
                    self._wire.news(News(happening="deaf"))
                return
        self._hearing.answered(time.monotonic())

    # Errands.

    def _read(self, chat: str, sender: str, ext_id: str) -> None:
        self._errand(lambda: self._library.mark_read(chat, sender, ext_id))

    def _pair(self) -> None:
        self._wire.say("code", kind="phone", text=self._library.pair(self._start.phone), seconds=180)

    def _ask_groups(self, jid: JID | None) -> None:
        for group in self._library.groups() if jid is None else [self._library.group(jid)]:
            chat = normalise.group_chat(group, self._people)
            known = self._spool.chat(chat.chat)
            timer = group.GroupEphemeral.DisappearingTimer
            about = Chat(route=chat.chat, name=chat.name, expiration=timer, hidden=known.hidden)
            self._spool.note_chat(chat.chat, about)
            self._receiver.chat(chat)

    def _refresh(self, number: int) -> None:
        self._answer(number, lambda: self._ask_groups(None))

    def _logout(self, number: int) -> None:
        if self._answer(number, self._library.logout):
            self.happened(News(happening="logged_out"))

    def _answer(self, number: int, errand: Callable[[], Any]) -> bool:
        problem = ""
        try:
            errand()
        except LibraryError as error:
            problem = str(error)
        self._wire.say("done", id=number, problem=problem)
        return not problem


def _now() -> int:
    """In ms since 1970, as SQLite counts them."""
    return time.time_ns() // 1_000_000


def _surely(name: str, target: Callable[[], None]) -> None:
    """A thread that ends by an error takes the worker with it: the host starts another."""
    try:
        target()
    except SpoolError:
        log.exception("the spool cannot be written")
        os._exit(EXIT_DISK)
    except Exception:
        log.exception("thread %s failed", name)
    os._exit(1)
