"""A chat as its people see it, for those who look on: what was written and what was answered, in order."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from nanoclaw.clock import from_iso, iso
from nanoclaw.model import Folder, Jid, OutboxKind, OutboxState, ReceiptState, RunId, Standing

MOST_TEXT: Final = 5_000
"""Characters of one text in `lines`; `whole_text` has the rest."""

_MOST_QUOTED: Final = 300
_REACHED: Final[tuple[ReceiptState, ...]] = ("server", "device", "read")
_ABOVE_ALL: Final = 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Somewhere in a conversation: before this message and before this reply."""

    seq: int = _ABOVE_ALL
    outbox_id: int = _ABOVE_ALL


@dataclass(frozen=True, kw_only=True, slots=True)
class Quoted:
    """What a line answers."""

    sender: str
    """Empty: the assistant."""
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedFile:
    """A file that came, or went, with a line."""

    name: str
    problem: str = ""
    """Why it is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One thing said."""

    of: Literal["message", "reply"]
    id: int
    """The message's seq, or the reply's number in the outbox."""
    at: datetime
    sender: str
    """Empty: the assistant."""
    text: str
    """At most `MOST_TEXT` characters of it."""
    length: int
    """Characters of the whole text."""
    files: tuple[NamedFile, ...] = ()
    quoted: Quoted | None = None
    standing: Standing | None = None
    """Of the person."""
    edited: bool = False
    deleted: bool = False
    kind: OutboxKind | None = None
    """Of what the assistant said."""
    state: OutboxState | None = None
    error: str | None = None
    run_id: RunId | None = None
    reached: ReceiptState | None = None
    """How far all of a reply has come, where the platform tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """A reply that did not arrive (`failed`), or of which nobody knows (`unknown`)."""

    chat: Jid
    at: datetime
    kind: OutboxKind
    text: str
    state: OutboxState
    error: str
    run_id: RunId | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupActivity:
    """What goes on in a group."""

    folder: Folder
    last_at: datetime | None
    waiting: int
    running: RunId | None
    last_failure: str | None
    """Of its newest run that has ended, if that failed."""
    last_run: RunId | None
    """Its newest run that has ended."""


def lines(db: sqlite3.Connection, chat: Jid, before: Place, limit: int) -> list[Line]:
    """The newest `limit` things said before that place, oldest first."""
    rows = db.execute(
        "SELECT * FROM ("
        "  SELECT * FROM (SELECT 'message' AS of, seq AS id, received_at AS at, sender_name AS sender,"
        "   substr(text, 1, :most) AS text, length(text) AS length, attachments AS files, quote, standing,"
        "   edited_at IS NOT NULL AS edited, deleted_at IS NOT NULL AS deleted, NULL AS kind, NULL AS state,"
        "   NULL AS error, NULL AS run_id, NULL AS answers"
        "   FROM message WHERE chat = :chat AND seq < :seq ORDER BY seq DESC LIMIT :limit)"
        "  UNION ALL"
        "  SELECT * FROM (SELECT 'reply', id, created_at, '', substr(text, 1, :most), length(text), files, NULL, NULL,"
        "   0, 0, kind, state, error, run_id, answers"
        "   FROM outbox WHERE chat = :chat AND id < :outbox_id ORDER BY id DESC LIMIT :limit)"
        ") ORDER BY at DESC, of DESC, id DESC LIMIT :limit",
        {
            "chat": chat,
            "seq": before.seq,
            "outbox_id": before.outbox_id,
            "limit": limit,
            "most": MOST_TEXT,
        },
    ).fetchall()
    answered = _answered(db, [row["answers"] for row in rows if row["answers"] is not None])
    reached = _reached(db, chat, [row["id"] for row in rows if row["of"] == "reply"])
    return [_line(row, answered, reached) for row in reversed(rows)]


def earliest(found: Sequence[Line], before: Place) -> Place:
    """The place before all of these lines."""
    seqs = [line.id for line in found if line.of == "message"]
    ids = [line.id for line in found if line.of == "reply"]
    return Place(seq=min(seqs, default=before.seq), outbox_id=min(ids, default=before.outbox_id))


def whole_text(db: sqlite3.Connection, chat: Jid, of: str, number: int) -> str | None:
    """The whole text of a line; None: there is no such line in this chat."""
    query = (
        "SELECT text FROM message WHERE chat = ? AND seq = ?"
        if of == "message"
        else "SELECT text FROM outbox WHERE chat = ? AND id = ?"
    )
    row = db.execute(query, (chat, number)).fetchone()
    return row["text"] if row else None


def lost(db: sqlite3.Connection, since: datetime, limit: int) -> list[Lost]:
    """What was said since then and did not arrive, or may not have, the newest first."""
    rows = db.execute(
        "SELECT chat, created_at, kind, substr(text, 1, ?) AS text, state, error, run_id FROM outbox"
        " WHERE state IN ('failed', 'unknown') AND created_at >= ? ORDER BY created_at DESC LIMIT ?",
        (MOST_TEXT, iso(since), limit),
    )
    return [
        Lost(
            chat=Jid(row["chat"]),
            at=from_iso(row["created_at"]),
            kind=row["kind"],
            text=row["text"],
            state=OutboxState(row["state"]),
            error=row["error"] or "",
            run_id=RunId(row["run_id"]) if row["run_id"] is not None else None,
        )
        for row in rows
    ]


def activity(db: sqlite3.Connection, folder: Folder, chat: Jid) -> GroupActivity:
    """What goes on in one group: a handful of looks at indexes, however long its history is."""
    last = db.execute(
        "SELECT received_at AS at FROM message WHERE chat = ? ORDER BY seq DESC LIMIT 1", (chat,)
    ).fetchone()
    now = db.execute(
        "SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting, max(CASE state WHEN 'running' THEN id END) AS id"
        " FROM run WHERE folder = ? AND state IN ('waiting', 'running')",
        (folder,),
    ).fetchone()
    ended = db.execute(
        "SELECT id, failure FROM run WHERE folder = ? AND state NOT IN ('waiting', 'running') ORDER BY id DESC LIMIT 1",
        (folder,),
    ).fetchone()
    return GroupActivity(
        folder=folder,
        last_at=from_iso(last["at"]) if last else None,
        waiting=now["waiting"],
        running=RunId(now["id"]) if now["id"] is not None else None,
        last_failure=ended["failure"] if ended else None,
        last_run=RunId(ended["id"]) if ended else None,
    )


def _answered(db: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, Quoted]:
    rows = db.execute(
        "SELECT seq, sender_name, substr(text, 1, ?) AS text FROM message"
        " WHERE seq IN (SELECT value FROM json_each(?))",
        (_MOST_QUOTED, json.dumps(list(seqs))),
    )
    return {row["seq"]: Quoted(sender=row["sender_name"], text=row["text"]) for row in rows}


def _reached(db: sqlite3.Connection, chat: Jid, ids: Sequence[int]) -> dict[int, ReceiptState]:
    """How far all parts of each reply have come; of those of which anything is known."""
    rows = db.execute(
        "SELECT part.outbox_id AS id, receipt.state AS state FROM part CROSS JOIN receipt"  # parts lead: they are few
        " ON receipt.chat = :chat AND receipt.platform_id = part.platform_id"
        " WHERE part.outbox_id IN (SELECT value FROM json_each(:ids)) GROUP BY part.outbox_id, receipt.state"
        " HAVING count(DISTINCT part.key) = (SELECT count(*) FROM part AS each WHERE each.outbox_id = part.outbox_id)",
        {"chat": chat, "ids": json.dumps(list(ids))},
    )
    found: dict[int, ReceiptState] = {}
    for row in rows:
        found[row["id"]] = max(found.get(row["id"], "server"), row["state"], key=_REACHED.index)
    return found


def _line(row: sqlite3.Row, answered: dict[int, Quoted], reached: dict[int, ReceiptState]) -> Line:
    files: list[dict[str, Any]] = json.loads(row["files"]) if row["files"] else []
    line = Line(
        of=row["of"],
        id=row["id"],
        at=from_iso(row["at"]),
        sender=row["sender"],
        text=row["text"],
        length=row["length"],
        files=tuple(NamedFile(name=file["name"] or file["kind"], problem=file.get("problem", "")) for file in files),
        standing=row["standing"],
        edited=bool(row["edited"]),
        deleted=bool(row["deleted"]),
    )
    if row["of"] == "message":
        return replace(line, quoted=_quoted(row["quote"]))
    return replace(
        line,
        kind=row["kind"],
        state=OutboxState(row["state"]),
        error=row["error"],
        run_id=RunId(row["run_id"]) if row["run_id"] is not None else None,
        quoted=answered.get(row["answers"]),
        reached=reached.get(row["id"]),
    )


def _quoted(stored: str | None) -> Quoted | None:
    if not stored:
        return None
    quote: dict[str, Any] = json.loads(stored)
    sender = "" if quote["ours"] else quote["sender_name"]
    return Quoted(sender=sender, text=quote["text"][:_MOST_QUOTED])
