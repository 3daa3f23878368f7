"""Looking at the database file without changing it, whatever is wrong with it."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from nanoclaw.clock import from_iso
from nanoclaw.store.database import migrations

_BUSY_SECONDS = 10.0  # as a host's


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """How a database file stands."""

    state: Literal["intact", "damaged", "unreadable", "newer", "older"]
    detail: str = ""
    """What SQLite says; the migration that is unknown; how many are to be applied."""
    log_bytes: int = 0
    """Of the write-ahead log beside it."""
    newest: datetime | None = None
    """The last moment that it knows of."""


def inspect(path: Path) -> Inspection:
    """Look at a database file that is there; takes a second for some gigabytes."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
            return _inspect(db, path)
    except sqlite3.OperationalError as error:
        return Inspection(state="unreadable", detail=str(error))
    except (sqlite3.DatabaseError, ValueError) as error:
        return Inspection(state="damaged", detail=str(error))


def _inspect(db: sqlite3.Connection, path: Path) -> Inspection:
    (answer,) = db.execute("PRAGMA quick_check").fetchone()
    if answer != "ok":
        return Inspection(state="damaged", detail=answer)
    applied = {name for (name,) in db.execute("SELECT name FROM migration")}
    known = migrations().keys()
    if unknown := applied - known:
        return Inspection(state="newer", detail=max(unknown))
    if pending := known - applied:
        return Inspection(state="older", detail=f"{len(pending)} changes are to come")
    (newest,) = db.execute("SELECT max(received_at) FROM message").fetchone()
    log = path.with_name(f"{path.name}-wal")
    return Inspection(
        state="intact",
        log_bytes=log.stat().st_size if log.exists() else 0,
        newest=from_iso(newest) if newest else None,
    )


def fold_log(path: Path) -> None:
    """Take the write-ahead log into the file. Only while no host runs."""
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
