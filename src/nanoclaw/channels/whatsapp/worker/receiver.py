"""Everything that comes in, on the library's threads: onto the disk before anything else happens to it."""

import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from neonize.proto.Neonize_pb2 import JID, MessageInfo, MessageSource
from neonize.proto.Neonize_pb2 import Message as MessageEvent
from neonize.proto.Neonize_pb2 import Receipt as ReceiptEvent

from nanoclaw.channels.whatsapp.protocol import EXIT_DISK, body_of
from nanoclaw.channels.whatsapp.worker import normalise
from nanoclaw.channels.whatsapp.worker.content import Content, is_key_only, unwrap
from nanoclaw.channels.whatsapp.worker.people import People
from nanoclaw.channels.whatsapp.worker.spool import Chat, Spool, SpoolError
from nanoclaw.channels.whatsapp.worker.underway import Underway
from nanoclaw.clock import iso
from nanoclaw.model import Inbound, InboundChat, InboundDeletion, InboundEdit, InboundMessage, InboundReaction

_NAP_SECONDS: Final = 0.1
_IDLE_NAPS: Final = 50  # counted, not timed: a process that was stopped, or a laptop that slept, has not waited
_REMEMBERED: Final = 1024  # messages under way at once: after a long absence the server sends hundreds
_CHAT_NEWS_SECONDS: Final = 60.0  # for chats that are not followed: not each message needs a line on the disk
_EDIT_SECONDS: Final = 20 * 60.0  # the apps offer 15 minutes; the library takes 20, the server says when
_DELETION_SECONDS: Final = 3 * 86_400.0  # the apps offer some 60 hours
_KINDS: Final[dict[type[Inbound], str]] = {
    InboundMessage: "message",
    InboundEdit: "edit",
    InboundDeletion: "deletion",
    InboundReaction: "reaction",
    InboundChat: "chat",
}
_REACHED: Final = {
    ReceiptEvent.DELIVERED: "device",
    ReceiptEvent.INACTIVE: "device",
    ReceiptEvent.READ: "read",
    ReceiptEvent.PLAYED: "read",
}

log = logging.getLogger(__name__)


class Arrivals:
    """Which messages the library has handed over, for those who wait for it."""

    def __init__(self, nap: float = _NAP_SECONDS) -> None:
        self._nap = nap
        self._lock = threading.Lock()
        self._events: OrderedDict[str, threading.Event] = OrderedDict()

    def _event(self, ext_id: str) -> threading.Event:
        with self._lock:
            event = self._events.setdefault(ext_id, threading.Event())
            while len(self._events) > _REMEMBERED:
                self._events.popitem(last=False)
        return event

    def note(self, ext_id: str) -> None:
        """It is on the disk, or there is nothing in it for us."""
        self._event(ext_id).set()

    def wait(self, ext_id: str, handled: Callable[[], int]) -> bool:
        """Whether it came, or never will; nobody waits for it again.

        What the library confirms it has already put into its queue, behind up to a hundred events, each of which may
        take a slow disk a while. So a message will not come any more only when, for `_IDLE_NAPS` naps on end, no event
        was handled: `handled` (see `Library`) was even and the same.
        """
        event = self._event(ext_id)
        idle, before = 0, handled()
        while idle < _IDLE_NAPS and not event.wait(self._nap):
            now = handled()
            idle = idle + 1 if now == before and now % 2 == 0 else 0
            before = now
        with self._lock:
            self._events.pop(ext_id, None)
        return event.is_set()


