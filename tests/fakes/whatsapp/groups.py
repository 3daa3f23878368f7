"""Groups: who is in them, what they are called, and what their members are told when that changes."""

import secrets
from collections.abc import Iterable, Sequence

from tests.fakes.whatsapp.accounts import Account, Device
from tests.fakes.whatsapp.stanza import JID, AttrValue, Node, free_text, node, now

_ID_DIGITS = 18


class Group:
    """A group; its creator administers it.

    A change is made by an account, as if on its phone; `device` is the linked device that asked for it, which gets an
    answer and not the notification.
    """

    def __init__(self, subject: str, by: Account, members: Sequence[Account]) -> None:
        self.id = f"120363{secrets.randbelow(10 ** (_ID_DIGITS - 6)):012d}"
        self.subject, self.creator = subject, by
        self.members: list[Account] = list(dict.fromkeys([by, *members]))
        self.addressing = "lid"
        self.expiration = 0  # seconds after which messages disappear; 0 is never
        self._created = self._subject_set = now()
        self._subject_by = by

    @property
    def jid(self) -> str:
        """The address."""
        return f"{self.id}@g.us"

    @property
    def address(self) -> JID:
        """The address, for a stanza."""
        return JID(user=self.id, server="g.us")

    def describe(self) -> Node:
        """Everything about it, as clients ask for it."""
        attrs: dict[str, AttrValue] = {
            "id": self.id,
            "creator": self.creator.jid(self.addressing),
            "creation": self._created,
            **self._subject_attrs(),
            "addressing_mode": self.addressing,
        }
        ephemeral = [node("ephemeral", {"expiration": self.expiration})] if self.expiration else []
        return node("group", attrs, [*map(self._participant, self.members), *ephemeral])

    def announce(self, by: Account, device: Device | None = None) -> None:
        """Tell its members that it was made."""
        self._notify(node("create", {"type": "new", "key": secrets.token_hex(8)}, [self.describe()]), by, device)

    def rename(self, subject: str, by: Account, device: Device | None = None) -> None:
        """Give it another name."""
        self.subject, self._subject_set, self._subject_by = subject, now(), by
        self._notify(node("subject", self._subject_attrs()), by, device)

    def add(self, account: Account, by: Account, device: Device | None = None) -> None:
        """Take somebody in."""
        newcomer = account not in self.members
        if newcomer:
            self.members.append(account)
        self._notify(node("add", {}, [self._participant(account)]), by, device)

    def remove(self, account: Account, by: Account, device: Device | None = None) -> None:
        """Put somebody out, or let them leave; they are told too."""
        removed = node("remove", {}, [self._participant(account)])
        self._notify(removed, by, device)
        if account in self.members:
            self.members.remove(account)

    def set_expiration(self, seconds: int, by: Account, device: Device | None = None) -> None:
        """Let messages disappear after that time; 0 is never."""
        self.expiration = seconds
        change = node("ephemeral", {"expiration": seconds}) if seconds else node("not_ephemeral")
        self._notify(change, by, device)

    def devices(self, but: Device | None = None) -> Iterable[Device]:
        """Every linked device of every member, but that one."""
        return (device for member in self.members for device in member.devices if device is not but)

    def _notify(self, change: Node, by: Account, device: Device | None) -> None:
        attrs: dict[str, AttrValue] = {
            "from": self.address,
            "type": "w:gp2",
            "id": secrets.token_hex(8),
            "t": now(),
            "notify": free_text(by.name),
            "addressing_mode": self.addressing,
            "participant": by.jid(self.addressing),
            "participant_pn": by.jid("pn"),
        }
        for recipient in self.devices(but=device):
            recipient.deliver(node("notification", attrs, [change]))

    def _subject_attrs(self) -> dict[str, AttrValue]:
        setter = self._subject_by.jid(self.addressing)
        return {"subject": free_text(self.subject), "s_t": self._subject_set, "s_o": setter}

    def _participant(self, account: Account) -> Node:
        attrs: dict[str, AttrValue] = {"jid": account.jid(self.addressing)}
        if self.addressing == "lid":
            attrs["phone_number"] = account.jid("pn")
        else:
            attrs["lid"] = account.jid("lid")
        if account is self.creator:
            attrs["type"] = "superadmin"
        return node("participant", attrs)
