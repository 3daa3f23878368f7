"""What `nanoclaw status` tells: the shape is documented in docs/SPEC.md and stable."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from nanoclaw.channels.base import Channel
from nanoclaw.clock import iso
from nanoclaw.config import Home
from nanoclaw.model import Folder, Jid, NetworkCounts, RegisteredGroup
from nanoclaw.sandbox.proof import last_proofs, proof_json
from nanoclaw.store import outbox, runs
from nanoclaw.store.database import Connection
from nanoclaw.store.waiting import oldest_message


def stored_status(db: Connection) -> dict[str, Any]:
    """The counts: runs that wait and run, replies on their way, and replies that did not arrive."""
    oldest = oldest_message(db)
    return {
        **runs.counts(db),
        "oldest_message": iso(oldest) if oldest else None,
        "outbox": outbox.open_count(db),
        "undelivered": outbox.undelivered(db),
    }


def network_status(
    groups: Mapping[Jid, RegisteredGroup], counts: Callable[[Folder], NetworkCounts]
) -> dict[str, dict[str, int]]:
    """What each group did at the gateway today (UTC), by folder."""
    return {group.folder: asdict(counts(group.folder)) for group in groups.values()}


def proofs_status(home: Home, groups: Mapping[Jid, RegisteredGroup]) -> list[dict[str, Any]]:
    """The last proof of each group in each kind of sandbox that it ran in, the newest of a group first."""
    return [proof_json(record) for group in groups.values() for record in last_proofs(home, group.folder)]


def channel_status(channel: Channel) -> dict[str, Any]:
    """How a channel stands."""
    state = channel.state()
    return {
        "name": channel.name,
        "state": state.state,
        "connected": state.connected,
        "problem": state.problem or None,
        "hint": state.hint or None,
        "since": iso(state.since) if state.since else None,
        "last_inbound": iso(state.last_inbound) if state.last_inbound else None,
        "account": state.account or None,
        "facts": state.facts,
    }


def groups_status(groups: Mapping[Jid, RegisteredGroup]) -> list[dict[str, Any]]:
    """The registered groups, as `groups list --json` shows them."""
    return [
        {
            "jid": group.jid,
            "name": group.name,
            "folder": group.folder,
            "trigger": group.trigger,
            "senders": list(group.senders.allow) if group.senders.policy == "allowlist" else None,
            "requires_trigger": group.requires_trigger and not group.is_main,
            "provider": group.provider,
            "approval_policy": group.approval_policy,
            "auth_method": group.codex.auth_method if group.provider == "codex" else None,
            "main": group.is_main,
        }
        for group in groups.values()
    ]
