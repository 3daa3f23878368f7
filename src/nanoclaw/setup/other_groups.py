"""Further chats, each with its own agent."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Final, cast

import anyio

from nanoclaw.client import tell_host
from nanoclaw.clock import SystemClock, iso
from nanoclaw.errors import UsageError
from nanoclaw.firstfiles import make_group_directory
from nanoclaw.groups import RESERVED_FOLDERS, Entries, change_groups, new_entry
from nanoclaw.model import RegisteredGroup
from nanoclaw.providers import PROVIDERS, ProviderName
from nanoclaw.setup import chats
from nanoclaw.setup.sign_in import PROVIDER_OPTIONS, sign_in
from nanoclaw.setup.step import Chat, Setup
from nanoclaw.setup.talk import Finding

_NONE: Final = "none"
_LONGEST_FOLDER: Final = 40


class OtherGroups:
    """Groups besides `main`, as many as the person wants."""

    name = "groups"
    title = "Other groups"

    def look(self, setup: Setup) -> Finding:
        """Somebody has chosen, or there is nothing to choose from."""
        others = ", ".join(_described(group) for group in setup.groups if not group.is_main)
        if not setup.settings.whatsapp.enabled:
            return Finding(done=True, what=others or "none; `nanoclaw groups add` adds one")
        asked, decided = setup.talk.given("groups"), setup.memory.recall("groups")
        done = decided == asked if asked else decided is not None or not setup.talk.asks
        return Finding(done=done, what=others or _NONE)

    def needs(self, setup: Setup) -> Iterable[str]:
        """Nothing: none is fine."""
        return ()

    def do(self, setup: Setup) -> None:
        """Let the person choose among the account's groups, and who thinks in each."""
        registered = {group.jid for group in setup.groups}
        there = [chat for chat in chats.whatsapp_groups(setup) if chat.jid not in registered]
        for number, chat in enumerate(there, 1):
            setup.talk.say(f"{number:3}  {chat.name}")
        setup.talk.say("In other groups the assistant answers when a message begins with its name.")
        asked = f"Which shall it be in? Numbers or names with commas between them, or: {_NONE}"
        answer = setup.talk.ask("groups", asked, _NONE, lambda text: _unclear(text, there))
        for chat in picked(answer, there):
            _register(setup, chat)
        anyio.run(tell_host, setup.home)
        setup.memory.remember(groups=answer)


def picked(answer: str, there: Sequence[Chat]) -> list[Chat]:
    """The chats that numbers, names and addresses mean; names by their whole or, if that is clear, by a part.

    Raises:
        UsageError: one of them means none, or several.
    """
    if answer.strip().lower() in ("", _NONE):
        return []
    return list(dict.fromkeys(_one(word.strip(), there) for word in answer.split(",") if word.strip()))


def _one(word: str, there: Sequence[Chat]) -> Chat:
    if word.isascii() and word.isdigit() and 1 <= int(word) <= len(there):
        return there[int(word) - 1]
    exact = [chat for chat in there if word.casefold() in (chat.name.casefold(), chat.jid.casefold())]
    found = exact or [chat for chat in there if word.casefold() in chat.name.casefold()]
    if len(found) != 1:
        raise UsageError(f"{word} means {'no' if not found else 'more than one'} group", "give its number")
    return found[0]


def folder_for(name: str, taken: Collection[str]) -> str:
    """A folder's name for a group's name, of those that are free: `Family & friends` → `family-friends`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST_FOLDER].strip("-") or "group"
    names = (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    return next(each for each in names if each not in taken and each not in RESERVED_FOLDERS)


def _register(setup: Setup, chat: Chat) -> None:
    main = setup.main
    assert main is not None
    question = f"Who thinks in {chat.name}?"
    provider = cast("ProviderName", setup.talk.choose("group-provider", question, PROVIDER_OPTIONS, main.provider))
    sign_in(setup, provider)
    folder = folder_for(chat.name, {group.folder for group in setup.groups})
    entry = new_entry(chat.name, folder, f"@{setup.settings.assistant_name}", iso(SystemClock().now()))

    def change(entries: Entries) -> None:
        entries.setdefault(chat.jid, {**entry, "provider": provider})

    change_groups(setup.home.registered_groups, change)
    make_group_directory(setup.home, folder)


def _unclear(answer: str, there: Sequence[Chat]) -> str:
    try:
        picked(answer, there)
    except UsageError as error:
        return str(error)
    return ""


def _described(group: RegisteredGroup) -> str:
    return f"{group.name} ({PROVIDERS[group.provider].title})"
