"""What there is to see of groups: settings in force, members, chats that are not registered."""

import json
from typing import Any, cast

from nanoclaw.cli.reading import database
from nanoclaw.cli.showing import Table, say
from nanoclaw.clock import iso
from nanoclaw.config import Home, load_settings
from nanoclaw.gateway.policy import policy_of
from nanoclaw.groups import load_groups
from nanoclaw.model import RegisteredGroup
from nanoclaw.status import groups_status
from nanoclaw.store import messages


def settings_json(home: Home, group: RegisteredGroup) -> dict[str, Any]:
    """What is in force for a group, and who is in its chat."""
    settings = load_settings(home)
    with database(home) as db:
        members = messages.members(db, group.jid)
    return {
        **groups_status({group.jid: group})[0],
        "model": group.model,
        "added_at": group.added_at,
        "network": policy_of(settings.network, group).mode,
        "timeout_seconds": group.timeout_ms / 1000 if group.timeout_ms else settings.runs.timeout_seconds,
        "budget": {"tokens_per_day": group.budget.tokens_per_day, "usd_per_day": group.budget.usd_per_day},
        "members": [{"address": each.address, "name": each.name, "admin": each.admin} for each in members],
    }


def show_settings(shown: dict[str, Any]) -> None:
    """Print them for people."""
    for key, value in shown.items():
        if key == "members":
            for member in value:
                say(f"member: {member['name']} {member['address']}{' (admin)' if member['admin'] else ''}")
        elif key == "budget":
            limits = [f"{limit:,} {key.split('_')[0]}" for key, limit in value.items() if limit]
            say(f"budget for a day: {', '.join(limits) or 'none'}")
        elif value not in (None, []):
            told = ", ".join(cast("list[str]", value)) if isinstance(value, list) else value
            say(f"{key.replace('_', ' ')}: {told}")


def show_chats(home: Home, *, for_programs: bool) -> None:
    """Print the chats that were heard of and are no groups, the liveliest first."""
    registered = load_groups(home.registered_groups)
    with database(home) as db:
        chats = [chat for chat in messages.known_chats(db) if chat.jid not in registered]
    if for_programs:
        told = [{"jid": c.jid, "name": c.name, "channel": c.channel, "last_at": iso(c.last_at)} for c in chats]
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    table = Table("chat", "name", "platform", "last heard of", box=None)
    for chat in chats:
        table.add_row(chat.jid, chat.name, chat.channel, iso(chat.last_at))
    table.show()
