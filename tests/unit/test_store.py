"""The durable queue, its locks and the outbox, on a real file."""

import sqlite3
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nanoclaw.clock import iso
from nanoclaw.errors import StoreError
from nanoclaw.intake import take_in
from nanoclaw.model import Folder, InboundMessage, InboundReceipt, Jid, RegisteredGroup, Run, RunState, Seq, TokenUsage
from nanoclaw.store import answers, endings, mailbox_files, messages, outbox, runs
from nanoclaw.store.database import connect, migrations, transaction
from nanoclaw.store.endings import Failing, Success

_NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
_NOBODY: frozenset[Folder] = frozenset()


@pytest.fixture
def db(tmp_path: Path) -> Generator[sqlite3.Connection]:
    connection = connect(tmp_path / "store" / "nanoclaw.db", _NOW)
    yield connection
    connection.close()


def a_group(folder: str = "main") -> RegisteredGroup:
    return RegisteredGroup(jid=Jid(f"local:{folder}"), name=folder, folder=Folder(folder), trigger="@A", added_at="")


def say(db: sqlite3.Connection, text: str, folder: str = "main", ext_id: str | None = None, at: datetime = _NOW) -> Seq:
    message = InboundMessage(
        channel="local",
        account="local",
        chat=Jid(f"local:{folder}"),
        chat_name=folder,
        sender="local:bob",
        sender_name="Bob",
        ext_id=ext_id or text,
        text=text,
        sent_at=at,
    )
    with transaction(db):
        stored = take_in(db, message, a_group(folder), at)
    assert stored is not None
    return stored.seq


def claim_one(db: sqlite3.Connection, at: datetime = _NOW) -> Run:
    (run,) = runs.claim(db, at, 1, _NOBODY)
    return run


def answer(db: sqlite3.Connection, run: Run, reply: str = "reply", session: str | None = None) -> bool:
    success = Success(reply=reply, provider="claude", session_id=session, usage=TokenUsage(input_tokens=3))
    return endings.finish(db, run, success, _NOW)


def failing(retry_at: datetime | None = None, notice: str | None = "sorry") -> Failing:
    return Failing(kind="network", detail="d", provider="claude", retry_at=retry_at, notice=notice)


def texts_of(db: sqlite3.Connection, run: Run) -> list[str]:
    return [message.text for message in messages.between(db, run.chat, run.after_seq, run.upto_seq, 100)[0]]


def test_a_message_that_comes_twice_is_stored_once_and_wakes_once(db: sqlite3.Connection) -> None:
    first = say(db, "hi", ext_id="x")
    run = claim_one(db)
    assert answer(db, run)
    assert say(db, "hi", ext_id="x") == first
    assert runs.claim(db, _NOW, 5, _NOBODY) == []


def test_messages_fold_into_the_waiting_run(db: sqlite3.Connection) -> None:
    for text in ("one", "two", "three"):
        say(db, text)
    assert runs.counts(db) == {"waiting": 1, "running": 0}
    assert texts_of(db, claim_one(db)) == ["one", "two", "three"]


def test_a_message_during_a_run_is_answered_by_the_next(db: sqlite3.Connection) -> None:
    say(db, "one")
    first = claim_one(db)
    say(db, "two")
    assert runs.claim(db, _NOW, 5, _NOBODY) == [], "a group never runs twice at once"
    assert answer(db, first)
    second = claim_one(db)
    assert (texts_of(db, first), texts_of(db, second)) == (["one"], ["two"])


def test_nothing_is_consumed_before_it_is_answered(db: sqlite3.Connection) -> None:
    say(db, "one")
    run = claim_one(db)
    assert endings.fail(db, run, failing(), _NOW)
    assert outbox.of_run(db, run.id)[0].text == "sorry"
    say(db, "two")
    assert texts_of(db, claim_one(db)) == ["one", "two"]


