"""Which chats there are to choose from."""

from collections.abc import Sequence
from typing import Any, Final

import anyio

from nanoclaw.channels.whatsapp import account
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home
from nanoclaw.errors import HostError
from nanoclaw.formatting import shorten
from nanoclaw.model import Jid
from nanoclaw.setup.hosting import a_host, connected
from nanoclaw.setup.step import Chat, Setup
from nanoclaw.setup.talk import Option
from nanoclaw.store.database import connect
from nanoclaw.store.messages import known_chats

_LONGEST_NAME: Final = 50
_DOMAIN: Final = "@s.whatsapp.net"


def whatsapp_groups(setup: Setup) -> list[Chat]:
    """The groups that the linked account is in, the liveliest first; asks WhatsApp, once.

    Raises:
        HostError: it cannot be asked.
    """
    if setup.chats is None:
        with setup.talk.progress("Asking WhatsApp for its groups"):
            setup.chats = anyio.run(_ask, setup.home)
    return setup.chats


async def _ask(home: Home) -> list[Chat]:
    async with a_host(home) as client:
        await connected(client)
        answer: dict[str, Any] = await client.post("/v1/commands", {"type": "refresh_groups"})
        if away := answer.get("unavailable"):
            raise HostError(f"WhatsApp does not tell its groups: {'; '.join(away.values())}", "try again")
    return await anyio.to_thread.run_sync(_known, home)


def _known(home: Home) -> list[Chat]:
    db = connect(home.database, SystemClock().now())
    try:
        known = [chat for chat in known_chats(db) if chat.jid.endswith("@g.us")]
    finally:
        db.close()
    return [Chat(jid=chat.jid, name=shorten(chat.name, _LONGEST_NAME) or chat.jid) for chat in known]


def own_chat(home: Home) -> Jid | None:
    """The chat of the linked account with itself."""
    linked = account.load(home.whatsapp)
    return Jid(linked.addresses[0]) if linked else None


def chat_with(phone: str) -> Jid:
    """The chat with a person, by phone number."""
    return Jid("".join(character for character in phone if character.isdigit()) + _DOMAIN)


def options(chats: Sequence[Chat]) -> list[Option]:
    """To choose from."""
    return [Option(value=chat.jid, text=chat.name) for chat in chats]
