"""What the library's keys were before each change: a journal that triggers keep in the library's own database.

A message can be decrypted once: that moves the keys on, and the library commits it before it hands the message over.
Killed in between, a worker would find a message that comes again and cannot be read any more. So what a change replaces
is kept in the same transaction, and the next worker takes back the changes of messages that did not get to the disk.

The tables are those of whatsmeow as neonize 0.5.2 has it: keys in JSON. All of this happens before the library opens
the database: it brings an SQLite of its own, and two of them in one process undo each other's locks.
"""

import json
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

_TABLE: Final = """CREATE TABLE IF NOT EXISTS nanoclaw_journal (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)),
  place TEXT NOT NULL, chat TEXT NOT NULL, peer TEXT NOT NULL, old BLOB, gone INTEGER NOT NULL DEFAULT 0)"""
"""One change: when (ms since 1970), of what, and what was there before; `gone`: nothing is there any more."""

_NOTE: Final = "INSERT INTO nanoclaw_journal (place, chat, peer, old, gone)"
_TRIGGERS: Final = {
    # a message makes four changes at most, and some hundred messages are under way
    "bounded AFTER INSERT ON nanoclaw_journal": "DELETE FROM nanoclaw_journal WHERE id <= NEW.id - 1000",
    "session_new AFTER INSERT ON whatsmeow_sessions": f"{_NOTE} VALUES ('session', '', NEW.their_id, NULL, 0)",
    "session AFTER UPDATE ON whatsmeow_sessions": f"{_NOTE} VALUES ('session', '', OLD.their_id, OLD.session, 0)",
    "session_gone AFTER DELETE ON whatsmeow_sessions": f"{_NOTE} VALUES ('session', '', OLD.their_id, NULL, 1)",
    "sender_new AFTER INSERT ON whatsmeow_sender_keys": (
        f"{_NOTE} VALUES ('sender', NEW.chat_id, NEW.sender_id, NULL, 0)"
    ),
    "sender AFTER UPDATE ON whatsmeow_sender_keys": (
        f"{_NOTE} VALUES ('sender', OLD.chat_id, OLD.sender_id, OLD.sender_key, 0)"
    ),
    "sender_gone AFTER DELETE ON whatsmeow_sender_keys": (
        f"{_NOTE} VALUES ('sender', OLD.chat_id, OLD.sender_id, NULL, 1)"
    ),
    "prekey AFTER DELETE ON whatsmeow_pre_keys": f"{_NOTE} VALUES ('prekey', OLD.jid, OLD.key_id, OLD.key, 0)",
}

log = logging.getLogger(__name__)

JournalError = (sqlite3.Error, ValueError, KeyError, TypeError)
"""The library's database cannot be read or written, or its keys are not what this module knows; nothing was changed."""


class Irrevocable(Exception):
    """Something that was done with these keys since must not be done again with the old ones."""


def open_keys(path: Path, since: int | None) -> int:
    """Take back what messages have changed since then, as far as that is safe, and have changes kept from now on.

    Args:
        path: the library's database; nothing happens while the library has not made its tables.
        since: in ms since 1970; None: nothing is taken back.

    Returns:
        How many keys are as they were.

    Raises:
        JournalError: see there.
    """
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        if not _has(db, "whatsmeow_pre_keys"):
            return 0
        db.execute("BEGIN EXCLUSIVE")
        try:
            count = 0
            if _has(db, "nanoclaw_journal"):
                count = 0 if since is None else _take_back(db, since)
                db.execute("DELETE FROM nanoclaw_journal")
            db.execute(_TABLE)
            for what, then in _TRIGGERS.items():
                db.execute(f"CREATE TRIGGER IF NOT EXISTS nanoclaw_{what} BEGIN {then}; END")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    return count


