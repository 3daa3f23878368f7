"""What was taken over from elsewhere: written once, a second time changes nothing."""

import sqlite3
from datetime import datetime

from nanoclaw.clock import iso
from nanoclaw.model import Folder, Jid


def add_reply(db: sqlite3.Connection, key: str, chat: Jid, text: str, at: datetime) -> None:
    """Something that the assistant said long ago."""
    db.execute(
        "INSERT INTO outbox (key, chat, kind, text, state, due_at, created_at, sent_at) VALUES"
        " (:key, :chat, 'reply', :text, 'sent', :at, :at, :at) ON CONFLICT (key) DO NOTHING",
        {"key": key, "chat": chat, "text": text, "at": iso(at)},
    )


def set_answered(db: sqlite3.Connection, folder: Folder, chat: Jid, until: datetime) -> None:
    """What arrived in the chat until then is answered; a cursor that is further on stays."""
    db.execute(
        "INSERT INTO cursor (folder, answered_seq)"
        " SELECT ?, coalesce(max(seq), 0) FROM message WHERE chat = ? AND sent_at <= ?"
        " ON CONFLICT (folder) DO UPDATE SET answered_seq = max(answered_seq, excluded.answered_seq)",
        (folder, chat, iso(until)),
    )


def set_session(db: sqlite3.Connection, folder: Folder, provider: str, session_id: str) -> None:
    """The session to resume, unless the group has one of its own by now."""
    db.execute(
        "INSERT INTO session (folder, provider, session_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (folder, provider, session_id),
    )
