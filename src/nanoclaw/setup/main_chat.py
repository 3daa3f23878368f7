"""Where the owner talks to the assistant: the chat of `main`."""

from collections.abc import Iterable
from typing import Final

import anyio

from nanoclaw.channels.whatsapp.channel import DOMAINS
from nanoclaw.client import tell_host
from nanoclaw.config import Home
from nanoclaw.groups import Entries, change_groups
from nanoclaw.model import MAIN_FOLDER, Jid
from nanoclaw.setup import chats
from nanoclaw.setup.settings_file import change_settings
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding, Option
from nanoclaw.setup.whatsapp import no_phone

_LOCAL: Final = Jid("local:main")
_SELF: Final = "self"
_PERSON: Final = "person"
_EVERYBODY: Final = "everybody"


class MainChat:
    """Main's chat, on WhatsApp if that is used."""

    name = "main"
    title = "Main chat"

    def look(self, setup: Setup) -> Finding:
        """It is on WhatsApp, or WhatsApp is not used, or somebody wants it here all the same."""
        main = setup.main
        assert main is not None
        wanted = setup.talk.given("main")
        if main.jid.endswith(DOMAINS):
            done = wanted in (None, main.jid, main.name) or setup.memory.recall("main") == wanted
            return Finding(done=done, what=f"{main.name}, in WhatsApp")
        if not setup.settings.whatsapp.enabled or setup.memory.recall("main") == _LOCAL:
            return Finding(done=True, what="on this machine: `nanoclaw chat`, or the page")
        return Finding(done=False, what="so far on this machine alone")

    def needs(self, setup: Setup) -> Iterable[str]:
        """Which, when WhatsApp is wanted."""
        linking = setup.talk.given("whatsapp") == "yes" or setup.settings.whatsapp.enabled
        on_whatsapp = setup.main is not None and setup.main.jid.endswith(DOMAINS)
        if not linking or on_whatsapp:
            return
        main = setup.talk.given("main")
        if main is None:
            yield "--main self, local, a phone number, or a group's name"
        elif main not in (_SELF, "local") and no_phone(main) and setup.talk.given("owner") is None:
            yield "--owner a phone number, or everybody"

    def do(self, setup: Setup) -> None:
        """Let the person choose among the account's groups and the chats of two."""
        setup.talk.say("Main is where you give orders. Whoever writes there has power over the assistant.")
        shared = setup.settings.whatsapp.shared_number
        groups = chats.whatsapp_groups(setup)
        person = Option(value=_PERSON, text="a chat of you and the assistant alone")
        own = Option(value=_SELF, text="your chat with yourself")
        here = Option(value=_LOCAL, text="none: on this machine")
        first = own if shared else person
        chosen = self._choice(setup, [first, *chats.options(groups), here], first.value)
        names = {chat.jid: chat.name for chat in groups}
        owner = _owner(setup) if chosen in names else None
        if owner:
            change_settings(setup.home, {"owners": (owner,)})
        if chosen != _LOCAL:
            move_main(setup.home, Jid(chosen), names.get(Jid(chosen), "Main"))
        setup.memory.remember(main=setup.talk.given("main") or chosen)

    def _choice(self, setup: Setup, options: list[Option], default: str) -> str:
        wanted = setup.talk.given("main")
        if wanted is not None and not no_phone(wanted):
            return chats.chat_with(wanted)
        if wanted == "local":
            return _LOCAL
        chosen = setup.talk.choose("main", "Which chat shall be main?", options, default)
        if chosen == _PERSON:
            phone = setup.talk.ask("owner", "Your phone number, with country code", None, no_phone)
            return chats.chat_with(phone)
        return (chats.own_chat(setup.home) or _LOCAL) if chosen == _SELF else chosen


def move_main(home: Home, jid: Jid, name: str) -> None:
    """Main keeps everything but its address and its name."""

    def change(entries: Entries) -> None:
        old = next(each for each, entry in entries.items() if entry.get("folder") == MAIN_FOLDER)
        entries[jid] = {**entries.pop(old), "name": name}

    change_groups(home.registered_groups, change)
    anyio.run(tell_host, home)


def _owner(setup: Setup) -> str:
    """The phone number of whoever alone is obeyed in a group that others may write to; empty: everybody is."""
    own = chats.own_chat(setup.home) if setup.settings.whatsapp.shared_number else None
    setup.talk.say("If others write in that group too, say who you are: then only you are obeyed there.")
    otherwise = _EVERYBODY if setup.talk.asks else None
    default = own.partition("@")[0] if own else otherwise
    question = f"Your phone number, with country code, or: {_EVERYBODY}"
    owner = setup.talk.ask("owner", question, default, _no_owner)
    return "" if owner == _EVERYBODY else "".join(character for character in owner if character.isdigit())


def _no_owner(answer: str) -> str:
    return "" if answer == _EVERYBODY else no_phone(answer)
