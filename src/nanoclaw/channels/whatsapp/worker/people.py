"""Who is who in this account: what `normalise` asks, out of the spool."""

from collections.abc import Sequence

from nanoclaw.channels.whatsapp.protocol import Account
from nanoclaw.channels.whatsapp.worker.spool import Spool
from nanoclaw.model import Jid


class People:
    """A `normalise.Directory`."""

    def __init__(self, spool: Spool, account: Account | None, *, shared: bool) -> None:
        self._spool = spool
        self._follow: frozenset[str] = frozenset()
        self.own: Sequence[str] = account.addresses if account else ()
        self.shared = shared

    def is_me(self, account: Account) -> None:
        """This is the account that is linked."""
        self.own = account.addresses

    def follow(self, chats: Sequence[str]) -> None:
        """These chats' content is kept."""
        self._follow = frozenset(chats)

    def person(self, addresses: Sequence[str], name: str = "") -> str:
        """See `Directory`."""
        return self._spool.person(addresses, name)

    def chat(self, addresses: Sequence[str]) -> Jid:
        """The address under which the chat is registered, whichever of the person's that is; else the person's."""
        person = self._spool.person(addresses)
        for address in (*addresses, *self._spool.addresses(person)):
            if address in self._follow:
                return Jid(address)
        return Jid(person)

    def name(self, address: str) -> str:
        """See `Directory`."""
        return self._spool.chat(address).name or self._spool.name(address)

    def follows(self, chat: Jid) -> bool:
        """See `Directory`."""
        return chat in self._follow

    def is_ours(self, ext_id: str) -> bool:
        """See `Directory`."""
        return self._spool.is_ours(ext_id)