def test_a_failed_attempt_waits_and_takes_in_what_came_meanwhile(db: sqlite3.Connection) -> None:
    say(db, "one")
    run = claim_one(db)
    say(db, "two")
    later = _NOW + timedelta(seconds=5)
    assert endings.fail(db, run, failing(later, None), _NOW)
    assert runs.claim(db, _NOW, 5, _NOBODY) == []
    again = claim_one(db, later)
    assert (again.id, again.attempt, again.failures) == (run.id, 2, 1)
    assert texts_of(db, again) == ["one", "two"]


def test_an_outcome_of_an_attempt_that_is_over_changes_nothing(db: sqlite3.Connection) -> None:
    say(db, "one")
    stale = claim_one(db)
    assert endings.interrupt(db, stale, _NOW)
    fresh = claim_one(db)
    assert not answer(db, stale)
    assert not endings.fail(db, stale, failing(), _NOW)
    assert answer(db, fresh, "the answer")
    assert not answer(db, fresh, "again")
    assert [item.text for item in outbox.of_run(db, fresh.id)] == ["the answer"]


def test_what_is_written_while_the_sandbox_of_a_stopped_run_ends_is_answered(db: sqlite3.Connection) -> None:
    say(db, "one")
    run = claim_one(db)
    endings.stop(db, run.folder, run.chat, _NOW, queue_too=False)
    say(db, "two")
    assert not endings.interrupt(db, run, _NOW)
    assert not endings.fail(db, run, failing(retry_at=_NOW), _NOW)
    assert texts_of(db, claim_one(db)) == ["two"]


def test_after_a_crash_running_runs_wait_again_and_it_counts_as_no_failure(db: sqlite3.Connection) -> None:
    say(db, "one")
    run = claim_one(db)
    say(db, "two")
    assert endings.recover(db, _NOW) == [run.id]
    again = claim_one(db)
    assert (again.id, again.failures, texts_of(db, again)) == (run.id, 0, ["one", "two"])


def test_the_longest_waiting_groups_go_first_and_never_more_than_there_are_places(db: sqlite3.Connection) -> None:
    for number, folder in enumerate(("main", "b", "c", "d")):
        say(db, "@A hi", folder, at=_NOW + timedelta(seconds=number))
    later = _NOW + timedelta(minutes=1)
    first = runs.claim(db, later, 2, _NOBODY)
    assert [run.folder for run in first] == ["main", "b"]
    assert [run.folder for run in runs.claim(db, later, 2, frozenset({Folder("c")}))] == ["d"]


def test_silence_moves_the_cursor_and_says_nothing(db: sqlite3.Connection) -> None:
    seq = say(db, "one")
    run = claim_one(db)
    assert answer(db, run, "")
    assert answers.answer_to(db, run.folder, seq) == ("answered", [])
    say(db, "two")
    assert texts_of(db, claim_one(db)) == ["two"]


def test_sessions_belong_to_group_and_provider(db: sqlite3.Connection) -> None:
    say(db, "one")
    run = claim_one(db)
    assert answer(db, run, session="s-1")
    assert runs.session(db, run.folder, "claude") == "s-1"
    assert runs.session(db, run.folder, "codex") is None
    assert runs.session(db, Folder("other"), "claude") is None


def test_replies_of_a_chat_go_one_after_the_other(db: sqlite3.Connection) -> None:
    for number in range(3):
        outbox.put(db, f"k{number}", Jid("local:a"), "reply", str(number), None, _NOW)
    outbox.put(db, "other", Jid("local:b"), "reply", "b", None, _NOW)
    first = {item.chat: item for item in outbox.take(db, _NOW)}
    assert sorted(item.text for item in first.values()) == ["0", "b"]
    assert outbox.take(db, _NOW) == []
    outbox.retry(db, first[Jid("local:a")], "lost connection", _NOW + timedelta(seconds=5))
    assert outbox.take(db, _NOW) == [], "a reply that waits holds up the ones behind it"
    (again,) = outbox.take(db, _NOW + timedelta(seconds=5))
    assert (again.text, again.attempt) == ("0", 2)
    outbox.reject(db, again, "rejected", _NOW)
    (second,) = outbox.take(db, _NOW + timedelta(seconds=5))
    assert second.text == "1"