def _has(db: sqlite3.Connection, table: str) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def _take_back(db: sqlite3.Connection, since: int) -> int:
    changes = db.execute("SELECT * FROM nanoclaw_journal WHERE at >= ? ORDER BY id", (since,)).fetchall()
    if any(change["gone"] for change in changes):  # an address has become another
        log.warning("keys were moved or removed: all are left as they are")
        return 0
    befores: dict[tuple[str, str, str], list[bytes | None]] = defaultdict(list)
    for change in changes:
        befores[change["place"], change["chat"], change["peer"]].append(change["old"])
    sessions: dict[str, bytes | None] = {}
    spent: set[str] = set()
    for (place, _, peer), olds in befores.items():
        if place == "session":
            try:
                sessions[peer] = before_receiving([*olds, _session(db, peer)])
            except Irrevocable:
                log.warning("something was sent with keys that would be taken back: they are left as they are")
                spent.add(peer)
    count = sum(_set_session(db, peer, old) for peer, old in sessions.items())
    for (place, chat, peer), olds in befores.items():
        if place == "sender" and peer not in spent:
            count += _set_sender_key(db, chat, peer, olds[0])
        elif place == "prekey":
            count += _set_prekey(db, chat, peer, olds[0])
    return count


def _session(db: sqlite3.Connection, peer: str) -> bytes | None:
    row = db.execute("SELECT session FROM whatsmeow_sessions WHERE their_id = ?", (peer,)).fetchone()
    return row["session"] if row else None


def _set_session(db: sqlite3.Connection, peer: str, old: bytes | None) -> int:
    """Set it to what it was; answers whether it had become another."""
    if old is None:
        return db.execute("DELETE FROM whatsmeow_sessions WHERE their_id = ?", (peer,)).rowcount
    update = "UPDATE whatsmeow_sessions SET session = ? WHERE their_id = ? AND session IS NOT ?"
    return db.execute(update, (old, peer, old)).rowcount


def _set_sender_key(db: sqlite3.Connection, chat: str, peer: str, old: bytes | None) -> int:
    key = (chat, peer)
    now = db.execute("SELECT sender_key FROM whatsmeow_sender_keys WHERE chat_id = ? AND sender_id = ?", key).fetchone()
    if now is None or is_own(now["sender_key"]):
        return 0
    if old is None:
        return db.execute("DELETE FROM whatsmeow_sender_keys WHERE chat_id = ? AND sender_id = ?", key).rowcount
    update = "UPDATE whatsmeow_sender_keys SET sender_key = ? WHERE chat_id = ? AND sender_id = ?"
    return db.execute(update, (old, *key)).rowcount


def _set_prekey(db: sqlite3.Connection, account: str, number: str, key: bytes | None) -> int:
    again = "INSERT OR IGNORE INTO whatsmeow_pre_keys (jid, key_id, key, uploaded) VALUES (?, ?, ?, true)"
    return db.execute(again, (account, number, key)).rowcount


def before_receiving(states: Sequence[bytes | None]) -> bytes | None:
    """What a session was before the first message was received with it. Pure.

    Args:
        states: as it was before each change, and as it is now; None: there was none.

    Raises:
        Irrevocable: something was sent after that: a key would be used twice.
    """
    kinds = [_moved(old, new) for old, new in pairwise(states)]
    if "received" not in kinds:
        return states[-1]
    first = kinds.index("received")
    if "sent" in kinds[first:]:
        raise Irrevocable
    return states[first]


def is_own(key: bytes) -> bool:
    """Whether a sender's key is our own: only of that one the private half is there. Pure."""
    states = json.loads(key)["SenderKeyStates"] or ()
    return any(set(state["SigningKeyPrivate"] or "") - {"A", "="} for state in states)


def _moved(old: bytes | None, new: bytes | None) -> Literal["sent", "received"]:
    """By what a session became another."""
    after = _state(new)
    if old is None:
        return "sent" if after["PendingPreKey"] else "received"
    before = _state(old)
    if all(before[part] == after[part] for part in ("RootKey", "ReceiverChains")):
        return "sent"
    begun_by_us = after["PendingPreKey"] and before["SenderBaseKey"] != after["SenderBaseKey"]
    return "sent" if begun_by_us else "received"


def _state(session: bytes | None) -> dict[str, Any]:
    if session is None:
        raise Irrevocable
    return json.loads(session)["SessionState"]
