"""Messages and chats."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import (
    Change,
    InboundChat,
    InboundMessage,
    Jid,
    MediaFile,
    Member,
    Message,
    Quote,
    Run,
    Seq,
    Standing,
)
from nanoclaw.wire import Exchange

_MOST_CHANGES: Final = 50  # told in one prompt, the newest


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownChat:
    """A chat that was heard of, registered or not."""

    jid: Jid
    channel: str
    name: str
    last_at: datetime


def note_chat(db: sqlite3.Connection, chat: Jid, channel: str, name: str, last_at: datetime) -> None:
    """Remember that this chat exists, by name and time only."""
    db.execute(
        "INSERT INTO chat (jid, channel, name, last_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (jid) DO UPDATE SET name = excluded.name, last_at = max(last_at, excluded.last_at)",
        (chat, channel, name, iso(last_at)),
    )


def describe_chat(db: sqlite3.Connection, chat: InboundChat, now: datetime) -> None:
    """Remember a chat as its platform describes it; members that are not told stay as they are known."""
    active = chat.active_at
    db.execute(
        "INSERT INTO chat (jid, channel, name, last_at, is_group) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (jid) DO UPDATE SET name = excluded.name, is_group = excluded.is_group,"
        " last_at = max(last_at, coalesce(?, last_at))",
        (chat.chat, chat.channel, chat.name, iso(active or now), chat.is_group, iso(active) if active else None),
    )
    if chat.members is not None:
        db.execute("DELETE FROM member WHERE chat = ?", (chat.chat,))
        db.executemany(
            "INSERT OR REPLACE INTO member (chat, address, name, admin) VALUES (?, ?, ?, ?)",
            [(chat.chat, member.address, member.name, member.admin) for member in chat.members],
        )


def known_chats(db: sqlite3.Connection) -> list[KnownChat]:
    """Every chat heard of, the liveliest first."""
    return [
        KnownChat(jid=Jid(row["jid"]), channel=row["channel"], name=row["name"], last_at=from_iso(row["last_at"]))
        for row in db.execute("SELECT jid, channel, name, last_at FROM chat ORDER BY last_at DESC")
    ]


def is_group(db: sqlite3.Connection, chat: Jid) -> bool:
    """Whether its platform calls it a group."""
    row = db.execute("SELECT is_group FROM chat WHERE jid = ?", (chat,)).fetchone()
    return bool(row and row["is_group"])


def members(db: sqlite3.Connection, chat: Jid) -> list[Member]:
    """Who is in a chat, as far as is known, by name."""
    rows = db.execute("SELECT * FROM member WHERE chat = ? ORDER BY name, address", (chat,))
    return [Member(address=row["address"], name=row["name"], admin=bool(row["admin"])) for row in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What became of a message that came in."""

    seq: Seq
    new: bool
    withdrawn: bool = False
    """It had been deleted before it came this time."""


def insert(
    db: sqlite3.Connection,
    message: InboundMessage,
    now: datetime,
    standing: Standing = "member",
    files: Sequence[MediaFile] = (),
    *,
    wakes: bool = False,
    command: bool = False,
) -> Stored:
    """Store a message, with what is known already of its edits; a second delivery of the same one changes nothing.

    Args:
        db: the database, in a transaction.
        message: as it came.
        now: the present.
        standing: who its sender is to the group.
        files: what came with it, as it is kept.
        wakes: whether it wakes the agent.
        command: whether it is for the host itself: no agent is told of it.
    """
    row = db.execute(
        "INSERT INTO message (account, chat, sender, ext_id, sender_name, text, sent_at, received_at, standing, wakes,"
        " quote, attachments, command) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING RETURNING seq",
        (
            message.account,
            message.chat,
            message.sender,
            message.ext_id,
            message.sender_name,
            message.text,
            iso(message.sent_at),
            iso(now),
            standing,
            wakes,
            json.dumps(asdict(message.quote)) if message.quote else None,
            json.dumps([asdict(file) for file in files]) if files else None,
            command,
        ),
    ).fetchone()
    if row is None:
        known = find(db, message.account, message.chat, message.sender, message.ext_id)
        assert known is not None
        return Stored(seq=Seq(known["seq"]), new=False, withdrawn=known["deleted_at"] is not None)
    return Stored(seq=Seq(row["seq"]), new=True, withdrawn=_apply_earlier_changes(db, message, Seq(row["seq"])))