class Receiver:
    """The part of a `library.Listener` that fills the spool."""

    def __init__(
        self,
        spool: Spool,
        people: People,
        underway: Underway,
        media_bytes: int,
        stored: Callable[[], None],
        handled: Callable[[], int],
    ) -> None:
        """`stored` is called after each thing that was stored; `handled` is the library's."""
        self._spool = spool
        self._people = people
        self._underway = underway
        self._media_bytes = media_bytes
        self._stored = stored
        self._handled = handled
        self._arrivals = Arrivals()
        self._headers: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._told: dict[str, tuple[InboundChat, float]] = {}

    def message(self, event: MessageEvent) -> None:
        """A message came. What cannot be understood is told as such, not dropped."""
        if is_key_only(event.Message):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            return
        try:
            try:
                self._take(event)
            except SpoolError:
                raise
            except Exception:
                log.exception("message %s could not be read", event.Info.ID)
                self._put(normalise.unreadable(event, self._people), event)
        except SpoolError:
            log.exception("the spool cannot be written")
            os._exit(EXIT_DISK)
        self._underway.stored(event.Info.ID)
        self._arrivals.note(event.Info.ID)

    def _take(self, event: MessageEvent) -> None:
        inbound, says = normalise.normalise(event, self._people)
        if normalise.is_chat(event.Info.MessageSource):
            self._note_chat(event, says)
        match inbound:
            case None:
                self._seen(event)
            case InboundChat():
                self.chat(inbound)
                self._seen(event)
            case InboundMessage():
                self._put(inbound, event, says)
            case InboundEdit() | InboundDeletion() if self._is_late(inbound):
                log.info("a change of %s came too late and changes nothing", inbound.ext_id)
                self._seen(event)
            case _:
                self._put(inbound)
                self._seen(event)

    def _seen(self, event: MessageEvent) -> None:
        """It was here, and is nothing to keep, or has been kept."""
        self._spool.note_seen(event.Info.ID, safe=self._underway.safe_with(event.Info.ID))

    def _is_late(self, change: InboundEdit | InboundDeletion) -> bool:
        """Whether WhatsApp's own programs would not take it any more, and so nobody in the chat sees it."""
        written = self._spool.written(change.ext_id, change.chat, change.sender)
        window = _EDIT_SECONDS if isinstance(change, InboundEdit) else _DELETION_SECONDS
        return written is not None and change.at.timestamp() - written > window

    def _put(self, inbound: Inbound, event: MessageEvent | None = None, says: Content | None = None) -> None:
        body = body_of(inbound)
        raw: bytes | None = None
        if event and says and says.media and not says.media.seen_once:
            if says.media.size > self._media_bytes:
                body["attachments"][0]["problem"] = f"it is larger than {self._media_bytes >> 20} MB"
            else:
                inner, _ = unwrap(event.Message)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
                raw = inner.SerializeToString()
        at = inbound.sent_at.timestamp() if isinstance(inbound, InboundMessage) else None
        origin = _origin(event) if says and event else ""
        safe = self._underway.safe_with(event.Info.ID) if event else None
        self._spool.put(_KINDS[type(inbound)], body, origin=origin, raw=raw, at=at, safe=safe)
        self._stored()

    def _note_chat(self, event: MessageEvent, says: Content) -> None:
        """Remember how the chat is addressed, and after how long its messages disappear."""
        source = event.Info.MessageSource
        chat = normalise.chat_of(source, self._people)
        known = self._spool.chat(chat)
        route = normalise.address(source.Chat)
        hidden = source.Sender.Server == "lid"
        expiration = known.expiration if says.expiration is None else says.expiration
        self._spool.note_chat(chat, Chat(route=route, name=known.name, expiration=expiration, hidden=hidden))

    def chat(self, chat: InboundChat) -> None:
        """A chat exists, or is another than it was."""
        known, at = self._told.get(chat.chat, (None, 0.0))
        same = known is not None and replace(known, active_at=chat.active_at) == chat
        if same and time.monotonic() - at < _CHAT_NEWS_SECONDS:
            return
        self._told[chat.chat] = (chat, time.monotonic())
        self._put(chat)

    def receipt(self, event: ReceiptEvent) -> None:
        """Somebody has, or has read, something of ours."""
        state = _REACHED.get(event.Type)
        if state is None or event.MessageSource.IsFromMe:
            return
        at = iso(normalise.instant(event.Timestamp))
        told = [self._spool.reached(ext_id, state, at) for ext_id in event.MessageIDs]
        if any(told):
            self._stored()

    def heard(self, attributes: dict[str, str]) -> None:
        """The server has sent a message with these attributes; the library has not looked at it yet."""
        if "id" in attributes:
            self._underway.heard(attributes)
            self._headers[attributes["id"]] = attributes
            while len(self._headers) > _REMEMBERED:
                self._headers.popitem(last=False)

    def confirming(self, ext_id: str) -> None:
        """Return once the message is on the disk, as the server forgets it then.

        What the library confirms without having handed it over came before and was lost: it had been decrypted, which
        works once, and the worker was killed before it was on the disk. Somebody must be told.
        """
        came = self._spool.has_seen(ext_id) or self._arrivals.wait(ext_id, self._handled)
        header = self._headers.pop(ext_id, None)
        if not came and not self._spool.has_seen(ext_id):
            self._tell_of_loss(ext_id, header)
        safe = self._underway.over(ext_id)
        if safe is not None:
            self._spool.note_safe(safe)

    def _tell_of_loss(self, ext_id: str, header: dict[str, str] | None) -> None:
        if header and header.get("type") in ("text", "media") and not header.get("edit") and "category" not in header:
            event = _event_of(header)
            if normalise.is_chat(event.Info.MessageSource):
                chat = normalise.chat_of(event.Info.MessageSource, self._people)
                if self._people.follows(chat):
                    log.warning("message %s was lost", ext_id)
                    self._put(normalise.unreadable(event, self._people))


def _origin(event: MessageEvent) -> str:
    source = event.Info.MessageSource
    if source.IsFromMe:
        return ""
    return json.dumps([normalise.address(source.Chat), normalise.address(source.Sender), event.Info.ID])


def _event_of(header: dict[str, str]) -> MessageEvent:
    """The envelope of a message, from the attributes of its stanza."""
    is_group = "participant" in header
    sender = header["participant"] if is_group else header["from"]
    alternate = header.get("participant_pn" if is_group else "sender_pn", "")
    source = MessageSource(
        Chat=_jid(header["from"]), Sender=_jid(sender), SenderAlt=_jid(alternate), IsGroup=is_group, IsFromMe=False
    )
    info = MessageInfo(
        ID=header["id"], Pushname=header.get("notify", ""), Timestamp=int(header.get("t", "0")), MessageSource=source
    )
    return MessageEvent(Info=info)


def _jid(text: str) -> JID:
    user, _, server = normalise.bare(text).partition("@")
    return JID(User=user, Server=server)
