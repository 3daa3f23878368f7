"""Files from mailboxes that have taken effect. A key that is here is answered from here and has no second effect."""

import json
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta

from nanoclaw.clock import iso
from nanoclaw.model import Folder

_REMEMBERED = timedelta(days=7)  # a file outlives its effect only across a crash, which is minutes


def apply_once(
    db: sqlite3.Connection,
    folder: Folder,
    key: str,
    now: datetime,
    effect: Callable[[sqlite3.Connection], dict[str, object]],
) -> dict[str, object]:
    """Run `effect` and record that it ran, in the caller's transaction; or answer what it answered then."""
    known = answer_to(db, key)
    if known is not None:
        return known
    answer = effect(db)
    db.execute(
        "INSERT INTO mailbox_file (key, folder, answer, applied_at) VALUES (?, ?, ?, ?)",
        (key, folder, json.dumps(answer), iso(now)),
    )
    return answer


def answer_to(db: sqlite3.Connection, key: str) -> dict[str, object] | None:
    """What was answered to a file that has taken effect."""
    row = db.execute("SELECT answer FROM mailbox_file WHERE key = ?", (key,)).fetchone()
    return json.loads(row["answer"]) if row else None


def prune(db: sqlite3.Connection, now: datetime) -> int:
    """Forget what is too old to come again. Answers how many."""
    return db.execute("DELETE FROM mailbox_file WHERE applied_at < ?", (iso(now - _REMEMBERED),)).rowcount
