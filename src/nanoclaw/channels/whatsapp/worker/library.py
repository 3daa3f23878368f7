# pyright: reportMissingTypeStubs=false
"""The edge to the WhatsApp library, neonize 0.5.2 (a Python binding of Go's whatsmeow): the only module that calls it.

Three things are done through the library's own log, whose lines it hands over, on the calling thread, *before* it acts:
- A message of ours gets its id inside the library. The line with the stanza tells the id before the stanza leaves; so
  the id is on the disk before anybody can have received the message.
- The library confirms a message to the server beside handing it to us, in either order. The line with the confirmation
  is kept waiting until the message is on the disk; so the server keeps what we did not.
- The line that a message is going to be decrypted is kept waiting while we encrypt; so it is known which changes of the
  keys are a message's (see `underway`).
"""

import ctypes
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import neonize.client as neonize
from neonize import events
from neonize.exc import NeonizeError
from neonize.proto.Neonize_pb2 import JID, GroupInfo, LogEntry, UploadResponse
from neonize.proto.Neonize_pb2 import Message as MessageEvent
from neonize.proto.Neonize_pb2 import Receipt as ReceiptEvent
from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message
from neonize.utils import log as library_log
from neonize.utils.enum import ChatPresence, ChatPresenceMedia, ClientType, MediaType, ReceiptType

from nanoclaw.channels.whatsapp.protocol import Account, News

DEVICE_NAME: Final = "NanoClaw"
"""How we are called among the linked devices on the phone."""

_DECRYPTS: Final = "Decrypting message from "
_DROPPED = re.compile(r"(?:Error decrypting|Ignoring) message (\S+) from ")
_ATTRIBUTE = re.compile(r'([a-z_]+)="([^"]*)"')
_HELD_TYPES: Final = frozenset({"", "inactive", "sender"})  # of confirmations; `retry` and `read` say something else
_UPLOADS: Final = {
    "image": MediaType.MediaImage,
    "video": MediaType.MediaVideo,
    "audio": MediaType.MediaAudio,
    "voice": MediaType.MediaAudio,
    "document": MediaType.MediaDocument,
}
_OUTDATED: Final = "Client outdated"
_BAN_REASONS: Final = {
    1: "too many messages to people who do not have this number in their address book",
    2: "blocked by too many people",
    3: "too many groups made",
    4: "the same message to too many people",
    5: "too many messages to broadcast lists",
}

log = logging.getLogger(__name__)


class LibraryError(Exception):
    """The library, or the server, refused or failed; `str` is its words."""


class Listener(Protocol):
    """Who is told what happens, on the library's threads, one event at a time but for what the log tells."""

    def message(self, event: MessageEvent) -> None:
        """A message came; it is on the disk when this returns."""
        ...

    def receipt(self, event: ReceiptEvent) -> None:
        """Somebody has, or has read, something of ours."""
        ...

    def groups_changed(self, jid: JID | None) -> None:
        """A group is new or another; None: any may be."""
        ...

    def code(self, text: str) -> None:
        """No account is linked; this is the text of a QR code."""
        ...

    def paired(self) -> None:
        """A phone has accepted us."""
        ...

    def connected(self) -> None:
        """We are logged in."""
        ...

    def caught_up(self) -> None:
        """Everything that had waited for us at the server has been handed over."""
        ...

    def happened(self, news: News) -> None:
        """Something else happened to the connection."""
        ...

    def doubt(self) -> None:
        """The server has not answered a ping."""
        ...

    def heard(self, stanza: str, attributes: dict[str, str]) -> None:
        """Something came from the server: its kind and its attributes."""
        ...

    def decrypts(self, sender: str) -> None:
        """A message of this sender's is about to be decrypted: when this returns."""
        ...

    def dropped(self, ext_id: str) -> None:
        """A message could not be decrypted, or was before; it will not be handed over."""
        ...

    def confirming(self, ext_id: str) -> None:
        """A message is about to be confirmed to the server: when this returns."""
        ...


