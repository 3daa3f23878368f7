"""Requests of sandboxes that were refused, for people who look on."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from nanoclaw.clock import from_iso
from nanoclaw.model import Folder, NetworkReason

_LOOKED_AT: Final = 2_000  # the newest rows that are put together; a flood is seen by its count


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedHost:
    """What was refused to one group about one host, lately."""

    folder: Folder
    host: str
    port: int
    reason: NetworkReason
    times: int
    last_at: datetime


def hosts(db: sqlite3.Connection, limit: int, folder: Folder | None = None) -> list[RefusedHost]:
    """The hosts that were refused last, of one group or of all, the newest first."""
    query = (
        "SELECT folder, host, port, reason, at, id FROM network_decision WHERE verdict = 'refused'"
        " ORDER BY id DESC LIMIT :most"
        if folder is None
        else "SELECT folder, host, port, reason, at, id FROM network_decision"
        " WHERE verdict = 'refused' AND folder = :folder ORDER BY id DESC LIMIT :most"
    )
    rows = db.execute(
        f"SELECT folder, host, port, reason, count(*) AS times, max(at) AS at FROM ({query})"  # noqa: S608
        " GROUP BY folder, host, port, reason ORDER BY max(id) DESC LIMIT :limit",
        {"folder": folder, "most": _LOOKED_AT, "limit": limit},
    )
    return [
        RefusedHost(
            folder=Folder(row["folder"]),
            host=row["host"],
            port=row["port"],
            reason=row["reason"],
            times=row["times"],
            last_at=from_iso(row["at"]),
        )
        for row in rows
    ]
