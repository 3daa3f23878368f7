"""Accounts, their linked devices and what waits for each, and the faults that can be put on one device."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fakes.whatsapp.noise import KeyPair
from tests.fakes.whatsapp.records import PATIENCE, Named, Records, WireMessage
from tests.fakes.whatsapp.stanza import JID, AttrValue, Node, node, now, show_jid

if TYPE_CHECKING:
    from tests.fakes.whatsapp.connection import Connection

LOGGED_OUT, BANNED, OUTDATED = 401, 402, 405  # why a login may fail, among others that clients know
_LID_DIGITS = 14


class Account:
    """A person (or an assistant) with a phone number, and a LID: the address that does not tell the number."""

    def __init__(self, phone: str, name: str, records: Records) -> None:
        self.phone, self.name, self.records = phone, name, records
        digest = hashlib.sha256(phone.encode()).hexdigest()
        self._lid_user = "1" + str(int(digest, 16))[:_LID_DIGITS]
        self.key = KeyPair()  # the phone's identity, which signs for linked devices
        self.devices: list[Device] = []

    @property
    def pn(self) -> str:
        """The address by phone number."""
        return show_jid(self.jid("pn"))

    @property
    def lid(self) -> str:
        """The address by LID."""
        return show_jid(self.jid("lid"))

    @property
    def device(self) -> "Device":
        """The only linked device."""
        (device,) = self.devices
        return device

    def jid(self, addressing: str, device: int = 0) -> JID:
        """The address, by `lid` or `pn`; device 0 is the person."""
        if addressing == "lid":
            return JID(user=self._lid_user, server="lid", device=device)
        return JID(user=self.phone, server="s.whatsapp.net", device=device)


@dataclass
class Keys:
    """What a device has published, for others to write to it."""

    registration: bytes
    identity: bytes
    signed_prekey: tuple[bytes, bytes, bytes]  # id, key, signature
    prekeys: list[tuple[bytes, bytes]] = field(
        default_factory=list[tuple[bytes, bytes]]
    )  # id, key; each is given out once
    refused: bool = False


@dataclass
class Cut:
    """The plan to cut a connection at a stanza: `left` more of that direction and tag."""

    direction: str
    left: int
    tag: str
    mid_frame: bool

    def is_due(self, direction: str, stanza: Node) -> bool:
        """Count this stanza; whether it is the one."""
        if direction != self.direction or (self.tag and stanza.tag != self.tag):
            return False
        self.left -= 1
        return self.left <= 0


@dataclass
class Faults:
    """What goes wrong for one device; set by the methods of `Device`."""

    cut: Cut | None = None
    acks_held: list[Node] | None = None  # a list while acknowledgements are withheld
    twice: int = 0  # that many next messages are written twice
    delay: float = 0.0  # seconds before each stanza
    failures: list[dict[str, AttrValue]] = field(default_factory=list[dict[str, AttrValue]])  # of the next logins


Waiting = tuple[str, ...]  # what identifies a stanza that waits for its confirmation


class Device(Named):
    """A linked device: where its messages wait, its connection, its faults."""

    def __init__(self, account: Account, number: int, keys: Keys) -> None:
        self.account, self.number, self.keys = account, number, keys
        self.title = ""
        """As it stands among the phone's linked devices."""
        self.connection: Connection | None = None
        self.faults = Faults()
        self.logins = 0
        self._records = account.records
        self._waiting: dict[Waiting, list[Node]] = {}

    @property
    def address(self) -> str:
        """`phone:number`."""
        return f"{self.account.phone}:{self.number}"

    @property
    def online(self) -> bool:
        """Whether it is logged in."""
        return self.connection is not None

    @property
    def waiting(self) -> list[Node]:
        """What it has not confirmed yet, oldest first."""
        return [stanza for stanzas in self._waiting.values() for stanza in stanzas]

    def jid(self, addressing: str) -> JID:
        """Its address, by `lid` or `pn`."""
        return self.account.jid(addressing, self.number)

    async def wait_online(self, logins: int = 1) -> None:
        """Wait until it is logged in, for at least the `logins`-th time.

        Raises:
            TimeoutError: it does not come.
        """
        await self._records.until(lambda: self.online and self.logins >= logins, f"{self.address} is online")

    async def wait_offline(self) -> None:
        """Wait until its connection is gone.

        Raises:
            TimeoutError: it stays.
        """
        await self._records.until(lambda: not self.online, f"{self.address} is offline", PATIENCE)

    # what flows to it

    def deliver(self, stanza: Node) -> None:
        """Give it a stanza that it has to confirm: now if it is online, and again at every login until it has."""
        self._waiting.setdefault(_identity(stanza.tag, stanza, "from"), []).append(stanza)
        self.answer(stanza)

    def answer(self, stanza: Node) -> None:
        """Give it a stanza if it is online."""
        if self.connection is not None:
            self.connection.send(stanza)

    def acknowledge(self, ack: Node) -> None:
        """Tell it that its message was taken, unless acknowledgements are withheld."""
        if self.faults.acks_held is None:
            self.answer(ack)
        else:
            self.faults.acks_held.append(ack)

    def confirm(self, confirmation: Node) -> None:
        """It has confirmed a stanza: by a receipt for a message, else by an ack."""
        if confirmation.tag == "receipt":
            for id in receipt_ids(confirmation):
                self._waiting.pop(("message", id), None)
        else:
            self._waiting.pop(_identity(confirmation.get_str("class"), confirmation, "to"), None)

    # faults

    def drop(self) -> None:
        """Cut the connection now."""
        if self.connection is not None:
            self.connection.abort()

    def drop_after(self, *, sent: int = 0, received: int = 0, tag: str = "", mid_frame: bool = False) -> None:
        """Cut when that many more stanzas (of that tag) have been sent to it, or have been received from it.

        What was received is still handled, but its answer is lost. `mid_frame` cuts within the last of them instead:
        it is lost too.
        """
        direction = "sent" if sent else "received"
        self.faults.cut = Cut(direction, sent or received, tag, mid_frame)

    def hold_acks(self) -> None:
        """Take its messages and pass them on, but do not say so."""
        self.faults.acks_held = []

    def release_acks(self) -> None:
        """Send the withheld acknowledgements, in order, and withhold no more."""
        held, self.faults.acks_held = self.faults.acks_held or [], None
        for ack in held:
            self.answer(ack)

    def deliver_twice(self, count: int = 1) -> None:
        """The next messages reach it twice, as the same ciphertext."""
        self.faults.twice = count

    def ask_resend(self, message: WireMessage) -> None:
        """Have the sender's client send the message to this device again: same id, new ciphertext.

        That is what happens after this device failed to read it; the request is made in its name.
        """
        sender = message.sender
        assert isinstance(sender, Device)
        source: dict[str, AttrValue] = {"from": self.jid("lid")}
        if message.to.endswith("@g.us"):
            source = {"from": JID(user=message.to.partition("@")[0], server="g.us"), "participant": self.jid("lid")}
        retry = node("retry", {"count": 1, "id": message.id, "t": now(), "v": 1})
        content = [retry, node("registration", content=self.keys.registration)]
        sender.deliver(node("receipt", {**source, "id": message.id, "type": "retry", "t": now()}, content))

    def delay(self, seconds: float) -> None:
        """Every stanza to it takes that long from now on."""
        self.faults.delay = seconds

    def deafen(self, *, answer_pings: bool = False) -> None:
        """Its connection stays open, but nothing comes through it any more; a new connection is as good as ever.

        What it says is lost too. With `answer_pings` only what others send stays away: it can still ask and send.
        """
        if self.connection is not None:
            self.connection.deafen(answer_pings=answer_pings)

    def log_out(self) -> None:
        """The phone unlinks it."""
        self.account.devices.remove(self)
        self._end(node("stream:error", {"code": str(LOGGED_OUT)}, [node("conflict", {"type": "device_removed"})]))

    def replace(self) -> None:
        """Its session is in use somewhere else."""
        self._end(node("stream:error", {}, [node("conflict", {"type": "replaced"})]))

    def restart_required(self) -> None:
        """It is told to connect again."""
        self._end(node("stream:error", {"code": "515"}))

    def garbage(self) -> None:
        """Send bytes that are no stanza: the library panics and takes its process along."""
        if self.connection is not None:
            self.connection.send(_GARBAGE)

    def fail_login(self, reason: int, times: int = 1, **attrs: AttrValue) -> None:
        """Its next logins fail with this reason: 400 401 402 403 405 406 409 413 414 415 418 500 501 503."""
        self.faults.failures += [{"reason": str(reason), "location": "test", **attrs}] * times

    def ban(self, code: int = 101, seconds: int = 3600, times: int = 1) -> None:
        """It is cut, and its next logins fail with a temporary ban."""
        self.fail_login(BANNED, times, code=str(code), expire=str(seconds))
        self.drop()

    def outdated(self, times: int = 1) -> None:
        """It is cut, and its next logins fail because its version is too old."""
        self.fail_login(OUTDATED, times)
        self.drop()

    def refuse_prekeys(self, refuse: bool = True) -> None:
        """Others who have no session with it cannot get its keys."""
        self.keys.refused = refuse

    def _end(self, error: Node) -> None:
        if self.connection is not None:
            self.connection.send(error)
            self.connection.close()


# <iq from=…> with an address whose server is again an address, which neonize's decoder takes for a string
_LIST_OF_3, _IQ, _FROM, _ADDRESS, _EMPTY = 0xF8, 0x19, 0x06, 0xFA, 0x00
_GARBAGE = bytes([0, _LIST_OF_3, 3, _IQ, _FROM, _ADDRESS, _EMPTY, _ADDRESS, _EMPTY, _FROM])


def _identity(tag: str, stanza: Node, other: str) -> Waiting:
    """What a stanza and its confirmation have in common; of a message only the id, whoever sent it."""
    names = ("id",) if tag == "message" else ("id", other, "participant", "type")
    values = (stanza.attrs.get(name, "") for name in names)
    return tag, *(show_jid(value) if isinstance(value, JID) else str(value) for value in values)


def receipt_ids(receipt: Node) -> Iterable[str]:
    """The ids of the messages that a receipt is about."""
    yield str(receipt.attrs["id"])
    listed = receipt.get_child("list")
    for item in listed.get_children("item") if listed is not None else []:
        yield str(item.attrs["id"])