def parse(text: str) -> JID:
    """An address in text as the library takes it."""
    user, _, server = text.partition("@")
    return neonize.build_jid(user, server)


class Library:
    """One client of one account; one in a process."""

    def __init__(self, database: Path, listener: Listener) -> None:
        self._listener = listener
        self._handled = 0
        self._sending = threading.local()
        props = DeviceProps(os=DEVICE_NAME, platformType=DeviceProps.CHROME)
        self._client = neonize.NewClient(str(database), props=props)
        neonize.log_whatsmeow = self._on_log  # the library's own puts lines into a queue: too late for what we do here
        library_log.setLevel(logging.DEBUG)  # the level that it asks Go for
        self._subscribe()

    def connect(self) -> None:
        """Connect and stay so; blocks.

        Raises:
            LibraryError: the first attempt failed; there is no second one (later the library reconnects by itself).
        """
        self._call(self._client.connect)

    def _subscribe(self) -> None:
        """One handler for each event: a second one would replace the first in silence."""
        listener = self._listener
        handlers: dict[Any, Callable[[Any], None]] = {
            events.MessageEv: listener.message,
            events.ReceiptEv: listener.receipt,
            events.JoinedGroupEv: lambda event: listener.groups_changed(event.GroupInfo.JID),
            events.GroupInfoEv: lambda event: listener.groups_changed(event.JID),
            events.PairStatusEv: lambda _event: listener.paired(),
            events.ConnectedEv: lambda _event: listener.connected(),
            events.OfflineSyncCompletedEv: lambda _event: listener.caught_up(),
            events.DisconnectedEv: lambda _event: listener.happened(News(happening="lost")),
            events.KeepAliveTimeoutEv: lambda _event: listener.doubt(),
            events.LoggedOutEv: lambda _event: listener.happened(News(happening="logged_out")),
            events.StreamReplacedEv: lambda _event: listener.happened(News(happening="replaced")),
            events.ClientOutdatedEv: lambda _event: listener.happened(News(happening="outdated")),
            events.ConnectFailureEv: lambda event: listener.happened(
                News(happening="refused", detail=f"{event.Reason} {event.Message}".strip())
            ),
            events.TemporaryBanEv: lambda event: listener.happened(ban(event.Code, event.Expire)),
        }
        for event, handler in handlers.items():
            self._client.event(event)(self._guarded(handler))
        self._client.qr(lambda _client, code: listener.code(code.decode()))

    @property
    def handled(self) -> int:
        """Counts how often an event began and ended to be handled, one after the other: odd while one is."""
        return self._handled

    def _guarded(self, handler: Callable[[Any], None]) -> Callable[[Any, Any], None]:
        """What a handler raises would vanish in the library: let it at least be seen."""

        def guarded(_client: object, event: object) -> None:
            self._handled += 1
            try:
                handler(event)
            except Exception:
                log.exception("a handler failed")
            finally:
                self._handled += 1

        return guarded

    def _on_log(self, binary: int, size: int) -> None:
        entry = LogEntry.FromString(ctypes.string_at(binary, size))
        if entry.Name.endswith("/Send"):
            self._leaving(entry.Message)
        elif entry.Name.endswith("/Recv"):
            stanza, attributes = _stanza(entry.Message)
            self._listener.heard(stanza, attributes)
        elif entry.Message.startswith(_DECRYPTS):
            self._listener.decrypts(entry.Message.removeprefix(_DECRYPTS).partition(" in ")[0])
        else:
            self._note(entry)

    def _note(self, entry: LogEntry) -> None:
        if dropped := _DROPPED.match(entry.Message):
            self._listener.dropped(dropped[1])
        if entry.Level in ("WARN", "ERROR"):
            log.warning("%s: %s", entry.Name, entry.Message)
            if entry.Message.startswith(_OUTDATED):  # while linking, there is no event for it
                self._listener.happened(News(happening="outdated"))

    def _leaving(self, line: str) -> None:
        if line.startswith("<message "):
            on_wire: Callable[[str], None] | None = getattr(self._sending, "on_wire", None)
            _, attributes = _stanza(line)
            if on_wire and attributes.get("category") != "peer":
                self._sending.on_wire = None
                on_wire(attributes["id"])
        elif line.startswith("<receipt "):
            _, attributes = _stanza(line)
            if attributes.get("type", "") in _HELD_TYPES:
                self._listener.confirming(attributes["id"])

    def own(self) -> Account | None:
        """Who we are; None while nobody is linked."""
        device = self._client.get_me()
        if not device.JID.User:
            return None
        return Account(phone=device.JID.User, lid=device.LID.User, name=device.PushName)

    def pair(self, phone: str) -> str:
        """Ask for a code that is to be typed on the phone with this number (digits)."""
        return self._call(self._client.PairPhone, phone, show_push_notification=True, client_type=ClientType.CHROME)

    def logout(self) -> None:
        """Remove this device from the account."""
        self._call(self._client.logout)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection; without a linked account too."""
        return self._client.is_connected

    def ask(self) -> None:
        """Ask the server something whose answer shows that it hears us: to send us what comes at once, as it does."""
        self._call(self._client.set_passive, False)

    def show_delivery(self) -> None:
        """Let people see two ticks for what reached us, though we are not `online`."""
        self._call(self._client.set_force_activate_delivery_receipts, True)

    def send(self, chat: str, message: Message, on_wire: Callable[[str], None]) -> str:
        """Send and wait for the server's acknowledgement; answers the id. `on_wire` gets it just before it leaves."""
        self._sending.on_wire = on_wire
        try:
            return self._call(self._client.send_message, parse(chat), message).ID
        finally:
            self._sending.on_wire = None

    def reaction(self, chat: str, sender: str, ext_id: str, emoji: str) -> Message:
        """A reaction to a message of somebody's."""
        return self._call(self._client.build_reaction, parse(chat), parse(sender), ext_id, emoji)

    def upload(self, data: bytes, kind: str) -> UploadResponse:
        """Bring a file to the platform's servers, encrypted."""
        return self._call(self._client.upload, data, _UPLOADS[kind])

    def download(self, message: Message) -> bytes:
        """The file of a message; its hash has been checked."""
        return self._call(self._client.download_any, message) or b""

    def typing(self, chat: str, *, typing: bool) -> None:
        """Show or hide that we type."""
        state = ChatPresence.CHAT_PRESENCE_COMPOSING if typing else ChatPresence.CHAT_PRESENCE_PAUSED
        self._call(self._client.send_chat_presence, parse(chat), state, ChatPresenceMedia.CHAT_PRESENCE_MEDIA_TEXT)

    def mark_read(self, chat: str, sender: str, ext_id: str) -> None:
        """Show somebody that their message was read."""
        self._call(self._client.mark_read, ext_id, chat=parse(chat), sender=parse(sender), receipt=ReceiptType.READ)

    def groups(self) -> Sequence[GroupInfo]:
        """Every group that the account is in."""
        return self._call(self._client.get_joined_groups)

    def group(self, jid: JID) -> GroupInfo:
        """One group."""
        return self._call(self._client.get_group_info, jid)

    def _call(self, method: Callable[..., Any], *args: object, **named: object) -> Any:  # noqa: ANN401
        """The library raises what it likes, most of it its own."""
        try:
            return method(*args, **named)
        except (NeonizeError, OSError, ValueError, AttributeError, TypeError) as error:
            raise LibraryError(str(error) or type(error).__name__) from error


def ban(code: int, expire: int) -> News:
    """What is told of a ban; `expire`: its length in seconds, 0 if that is not known."""
    return News(happening="banned", detail=_BAN_REASONS.get(code, ""), until=time.time() + expire if expire else None)


def _stanza(line: str) -> tuple[str, dict[str, str]]:
    """The kind and the attributes of a stanza's outermost element, as the library's log shows it."""
    head = line.partition(">")[0]
    return head.partition(" ")[0].strip("<>/"), dict(_ATTRIBUTE.findall(head))
