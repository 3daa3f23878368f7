"""Linked sessions that are kept: linking takes a client a second or more, copying a file nothing."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.fakes.whatsapp.accounts import Account, Device, Keys
from tests.fakes.whatsapp.world import World


@dataclass(frozen=True)
class Session:
    """A client that was linked and has done nothing since: its database, and what the server knows of it."""

    phone: str
    name: str
    number: int
    keys: Keys
    database: bytes

    @classmethod
    def of(cls, account: Account, database: Path) -> Self:
        """The session of the account's newest device, whose client has ended."""
        device = account.devices[-1]
        return cls(account.phone, account.name, device.number, deepcopy(device.keys), database.read_bytes())

    def adopt(self, world: World, database: Path) -> Device:
        """Write the database, and let the server know the device."""
        database.parent.mkdir(parents=True, exist_ok=True)
        database.write_bytes(self.database)
        database.chmod(0o600)
        account = world.account(self.phone, self.name)
        known = world.device(self.phone, self.number)
        if known is not None:
            return known
        device = Device(account, self.number, deepcopy(self.keys))
        account.devices.append(device)
        return device