def _apply_earlier_changes(db: sqlite3.Connection, message: InboundMessage, seq: Seq) -> bool:
    """Edits and deletions may come before their message. Answers whether it was deleted."""
    rows = db.execute(
        "DELETE FROM change WHERE account = ? AND chat = ? AND sender = ? AND ext_id = ?"
        " AND kind IN ('edit', 'deletion') RETURNING kind, text, at",
        (message.account, message.chat, message.sender, message.ext_id),
    ).fetchall()
    for row in rows:
        if row["kind"] == "edit":
            rewrite(db, seq, row["text"], from_iso(row["at"]))
        else:
            withdraw(db, seq, from_iso(row["at"]))
    return any(row["kind"] == "deletion" for row in rows)


def seq_of(db: sqlite3.Connection, message: InboundMessage) -> Seq:
    """The seq of a message that is stored."""
    row = find(db, message.account, message.chat, message.sender, message.ext_id)
    assert row is not None
    return Seq(row["seq"])


def find(db: sqlite3.Connection, account: str, chat: Jid, sender: str, ext_id: str) -> sqlite3.Row | None:
    """The row of a message, by what makes it unique."""
    return db.execute(
        "SELECT * FROM message WHERE account = ? AND chat = ? AND sender = ? AND ext_id = ?",
        (account, chat, sender, ext_id),
    ).fetchone()


def rewrite(db: sqlite3.Connection, seq: Seq, text: str, at: datetime) -> None:
    """The message has another text now."""
    db.execute("UPDATE message SET text = ?, edited_at = ? WHERE seq = ?", (text, iso(at), seq))


def withdraw(db: sqlite3.Connection, seq: Seq, at: datetime) -> None:
    """The message was taken back: nothing of it is kept but that it was there."""
    db.execute(
        "UPDATE message SET text = '', quote = NULL, attachments = NULL, deleted_at = ? WHERE seq = ?", (iso(at), seq)
    )


def get(db: sqlite3.Connection, seq: Seq) -> Message | None:
    """One message; None also for one that was deleted."""
    row = db.execute("SELECT * FROM message WHERE seq = ? AND deleted_at IS NULL", (seq,)).fetchone()
    return _message(row) if row else None


def between(db: sqlite3.Connection, chat: Jid, after: Seq, upto: Seq, limit: int) -> tuple[list[Message], int]:
    """The newest `limit` messages with after < seq <= upto, oldest first, and how many older ones there are."""
    window = (chat, after, upto)
    rows = db.execute(
        "SELECT * FROM message WHERE chat = ? AND seq > ? AND seq <= ? AND deleted_at IS NULL AND command = 0"
        " ORDER BY seq DESC LIMIT ?",
        (*window, limit),
    ).fetchall()
    total = db.execute(
        "SELECT count(*) AS n FROM message WHERE chat = ? AND seq > ? AND seq <= ? AND deleted_at IS NULL"
        " AND command = 0",
        window,
    ).fetchone()["n"]
    return [_message(row) for row in reversed(rows)], total - len(rows)


def has_newer(db: sqlite3.Connection, chat: Jid, seq: Seq) -> bool:
    """Whether messages came into the chat after that one."""
    row = db.execute(
        "SELECT 1 FROM message WHERE chat = ? AND seq > ? AND deleted_at IS NULL LIMIT 1", (chat, seq)
    ).fetchone()
    return row is not None


