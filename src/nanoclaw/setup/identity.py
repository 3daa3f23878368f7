"""What the assistant is called, and whose clock it goes by."""

from collections.abc import Iterable
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import anyio

from nanoclaw.client import running_since
from nanoclaw.config import machine_timezone
from nanoclaw.groups import Entries, change_groups
from nanoclaw.setup.settings_file import Value, change_settings
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding

_LONGEST_NAME: Final = 30


class Identity:
    """Name and time zone."""

    name = "name"
    title = "Name and time zone"

    def look(self, setup: Setup) -> Finding:
        """Somebody has confirmed them."""
        settings = setup.settings
        asked = (setup.talk.given("name"), setup.talk.given("timezone"))
        differs = any(want not in (None, have) for want, have in zip(asked, _names(setup), strict=True))
        name, zone = _names(setup)
        done = not differs and bool(setup.memory.recall("named") or settings.timezone)
        return Finding(done=done, what=f"@{name} wakes it; the time is that of {zone}")

    def needs(self, setup: Setup) -> Iterable[str]:
        """Nothing: both have usual values."""
        return ()

    def do(self, setup: Setup) -> None:
        """Ask for both. Groups whose trigger was the old name get the new one."""
        old, zone = _names(setup)
        setup.talk.say("In a group, a message that begins with @ and the assistant's name wakes it.")
        name = setup.talk.ask("name", "What shall it be called?", old, _no_name)
        setup.talk.say("Reminders and schedules go by a time zone.")
        zone = setup.talk.ask("timezone", "Which one?", zone, _no_zone)
        changes: dict[str, Value] = {}
        if name != old:
            changes["assistant_name"] = name
        if zone != _names(setup)[1]:
            changes["timezone"] = zone
        change_settings(setup.home, changes)
        change_groups(setup.home.registered_groups, lambda entries: _rename(entries, old, name))
        setup.memory.remember(named=True)
        if changes and anyio.run(running_since, setup.home):
            setup.talk.say("The host that runs takes this up at its next start: `nanoclaw service restart`.")


def _names(setup: Setup) -> tuple[str, str]:
    settings = setup.settings
    return settings.assistant_name, settings.timezone or machine_timezone()


def _rename(entries: Entries, old: str, new: str) -> None:
    for entry in entries.values():
        if entry.get("trigger") == f"@{old}":
            entry["trigger"] = f"@{new}"


def _no_name(answer: str) -> str:
    if not answer.isprintable() or len(answer) > _LONGEST_NAME or "@" in answer or len(answer.split()) != 1:
        return f"one word of at most {_LONGEST_NAME} characters, without @"
    return ""


def _no_zone(answer: str) -> str:
    try:
        ZoneInfo(answer)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        word = answer.strip().replace(" ", "_").casefold()
        like = sorted(zone for zone in available_timezones() if zone.casefold().endswith(f"/{word}"))
        return f"did you mean {like[0]}?" if like else "write it like Europe/Berlin or America/New_York"
    return ""
