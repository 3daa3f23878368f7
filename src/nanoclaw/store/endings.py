"""How attempts of runs end: well, badly, or because somebody or the host stops them.

Every ending is one transaction, fenced by run id and attempt: what comes from an attempt that is over changes nothing.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from nanoclaw.clock import iso
from nanoclaw.model import Folder, Jid, Run, RunId, RunState, Seq, TokenUsage
from nanoclaw.routing import is_quoted
from nanoclaw.store import messages, outbox, runs, wakers
from nanoclaw.wire import FailureKind

_FAILURES_TOLD: Final = 3
"""A task whose runs failed so often in a row is told about, and again each time it fails as often."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """What a run that went well leaves behind. `reply` empty: the agent chose silence."""

    reply: str
    provider: str
    session_id: str | None
    usage: TokenUsage
    told_changes: bool = False
    """Whether a task's run was told what became of messages, as one that answers messages always is."""


def finish(db: sqlite3.Connection, run: Run, success: Success, now: datetime) -> bool:
    """End a run that went well: reply, cursor, session and usage in one. False: this attempt is over already."""
    if not _end(db, run, RunState.DONE, now, provider=success.provider, usage=success.usage):
        return False
    if success.reply:
        answers = _quoted_by_reply(db, run)
        outbox.put(db, f"run-{run.id}", run.chat, "reply", success.reply, run.id, now, answers=answers)
    if run.task_id is not None:
        _count_failures(db, run, failed=False)
        if success.told_changes:
            _note_told(db, run)
    else:
        _move_cursor(db, run)
    if success.session_id:
        db.execute(
            "INSERT INTO session (folder, provider, session_id) VALUES (?, ?, ?)"
            " ON CONFLICT (folder, provider) DO UPDATE SET session_id = excluded.session_id",
            (run.folder, success.provider, success.session_id),
        )
    return True


def _quoted_by_reply(db: sqlite3.Connection, run: Run) -> Seq | None:
    """The message that the reply is shown as an answer to, if it is."""
    asked = wakers.last(db, run) if run.task_id is None else None
    if asked is None:
        return None
    spoken_since = messages.has_newer(db, run.chat, asked.seq)
    return asked.seq if is_quoted(is_group=messages.is_group(db, run.chat), spoken_since=spoken_since) else None


def _move_cursor(db: sqlite3.Connection, run: Run) -> None:
    db.execute(
        "INSERT INTO cursor (folder, answered_seq, told_change) VALUES (?, ?, ?)"
        " ON CONFLICT (folder) DO UPDATE SET answered_seq = max(answered_seq, excluded.answered_seq),"
        " told_change = max(told_change, excluded.told_change)",
        (run.folder, run.upto_seq, run.upto_change),
    )


def _note_told(db: sqlite3.Connection, run: Run) -> None:
    db.execute("UPDATE cursor SET told_change = max(told_change, ?) WHERE folder = ?", (run.upto_change, run.folder))


def _count_failures(db: sqlite3.Connection, run: Run, *, failed: bool) -> int:
    """How often in a row the run's task has failed now."""
    row = db.execute(
        "UPDATE task SET failures = CASE WHEN ? THEN failures + 1 ELSE 0 END WHERE id = ? RETURNING failures",
        (failed, run.task_id),
    ).fetchone()
    return row["failures"] if row else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Failing:
    """How an attempt ended badly, and what was decided."""

    kind: FailureKind
    detail: str
    provider: str | None
    retry_at: datetime | None
    notice: str | None


def fail(db: sqlite3.Connection, run: Run, failing: Failing, now: datetime) -> bool:
    """End or put back a run that went badly. The cursor stays: its messages are still to be answered.

    A task's chat is told only when its runs keep failing; nobody waits for a single one.
    """
    if failing.retry_at is None:
        ended = _end(
            db, run, RunState.FAILED, now, provider=failing.provider, failure=failing.kind, detail=failing.detail
        )
    else:
        ended = _put_back(db, run, failing, failing.retry_at)
    tell = ended
    if ended and run.task_id is not None and failing.retry_at is None:
        tell = _count_failures(db, run, failed=True) % _FAILURES_TOLD == 0
    if tell and failing.notice:
        outbox.put(db, f"run-{run.id}-notice-{run.attempt}", run.chat, "notice", failing.notice, run.id, now)
    return ended


