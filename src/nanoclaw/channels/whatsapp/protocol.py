"""What host and worker say to each other: JSON objects, each after its length in four bytes.

Neither side knows the other's libraries: nothing of the WhatsApp library's types crosses. Each side says the protocol's
version in its first message. The shapes are those of the dataclasses here; docs/decisions/0010 has the reasons.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from nanoclaw.channels.whatsapp.silence import ECHO_SECONDS, SILENCE_SECONDS
from nanoclaw.clock import iso

VERSION: Final = 1
LARGEST: Final = 4 << 20
"""Bytes of one message: far more than any text that a chat can hold."""
_HEAD: Final = 4
QUIET_SECONDS: Final = 45.0
ANSWER_SECONDS: Final = 20.0
"""Together with the former well below two minutes: within them a connection that hears nothing is replaced."""

UNREADABLE: Final = "[a message came that could not be read; ask for it to be sent again]"
"""The text of a message that was lost, or that made no sense."""

Frame = dict[str, Any]


class ProtocolError(Exception):
    """The other side says what cannot be."""


def pack(frame: Frame) -> bytes:
    """One message, ready for the socket."""
    body = json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    if len(body) > LARGEST:
        raise ProtocolError(f"a message of {len(body)} bytes")
    return len(body).to_bytes(_HEAD, "big") + body


class Unpacker:
    """From bytes as they come to messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The messages that `data` completes.

        Raises:
            ProtocolError: it is too long, or no JSON object.
        """
        self._rest += data
        while len(self._rest) >= _HEAD:
            length = int.from_bytes(self._rest[:_HEAD], "big")
            if length > LARGEST:
                raise ProtocolError(f"a message of {length} bytes")
            if len(self._rest) < _HEAD + length:
                return
            body = bytes(self._rest[_HEAD : _HEAD + length])
            del self._rest[: _HEAD + length]
            yield _object(body)


def _object(body: bytes) -> Frame:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise ProtocolError("a message that is no JSON") from error
    if not isinstance(found, dict):
        raise ProtocolError("a message that is no object")
    return found  # pyright: ignore[reportUnknownVariableType]


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a worker must know before it connects; the first thing that it is told."""

    follow: tuple[str, ...]
    """Chats of which more than name and time is kept."""
    link: bool = False
    """Whether to ask for codes when no account is linked, instead of ending."""
    phone: str = ""
    """Digits: link by a code that is typed on this phone, instead of by QR."""
    shared: bool = False
    """The account is a person's own."""
    read_receipts: bool = True
    media_bytes: int = 25 << 20
    quiet_seconds: float = QUIET_SECONDS
    """After so long without anything but pings, ask the server whether it still hears us."""
    answer_seconds: float = ANSWER_SECONDS
    """How long that answer may take."""
    silence_seconds: float = SILENCE_SECONDS
    """After so long in which the server delivered nothing, say so: the connection is made anew."""
    echo_seconds: float = ECHO_SECONDS
    """After so long without even a receipt for a message of ours, likewise."""
    renewed_at: float = 0.0
    """Seconds since 1970: when that was done last. What the server had kept back then is told of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Who we are there: phone number and hidden address, both without a device."""

    phone: str
    lid: str = ""
    name: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address that means us."""
        hidden = (f"{self.lid}@lid",) if self.lid else ()
        return (f"{self.phone}@s.whatsapp.net", *hidden)


Happening = Literal["connected", "lost", "deaf", "silent", "logged_out", "replaced", "banned", "outdated", "refused"]
"""What a worker tells of its connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """Something happened to the connection."""

    happening: Happening
    detail: str = ""
    until: float | None = None
    """Seconds since 1970: when a ban ends."""


Result = Literal["sent", "unknown", "rejected", "unavailable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a send."""

    key: str
    result: Result
    platform_id: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spooled:
    """One thing that came in; to be acknowledged by `seq` once it is stored for good."""

    seq: int
    kind: str
    """`message`, `edit`, `deletion`, `reaction`, `chat` or `receipt`."""
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    """The fields of the dataclass of that kind in `nanoclaw.model`."""


EXIT_UNREACHABLE: Final = 10
"""Exit status: the server could not be reached."""
EXIT_UNLINKED: Final = 11
"""Exit status: no account is linked."""
EXIT_LOCKED: Final = 12
"""Exit status: another process uses this account's session."""
EXIT_UNUSABLE: Final = 13
"""Exit status: the library cannot be used on this machine."""
EXIT_DISK: Final = 14
"""Exit status: the spool cannot be written; what was not stored was not confirmed to WhatsApp either."""


def body_of(value: Any) -> dict[str, Any]:  # noqa: ANN401  # any of our frozen dataclasses
    """A dataclass as JSON takes it."""
    return {name: _plain(item) for name, item in asdict(value).items()}


def _plain(value: Any) -> Any:  # noqa: ANN401
    match value:
        case datetime():
            return iso(value)
        case Path():
            return str(value)
        case dict():
            return {name: _plain(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value