def test_what_was_lost_is_told_once_and_what_is_unknown_not_before_its_time(db: sqlite3.Connection) -> None:
    for key in ("failed", "unknown"):
        outbox.put(db, key, Jid(f"local:{key}"), "reply", key, None, _NOW)
    for item in outbox.take(db, _NOW):
        if item.key == "failed":
            outbox.reject(db, item, "blocked", _NOW)
        else:
            outbox.part_unknown(db, item, 1, "no ack", _NOW, last=True)
    assert outbox.first_untold(db) == _NOW
    assert [item.key for item in outbox.untold(db, _NOW - timedelta(minutes=10))] == ["failed"]
    assert [item.key for item in outbox.untold(db, _NOW)] == ["unknown"]
    assert outbox.untold(db, _NOW + timedelta(days=1)) == []
    assert outbox.first_untold(db) is None


def test_the_same_key_is_the_same_reply(db: sqlite3.Connection) -> None:
    outbox.put(db, "k", Jid("local:a"), "reply", "first", None, _NOW)
    outbox.put(db, "k", Jid("local:a"), "reply", "second", None, _NOW)
    assert [item.text for item in outbox.take(db, _NOW)] == ["first"]


def test_an_answer_is_complete_when_all_it_said_has_arrived(db: sqlite3.Connection) -> None:
    seq = say(db, "one")
    assert answers.answer_to(db, Folder("main"), seq)[0] == "waiting"
    run = claim_one(db)
    assert answer(db, run)
    assert answers.answer_to(db, run.folder, seq) == ("waiting", [])
    (item,) = outbox.take(db, _NOW)
    outbox.part_sent(db, item, 1, "p-1", _NOW, last=True)
    state, replies = answers.answer_to(db, run.folder, seq)
    assert (state, [reply.text for reply in replies]) == ("answered", ["reply"])


def test_a_message_without_the_trigger_is_kept_as_context_for_the_next_that_has_it(db: sqlite3.Connection) -> None:
    seq = say(db, "just talking", "family")
    assert answers.answer_to(db, Folder("family"), seq)[0] == "not_addressed"
    say(db, "@A well?", "family")
    assert texts_of(db, claim_one(db)) == ["just talking", "@A well?"]
    assert answers.answer_to(db, Folder("family"), seq)[0] == "waiting"


def test_the_last_exchanges_hold_both_sides_in_order(db: sqlite3.Connection) -> None:
    for number in range(3):
        at = _NOW + timedelta(minutes=number)
        say(db, f"question {number}", at=at)
        run = claim_one(db, at)
        success = Success(reply=f"answer {number}", provider="codex", session_id=None, usage=TokenUsage())
        assert endings.finish(db, run, success, at + timedelta(seconds=30))
    say(db, "now", at=_NOW + timedelta(hours=1))
    run = claim_one(db, _NOW + timedelta(hours=1))
    shown = messages.exchanges(db, run.chat, run.after_seq, 4)
    assert [exchange["text"] for exchange in shown] == ["question 1", "answer 1", "question 2", "answer 2"]
    assert [exchange["assistant"] for exchange in shown] == [False, True, False, True]


def test_only_so_many_messages_are_handed_over_and_the_rest_is_counted(db: sqlite3.Connection) -> None:
    for number in range(7):
        say(db, str(number))
    run = claim_one(db)
    taken, omitted = messages.between(db, run.chat, run.after_seq, run.upto_seq, 3)
    assert ([message.text for message in taken], omitted) == (["4", "5", "6"], 4)


def test_an_unregistered_chat_is_known_by_name_and_time_only(db: sqlite3.Connection) -> None:
    message = InboundMessage(
        channel="local",
        account="local",
        chat=Jid("local:elsewhere"),
        chat_name="Elsewhere",
        sender="s",
        sender_name="S",
        ext_id="1",
        text="private",
        sent_at=_NOW,
    )
    with transaction(db):
        assert take_in(db, message, None, _NOW) is None
    assert [chat.name for chat in messages.known_chats(db)] == ["Elsewhere"]
    assert "private" not in "\n".join(db.iterdump())


