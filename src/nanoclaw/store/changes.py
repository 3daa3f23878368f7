"""Edits, deletions and reactions as they come in. None of them starts a run; a deletion may make one needless."""

import sqlite3
from collections.abc import Sequence

from nanoclaw.clock import iso
from nanoclaw.model import ChangeKind, InboundDeletion, InboundEdit, InboundReaction, RegisteredGroup, Seq, Standing
from nanoclaw.store import messages, runs


def edit(db: sqlite3.Connection, group: RegisteredGroup, change: InboundEdit) -> None:
    """Give a message its new text; if an agent was given the old one, remember to tell."""
    row = messages.find(db, change.account, change.chat, change.sender, change.ext_id)
    if row is None:
        _note(db, change, "edit", change.text)
    elif row["deleted_at"] is None and iso(change.at) > (row["edited_at"] or ""):
        messages.rewrite(db, Seq(row["seq"]), change.text, change.at)
        if row["seq"] <= runs.taken(db, group.folder):
            _note(db, change, "edit", change.text, row, _known_text(db, group, change) or row["text"])


def delete(db: sqlite3.Connection, group: RegisteredGroup, change: InboundDeletion) -> Sequence[str]:
    """Withdraw a message; a waiting run that was for nothing else is cancelled. Answers which media files it had."""
    row = messages.find(db, change.account, change.chat, change.sender, change.ext_id)
    if row is None:
        _note(db, change, "deletion", "")
        return ()
    if row["deleted_at"] is not None:
        return ()
    message = messages.get(db, Seq(row["seq"]))
    messages.withdraw(db, Seq(row["seq"]), change.at)
    if row["seq"] <= runs.taken(db, group.folder):
        known = _known_text(db, group, change) or row["text"]
        _forget_edits(db, change)
        _note(db, change, "deletion", "", row, known)
    runs.cancel_needless(db, group.folder, change.chat)
    return [file.file for file in message.files if file.file] if message else ()


def react(db: sqlite3.Connection, change: InboundReaction, standing: Standing) -> None:
    """Remember somebody's reaction to a message in place of their last; an empty one takes it away."""
    db.execute(
        _UPSERT,
        (
            change.account, change.chat, change.target_sender, change.target_ext_id, "reaction", change.sender,
            change.sender_name, standing, change.emoji, "", iso(change.at),
        ),
    )  # fmt: skip


_UPSERT = (
    "INSERT OR REPLACE INTO change (account, chat, sender, ext_id, kind, actor, actor_name, standing, text, before, at)"
    " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 WHERE NOT EXISTS (SELECT 1 FROM change WHERE account = ?1"
    " AND chat = ?2 AND sender = ?3 AND ext_id = ?4 AND kind = ?5 AND actor = ?6 AND at >= ?11)"
)
"""What is not newer than what is there changes nothing."""


def _note(
    db: sqlite3.Connection,
    change: InboundEdit | InboundDeletion,
    kind: ChangeKind,
    text: str,
    message: sqlite3.Row | None = None,
    before: str = "",
) -> None:
    name, standing = (message["sender_name"], message["standing"]) if message else ("", "member")
    db.execute(
        _UPSERT,
        (
            change.account, change.chat, change.sender, change.ext_id, kind, change.sender,
            name, standing, text, before, iso(change.at),
        ),
    )  # fmt: skip


def _known_text(db: sqlite3.Connection, group: RegisteredGroup, change: InboundEdit | InboundDeletion) -> str | None:
    """What agents believe that a message says, if there is an edit that they were not told of."""
    row = db.execute(
        "SELECT before FROM change WHERE account = ? AND chat = ? AND sender = ? AND ext_id = ? AND kind = 'edit'"
        " AND id > coalesce((SELECT told_change FROM cursor WHERE folder = ?), 0)",
        (change.account, change.chat, change.sender, change.ext_id, group.folder),
    ).fetchone()
    return row["before"] if row else None


def _forget_edits(db: sqlite3.Connection, change: InboundDeletion) -> None:
    db.execute(
        "DELETE FROM change WHERE account = ? AND chat = ? AND sender = ? AND ext_id = ? AND kind = 'edit'",
        (change.account, change.chat, change.sender, change.ext_id),
    )
