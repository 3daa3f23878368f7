"""What the fake server knows: accounts, groups, clients that wait to be linked, records. It outlives a restart."""

from typing import TYPE_CHECKING

from tests.fakes.whatsapp.accounts import Account, Device
from tests.fakes.whatsapp.groups import Group
from tests.fakes.whatsapp.records import Records
from tests.fakes.whatsapp.stanza import JID, AttrValue

if TYPE_CHECKING:
    from tests.fakes.whatsapp.connection import Connection
    from tests.fakes.whatsapp.linking import CodePairing

CODES_OFFERED = 6  # that many QR codes does WhatsApp give to a client that wants to be linked


class World:
    """The state of the fake."""

    def __init__(self) -> None:
        self.records = Records()
        self.accounts: dict[str, Account] = {}  # by phone
        self.groups: dict[str, Group] = {}  # by jid
        self.unlinked: dict[str, Connection] = {}  # by the reference in the QR code
        self.code_pairings: dict[str, CodePairing] = {}  # by phone, while somebody is linking with a code
        self.failures: list[dict[str, AttrValue]] = []  # of the next connections, whoever they are
        self.qr_refs = CODES_OFFERED
        self.direct_addressing = "lid"
        self.ahead = 0  # seconds by which messages say that they were sent later

    def account(self, phone: str, name: str = "") -> Account:
        """The account with this number, made if it is new; a name given later replaces the one it had."""
        account = self.accounts.setdefault(phone, Account(phone, name or phone, self.records))
        account.name = name or account.name
        return account

    def account_of(self, jid: JID) -> Account | None:
        """Whose address that is, by phone number or LID."""
        if jid.server == "lid":
            return next((account for account in self.accounts.values() if account.jid("lid").user == jid.user), None)
        return self.accounts.get(jid.user)

    def device(self, phone: str, number: int) -> Device | None:
        """That linked device."""
        account = self.accounts.get(phone)
        return next((device for device in account.devices if device.number == number), None) if account else None

    def device_of(self, jid: JID) -> Device | None:
        """The linked device with this address."""
        account = self.account_of(jid)
        return self.device(account.phone, jid.device) if account is not None else None
