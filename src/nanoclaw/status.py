"""What `nanoclaw status` tells: the shape is documented in docs/SPEC.md and stable."""

from collections.abc import Mapping
from typing import Any

from nanoclaw.model import Jid, RegisteredGroup
from nanoclaw.store import outbox, runs
from nanoclaw.store.database import Connection


def stored_status(db: Connection) -> dict[str, Any]:
    """The counts: runs that wait and run, replies on their way, and replies that did not arrive."""
    return {**runs.counts(db), "outbox": outbox.open_count(db), "undelivered": outbox.undelivered(db)}


def groups_status(groups: Mapping[Jid, RegisteredGroup]) -> list[dict[str, Any]]:
    """The registered groups, as `groups list --json` shows them."""
    return [
        {
            "jid": group.jid,
            "name": group.name,
            "folder": group.folder,
            "trigger": group.trigger,
            "requires_trigger": group.requires_trigger and not group.is_main,
            "provider": group.provider,
            "approval_policy": group.approval_policy,
            "auth_method": group.codex.auth_method if group.provider == "codex" else None,
            "main": group.is_main,
        }
        for group in groups.values()
    ]