def _put_back(db: sqlite3.Connection, run: Run, failing: Failing, due_at: datetime) -> bool:
    if not _wait_again(db, run, due_at):
        return False
    db.execute(
        "UPDATE run SET failures = failures + 1, failure = ?, detail = ?, provider = ? WHERE id = ?",
        (failing.kind, failing.detail, failing.provider, run.id),
    )
    return True


def interrupt(db: sqlite3.Connection, run: Run, now: datetime) -> bool:
    """Put back a run that the host itself stopped; it does not count as a failure."""
    return _wait_again(db, run, now)


def stop(
    db: sqlite3.Connection, folder: Folder, chat: Jid, now: datetime, *, queue_too: bool
) -> tuple[Run | None, int]:
    """End the group's running run for good, as somebody said so; what it took counts as answered.

    Args:
        db: the database, in a transaction.
        folder: whose run.
        chat: its chat.
        now: the present.
        queue_too: whether what waits is forgotten as well.

    Returns:
        The run that was ended, and how many waiting ones were forgotten.
    """
    ended = runs.running(db, folder)
    if ended is not None:
        _end(db, ended, RunState.FAILED, now, provider=ended.provider, failure="stopped")
        if ended.task_id is None:
            _move_cursor(db, ended)
    if not queue_too:
        return ended, 0
    forgotten = db.execute("DELETE FROM run WHERE folder = ? AND state = 'waiting'", (folder,)).rowcount
    db.execute(
        "INSERT INTO cursor (folder, answered_seq) SELECT ?, coalesce(max(seq), 0) FROM message WHERE chat = ?"
        " ON CONFLICT (folder) DO UPDATE SET answered_seq = max(answered_seq, excluded.answered_seq)",
        (folder, chat),
    )
    return ended, forgotten


def was_stopped(db: sqlite3.Connection, run: Run) -> bool:
    """Whether this attempt was ended because somebody said so."""
    row = db.execute(
        "SELECT 1 FROM run WHERE id = ? AND attempt = ? AND state = 'failed' AND failure = 'stopped'",
        (run.id, run.attempt),
    ).fetchone()
    return row is not None


def recover(db: sqlite3.Connection, now: datetime) -> list[RunId]:
    """At start: what the last host left running waits again."""
    left = [runs.from_row(row) for row in db.execute("SELECT * FROM run WHERE state = 'running'")]
    for run in left:
        interrupt(db, run, now)
    return [run.id for run in left]


def _wait_again(db: sqlite3.Connection, run: Run, due_at: datetime) -> bool:
    """Put a running run back. A group has one waiting run of messages: the newer one's are taken by this one then."""
    attempt = (run.id, run.attempt)
    if not db.execute("SELECT 1 FROM run WHERE id = ? AND attempt = ? AND state = 'running'", attempt).fetchone():
        return False
    if run.cause == "messages":
        db.execute("DELETE FROM run WHERE folder = ? AND state = 'waiting' AND cause = 'messages'", (run.folder,))
    db.execute("UPDATE run SET state = 'waiting', due_at = ? WHERE id = ?", (iso(due_at), run.id))
    runs.cancel_needless(db, run.folder, run.chat)
    return True


def _end(
    db: sqlite3.Connection,
    run: Run,
    state: RunState,
    now: datetime,
    *,
    provider: str | None,
    failure: FailureKind | None = None,
    detail: str | None = None,
    usage: TokenUsage | None = None,
) -> bool:
    usage = usage or TokenUsage()
    return _changed(
        db.execute(
            "UPDATE run SET state = ?, ended_at = ?, provider = ?, failure = ?, detail = ?, failures = failures + ?,"
            " input_tokens = ?, cached_input_tokens = ?, output_tokens = ?, cost_usd = ?"
            " WHERE id = ? AND attempt = ? AND state = 'running'",
            (
                state,
                iso(now),
                provider,
                failure,
                detail,
                1 if failure else 0,
                usage.input_tokens,
                usage.cached_input_tokens,
                usage.output_tokens,
                usage.cost_usd,
                run.id,
                run.attempt,
            ),
        )
    )


def _changed(cursor: sqlite3.Cursor) -> bool:
    return cursor.rowcount == 1
