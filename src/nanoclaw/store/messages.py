"""Messages and chats."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import InboundMessage, Jid, Message, Seq
from nanoclaw.wire import Exchange


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownChat:
    """A chat that was heard of, registered or not."""

    jid: Jid
    channel: str
    name: str
    last_at: datetime


def note_chat(db: sqlite3.Connection, message: InboundMessage) -> None:
    """Remember that this chat exists, by name and time only."""
    db.execute(
        "INSERT INTO chat (jid, channel, name, last_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (jid) DO UPDATE SET name = excluded.name, last_at = max(last_at, excluded.last_at)",
        (message.chat, message.channel, message.chat_name, iso(message.sent_at)),
    )


def known_chats(db: sqlite3.Connection) -> list[KnownChat]:
    """Every chat heard of, the liveliest first."""
    return [
        KnownChat(jid=Jid(row["jid"]), channel=row["channel"], name=row["name"], last_at=from_iso(row["last_at"]))
        for row in db.execute("SELECT jid, channel, name, last_at FROM chat ORDER BY last_at DESC")
    ]


def insert(db: sqlite3.Connection, message: InboundMessage, now: datetime) -> tuple[Seq, bool]:
    """Store a message. Answers its seq and whether it is new; a second delivery of the same one changes nothing."""
    row = db.execute(
        "INSERT INTO message (account, chat, sender, ext_id, sender_name, text, sent_at, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING seq",
        (
            message.account,
            message.chat,
            message.sender,
            message.ext_id,
            message.sender_name,
            message.text,
            iso(message.sent_at),
            iso(now),
        ),
    ).fetchone()
    if row is not None:
        return Seq(row["seq"]), True
    return seq_of(db, message), False


def seq_of(db: sqlite3.Connection, message: InboundMessage) -> Seq:
    """The seq of a message that is stored."""
    row = db.execute(
        "SELECT seq FROM message WHERE account = ? AND chat = ? AND sender = ? AND ext_id = ?",
        (message.account, message.chat, message.sender, message.ext_id),
    ).fetchone()
    return Seq(row["seq"])


def between(db: sqlite3.Connection, chat: Jid, after: Seq, upto: Seq, limit: int) -> tuple[list[Message], int]:
    """The newest `limit` messages with after < seq <= upto, oldest first, and how many older ones there are."""
    rows = db.execute(
        "SELECT * FROM message WHERE chat = ? AND seq > ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
        (chat, after, upto, limit),
    ).fetchall()
    total = db.execute(
        "SELECT count(*) AS n FROM message WHERE chat = ? AND seq > ? AND seq <= ?", (chat, after, upto)
    ).fetchone()["n"]
    return [_message(row) for row in reversed(rows)], total - len(rows)


def exchanges(db: sqlite3.Connection, chat: Jid, upto: Seq, limit: int) -> list[Exchange]:
    """The last `limit` things said in the chat up to that message, the assistant's own among them, oldest first."""
    rows = db.execute(
        "SELECT * FROM ("
        "  SELECT * FROM (SELECT sender_name AS sender, text, received_at AS at, 0 AS assistant FROM message"
        "   WHERE chat = :chat AND seq <= :upto ORDER BY seq DESC LIMIT :limit)"
        "  UNION ALL"
        "  SELECT * FROM (SELECT '' AS sender, text, created_at AS at, 1 AS assistant FROM outbox"
        "   WHERE chat = :chat AND kind <> 'notice' AND state <> 'failed' ORDER BY id DESC LIMIT :limit)"
        ") ORDER BY at DESC LIMIT :limit",
        {"chat": chat, "upto": upto, "limit": limit},
    ).fetchall()
    return [
        Exchange(sender=row["sender"], text=row["text"], time=row["at"], assistant=bool(row["assistant"]))
        for row in reversed(rows)
    ]


def _message(row: sqlite3.Row) -> Message:
    return Message(
        seq=Seq(row["seq"]),
        chat=Jid(row["chat"]),
        sender=row["sender"],
        sender_name=row["sender_name"],
        text=row["text"],
        sent_at=from_iso(row["sent_at"]),
        received_at=from_iso(row["received_at"]),
    )
