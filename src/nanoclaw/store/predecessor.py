"""What a NanoClaw (the TypeScript program) keeps in its `store/messages.db`: read, never written.

Its tables grew by `ALTER TABLE`, so a column may be missing; what is missing reads as NULL.
"""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from nanoclaw.errors import StoreError

_TABLES: Final = ("chats", "messages", "scheduled_tasks", "router_state", "sessions", "registered_groups")

Row = dict[str, Any]


@contextmanager
def predecessor(path: Path) -> Generator[dict[str, list[Row]]]:
    """Every row of every table that we know, by table; a table that is not there is empty.

    Args:
        path: a copy of the database, which may be changed by being opened (its write-ahead log is folded in).

    Raises:
        StoreError: it is no database, or damaged.
    """
    try:
        connection = sqlite3.connect(path)
        try:
            connection.row_factory = sqlite3.Row
            (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
            if verdict != "ok":
                raise StoreError(f"the database of NanoClaw is damaged: {verdict}", "repair it there first")
            yield {table: _rows(connection, table) for table in _TABLES}
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"the database of NanoClaw cannot be read: {error}", "is NanoClaw stopped?") from error


def _rows(connection: sqlite3.Connection, table: str) -> list[Row]:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
    if known is None:
        return []
    return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608 - ours
