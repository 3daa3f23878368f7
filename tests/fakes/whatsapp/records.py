"""What went over the wire, to be asked by tests: who sent what, who was given it how often, what came back."""

import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from tests.fakes.whatsapp.stanza import Node, show

PATIENCE = 60.0  # seconds: what must happen has happened long before; a busy machine needs 20 s to start three clients
_STANZAS_KEPT = 2000


class Named(Protocol):
    """A device, as far as records need it."""

    @property
    def address(self) -> str:
        """`phone:number`."""
        ...


@dataclass(eq=False)
class WireReceipt:
    """That a device has a message (`delivered`, `inactive`, `sender`), read it (`read`), wants it again (`retry`)."""

    id: str
    sender: Named
    type: str


@dataclass(eq=False)
class WireChatstate:
    """A typing notice; `state` is `composing`, `recording` or `paused`, `to` an address."""

    sender: Named
    to: str
    state: str


@dataclass(eq=False)
class WireMessage:
    """One message stanza by its id; the content is encrypted and nobody's business here."""

    id: str
    sender: Named
    to: str
    type: str  # text, media, reaction, poll…
    edit: str = ""  # "1": edit, "7": deleted by its sender, "8": deleted by an admin, else ""
    encs: list[str] = field(default_factory=list[str])  # kinds of ciphertext: pkmsg, msg, skmsg
    bot: bool = False  # carried the tag that marks its sender as a bot
    sent: int = 0  # how often the sender gave it to us
    acked: bool = False
    delivered: Counter[str] = field(default_factory=Counter[str])  # device address -> how often it was written to it
    confirmed: set[str] = field(default_factory=set[str])  # devices that have said that they have it
    receipts: list[WireReceipt] = field(default_factory=list[WireReceipt])


class Records:
    """Everything seen since the start, and waiting for more of it."""

    def __init__(self) -> None:
        self.messages: list[WireMessage] = []
        self.receipts: list[WireReceipt] = []
        self.chatstates: list[WireChatstate] = []
        self.presences: list[tuple[Named, str]] = []
        self.unknown: list[str] = []
        self.errors: list[str] = []
        self.stanzas: deque[str] = deque(maxlen=_STANZAS_KEPT)
        self._expected: set[str] = set()
        self._by_id: dict[str, list[WireMessage]] = {}
        self._changed = anyio.Event()

    def notify(self) -> None:
        """Something happened: those who wait look again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], object], what: str, within: float = PATIENCE) -> None:
        """Wait until the condition holds; it is looked at after every stanza and every coming and going.

        Raises:
            TimeoutError: it never did; `what` is in the message, with the last stanzas.
        """
        with anyio.move_on_after(within):
            while not condition():
                await self._changed.wait()
            return
        raise TimeoutError(f"not within {within:g} s: {what}\n{self.transcript(40)}")

    def saw(self, arrow: str, address: str, stanza: Node) -> None:
        """Note a stanza; `->` is to the device, `<-` from it."""
        self.stanzas.append(f"{arrow} {address} {show(stanza)}")

    def wrote(self, device: Named, stanza: Node) -> None:
        """A stanza was written to a device: count what it delivers or acknowledges."""
        if stanza.tag == "message":
            for message in self.with_id(str(stanza.attrs["id"])):
                message.delivered[device.address] += 1
        elif stanza.tag == "ack" and stanza.attrs.get("class") == "message":
            message = self.find(str(stanza.attrs["id"]), device)
            if message is not None and "error" not in stanza.attrs:
                message.acked = True

    def transcript(self, last: int = _STANZAS_KEPT) -> str:
        """The last stanzas, one a line."""
        return "\n".join(list(self.stanzas)[-last:])

    def message(self, id: str) -> WireMessage:
        """The message with this id; of several senders' the first.

        Raises:
            KeyError: nobody sent it.
        """
        return self._by_id[id][0]

    def find(self, id: str, sender: Named) -> WireMessage | None:
        """This sender's message with this id."""
        return next((message for message in self._by_id.get(id, []) if message.sender is sender), None)

    def add(self, message: WireMessage) -> None:
        """A message was sent for the first time."""
        self.messages.append(message)
        self._by_id.setdefault(message.id, []).append(message)

    def with_id(self, id: str) -> list[WireMessage]:
        """The messages with this id; more than one only if two senders chose the same."""
        return self._by_id.get(id, [])

    def expect_unknown(self, what: str) -> None:
        """This question, `xmlns/child`, or stanza, its tag, is meant to be unknown to the fake."""
        self._expected.add(what)

    def failure(self, what: str) -> None:
        """The fake itself went wrong: note the exception that is being handled."""
        self.errors.append(f"{what}\n{traceback.format_exc()}")

    def check(self) -> None:
        """Raise an AssertionError if clients said what the fake does not know, or if the fake went wrong."""
        surprises = sorted({entry for entry in self.unknown if entry not in self._expected})
        assert not self.errors, "the fake WhatsApp went wrong:\n" + "\n".join(self.errors)
        assert not surprises, f"the fake WhatsApp does not know {surprises}: teach it, or say expect_unknown(…)"