def changes(db: sqlite3.Connection, run: Run) -> list[Change]:
    """What became of messages, since this group's last run, that this run is not given as they are now anyway."""
    rows = db.execute(
        "SELECT change.*, message.text AS theirs, (SELECT outbox.text FROM part JOIN outbox ON outbox.id = outbox_id"
        "  WHERE change.sender = '' AND part.platform_id = change.ext_id AND outbox.chat = change.chat) AS ours"
        " FROM change LEFT JOIN message ON message.account = change.account AND message.chat = change.chat"
        "  AND message.sender = change.sender AND message.ext_id = change.ext_id"
        " WHERE change.chat = :chat AND change.id <= :upto"
        " AND change.id > coalesce((SELECT told_change FROM cursor WHERE folder = :folder), 0)"
        " AND CASE change.kind WHEN 'reaction' THEN change.text <> '' ELSE message.seq <= :after END"
        " ORDER BY change.id DESC LIMIT :limit",
        {
            "chat": run.chat,
            "folder": run.folder,
            "after": run.after_seq,
            "upto": run.upto_change,
            "limit": _MOST_CHANGES,
        },
    ).fetchall()
    return [_change(row) for row in reversed(rows)]


def exchanges(db: sqlite3.Connection, chat: Jid, upto: Seq, limit: int) -> list[Exchange]:
    """The last `limit` things said in the chat up to that message, the assistant's own among them, oldest first."""
    rows = db.execute(
        "SELECT * FROM ("
        "  SELECT * FROM (SELECT sender_name AS sender, text, attachments AS files, received_at AS at, standing"
        "   FROM message WHERE chat = :chat AND seq <= :upto AND deleted_at IS NULL AND command = 0"
        "   ORDER BY seq DESC LIMIT :limit)"
        "  UNION ALL"
        "  SELECT * FROM (SELECT '' AS sender, text, files, created_at AS at, '' AS standing FROM outbox"
        "   WHERE chat = :chat AND kind <> 'notice' AND state <> 'failed' ORDER BY id DESC LIMIT :limit)"
        ") ORDER BY at DESC LIMIT :limit",
        {"chat": chat, "upto": upto, "limit": limit},
    ).fetchall()
    return [_exchange(row) for row in reversed(rows)]


def _exchange(row: sqlite3.Row) -> Exchange:
    exchange = Exchange(sender=row["sender"], text=_with_files(row), time=row["at"], assistant=not row["standing"])
    if row["standing"]:
        exchange["standing"] = row["standing"]
    return exchange


def _with_files(row: sqlite3.Row) -> str:
    files: list[dict[str, Any]] = json.loads(row["files"]) if row["files"] else []
    named = [f"[{file['name'] or file['kind']}]" for file in files]
    return "\n".join([*named, row["text"]] if row["text"] else named)


def _message(row: sqlite3.Row) -> Message:
    files: list[dict[str, Any]] = json.loads(row["attachments"]) if row["attachments"] else []
    return Message(
        seq=Seq(row["seq"]),
        chat=Jid(row["chat"]),
        sender=row["sender"],
        sender_name=row["sender_name"],
        text=row["text"],
        sent_at=from_iso(row["sent_at"]),
        received_at=from_iso(row["received_at"]),
        ext_id=row["ext_id"],
        standing=row["standing"],
        quote=Quote(**json.loads(row["quote"])) if row["quote"] else None,
        files=tuple(MediaFile(**file) for file in files),
        edited_at=from_iso(row["edited_at"]) if row["edited_at"] else None,
    )


def _change(row: sqlite3.Row) -> Change:
    return Change(
        kind=row["kind"],
        actor_name=row["actor_name"],
        standing=row["standing"],
        text=row["text"],
        about=row["before"] or row["theirs"] or row["ours"] or "",
        ours=not row["sender"],
        at=from_iso(row["at"]),
    )