def test_a_mailbox_file_takes_effect_once(db: sqlite3.Connection) -> None:
    seen: list[int] = []

    def effect(_: sqlite3.Connection) -> dict[str, object]:
        seen.append(1)
        return {"ok": True, "n": len(seen)}

    for _ in range(2):
        with transaction(db):
            assert mailbox_files.apply_once(db, Folder("a"), "key", _NOW, effect) == {"ok": True, "n": 1}
    assert seen == [1]
    assert mailbox_files.prune(db, _NOW + timedelta(days=8)) == 1


def test_a_transaction_that_fails_leaves_nothing(db: sqlite3.Connection) -> None:
    def put_and_fail() -> None:
        with transaction(db):
            outbox.put(db, "k", Jid("local:a"), "reply", "x", None, _NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        put_and_fail()
    assert outbox.open_count(db) == 0


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    connection = connect(path, _NOW)
    connection.execute("INSERT INTO migration VALUES ('9999_future.sql', '')")
    connection.close()
    with pytest.raises(StoreError, match="newer"):
        connect(path, _NOW)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    path.write_text("this is no database, and long enough to be taken for one" * 100, encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be opened"):
        connect(path, _NOW)


def test_migrations_are_numbered_without_gaps() -> None:
    assert [name[:4] for name in migrations()] == [f"{number:04}" for number in range(1, len(migrations()) + 1)]


def test_finished_run_keeps_usage_and_times(db: sqlite3.Connection) -> None:
    say(db, "one")
    run = claim_one(db)
    assert answer(db, run)
    (kept,) = runs.recent(db, 10)
    assert (kept.state, kept.usage.input_tokens, kept.ended_at) == (RunState.DONE, 3, _NOW)


def test_a_database_of_before_is_brought_up_to_date_with_all_that_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    old = sqlite3.connect(path)
    old.execute("CREATE TABLE migration (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL)")
    for name in ("0001_initial.sql", "0002_tasks.sql"):
        old.executescript(migrations()[name])
        old.execute("INSERT INTO migration VALUES (?, '')", (name,))
    at = iso(_NOW)
    for text in ("answered", "open"):
        old.execute(
            "INSERT INTO message (account, chat, sender, ext_id, sender_name, text, sent_at, received_at)"
            " VALUES ('local', 'local:main', 'local:bob', ?, 'Bob', ?, ?, ?)",
            (text, text, at, at),
        )
    old.execute("INSERT INTO cursor (folder, answered_seq) VALUES ('main', 1)")
    for key, state in (("gone", "sent"), ("lost", "unknown"), ("next", "ready")):
        old.execute(
            "INSERT INTO outbox (key, chat, kind, text, state, due_at, created_at, sent_at, platform_id)"
            " VALUES (?, 'local:main', 'reply', ?, ?, ?, ?, ?, ?)",
            (key, key, state, at, at, at if state == "sent" else None, "p" if state == "sent" else None),
        )
    old.commit()
    old.close()
    db = connect(path, _NOW)
    with transaction(db):
        runs.queue(db, Folder("main"), Jid("local:main"), _NOW)
        run = claim_one(db)
    assert texts_of(db, run) == ["open"]
    assert [item.key for item in outbox.take(db, _NOW)] == ["next"]
    assert outbox.untold(db, _NOW + timedelta(days=1)) == [], "what was lost long ago is no news"
    assert outbox.undelivered(db) == {"failed": 0, "unknown": 1}
    receipt = InboundReceipt(chat=Jid("local:main"), platform_id="p2", state="server", at=_NOW, key="lost/1")
    assert outbox.note_receipt(db, receipt)
    assert outbox.undelivered(db) == {"failed": 0, "unknown": 0}
    db.close()
    assert list(tmp_path.glob("n-before-upgrade-*.db"))
