"""The runs under any order of events: nothing lost, nothing answered twice, a group strictly serial."""

import shutil
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nanoclaw.intake import take_in
from nanoclaw.model import Folder, InboundDeletion, InboundMessage, Jid, RegisteredGroup, Run, Seq, TokenUsage
from nanoclaw.store import changes, endings, messages, runs
from nanoclaw.store.database import connect, transaction
from nanoclaw.store.endings import Failing, Success

_FOLDERS = ("main", "b", "c")


class RunMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.db = connect(self.directory / "n.db", self.now)
        self.said: dict[str, list[str]] = {folder: [] for folder in _FOLDERS}
        self.numbers = count()
        self.live: list[Run] = []
        self.stale: list[Run] = []

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.directory)

    def _texts(self, run: Run) -> list[str]:
        return [m.text for m in messages.between(self.db, run.chat, run.after_seq, run.upto_seq, 10_000)[0]]

    @rule(folder=st.sampled_from(_FOLDERS))
    def somebody_writes(self, folder: str) -> None:
        text = f"{folder}-{next(self.numbers)}"
        self.said[folder].append(text)
        group = RegisteredGroup(
            jid=Jid(f"local:{folder}"),
            name=folder,
            folder=Folder(folder),
            trigger="@A",
            added_at="",
            requires_trigger=False,
        )
        message = InboundMessage(
            channel="local", account="local", chat=group.jid, chat_name="", sender="s", sender_name="S",
            ext_id=text, text=text, sent_at=self.now,
        )  # fmt: skip
        with transaction(self.db):
            take_in(self.db, message, group, self.now)

    @rule(folder=st.sampled_from(_FOLDERS), data=st.data())
    def somebody_takes_a_message_back(self, folder: str, data: st.DataObject) -> None:
        open_ones = self.said[folder][len(outbox_texts(self.db, Jid(f"local:{folder}"))) :]
        if not open_ones:
            return
        text = data.draw(st.sampled_from(open_ones))
        self.said[folder].remove(text)
        chat = Jid(f"local:{folder}")
        group = RegisteredGroup(jid=chat, name="", folder=Folder(folder), trigger="@A", added_at="")
        deletion = InboundDeletion(account="local", chat=chat, sender="s", ext_id=text, at=self.now)
        with transaction(self.db):
            changes.delete(self.db, group, deletion)

    @rule(places=st.integers(1, 3))
    def dispatch_claims(self, places: int) -> None:
        with transaction(self.db):
            self.live += runs.claim(self.db, self.now, places, frozenset())

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def an_attempt_succeeds(self, data: st.DataObject) -> None:
        run = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        success = Success(reply=" ".join(self._texts(run)), provider="p", session_id=None, usage=TokenUsage())
        with transaction(self.db):
            assert endings.finish(self.db, run, success, self.now)
        self.stale.append(run)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), again=st.booleans())
    def an_attempt_fails(self, data: st.DataObject, again: bool) -> None:
        run = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        retry_at = self.now + timedelta(seconds=5) if again else None
        with transaction(self.db):
            failing = Failing(kind="network", detail="", provider="p", retry_at=retry_at, notice=None)
            assert endings.fail(self.db, run, failing, self.now)
        self.stale.append(run)

    @rule(folder=st.sampled_from(_FOLDERS), queue_too=st.booleans())
    def somebody_says_stop(self, folder: str, queue_too: bool) -> None:
        going = next((run for run in self.live if run.folder == folder), None)
        dropped = self._texts(going) if going else []
        chat = Jid(f"local:{folder}")
        with transaction(self.db):
            ended, _ = endings.stop(self.db, Folder(folder), chat, self.now, queue_too=queue_too)
        assert (ended and ended.id) == (going and going.id)
        if going:
            self.live.remove(going)
            self.stale.append(going)
        answered = len(outbox_texts(self.db, chat))
        left = [] if queue_too else [text for text in self.said[folder][answered:] if text not in dropped]
        self.said[folder][answered:] = left

    @rule()
    def the_host_crashes(self) -> None:
        self.db.close()
        self.db = connect(self.directory / "n.db", self.now)
        with transaction(self.db):
            endings.recover(self.db, self.now)
        self.stale += self.live
        self.live = []

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), how=st.sampled_from(("finish", "fail", "retry", "interrupt")))
    def an_attempt_that_is_over_speaks_again(self, data: st.DataObject, how: str) -> None:
        run = data.draw(st.sampled_from(self.stale))
        before = list(self.db.iterdump())
        with transaction(self.db):
            if how == "finish":
                success = Success(reply="ghost", provider="p", session_id="s", usage=TokenUsage())
                assert not endings.finish(self.db, run, success, self.now)
            elif how == "interrupt":
                assert not endings.interrupt(self.db, run, self.now)
            else:
                retry_at = self.now if how == "retry" else None
                failing = Failing(kind="network", detail="", provider="p", retry_at=retry_at, notice="ghost")
                assert not endings.fail(self.db, run, failing, self.now)
        assert list(self.db.iterdump()) == before

    @rule()
    def time_passes(self) -> None:
        self.now += timedelta(seconds=10)

    @invariant()
    def a_group_never_runs_twice(self) -> None:
        folders = [run.folder for run in self.live]
        assert len(folders) == len(set(folders))

    @invariant()
    def no_message_is_answered_twice_or_out_of_order(self) -> None:
        for folder in _FOLDERS:
            rows = outbox_texts(self.db, Jid(f"local:{folder}"))
            assert rows == self.said[folder][: len(rows)]

    @invariant()
    def no_message_is_forgotten(self) -> None:
        """What is not answered would be handed over by the next run."""
        for folder in _FOLDERS:
            rows = outbox_texts(self.db, Jid(f"local:{folder}"))
            answered = self.db.execute("SELECT answered_seq FROM cursor WHERE folder = ?", (folder,)).fetchone()
            after = Seq(answered["answered_seq"] if answered else 0)
            left = messages.between(self.db, Jid(f"local:{folder}"), after, runs_last(self.db), 10_000)[0]
            assert rows + [message.text for message in left] == self.said[folder]

    @invariant()
    def no_message_is_left_without_a_run(self) -> None:
        """What no attempt has taken yet is waited for by a run."""
        asleep = self.db.execute(
            "SELECT chat, text FROM message WHERE wakes = 1 AND deleted_at IS NULL"
            " AND seq > (SELECT coalesce(max(upto_seq), 0) FROM run"
            " WHERE run.chat = message.chat AND state <> 'waiting')"
            " AND seq > coalesce((SELECT max(answered_seq) FROM cursor WHERE 'local:' || folder = message.chat), 0)"
            " AND NOT EXISTS (SELECT 1 FROM run WHERE run.chat = message.chat AND state = 'waiting')"
        ).fetchall()
        assert not [tuple(row) for row in asleep]


def outbox_texts(db: sqlite3.Connection, chat: Jid) -> list[str]:
    rows = db.execute("SELECT text FROM outbox WHERE chat = ? ORDER BY id", (chat,))
    return [text for row in rows for text in row["text"].split()]


def runs_last(db: sqlite3.Connection) -> Seq:
    return db.execute("SELECT coalesce(max(seq), 0) AS n FROM message").fetchone()["n"]


TestRunMachine = RunMachine.TestCase
TestRunMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
