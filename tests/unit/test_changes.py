"""Edits, deletions and reactions: they amend what is stored, and never start a run."""

import json
import sqlite3
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from nanoclaw.config import Settings
from nanoclaw.credentials import Credential
from nanoclaw.gateway.decision import Route
from nanoclaw.intake import take_in
from nanoclaw.model import (
    Folder,
    InboundDeletion,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    Jid,
    RegisteredGroup,
    Run,
    RunState,
    ScheduledTask,
    TaskId,
    TaskState,
    TokenUsage,
)
from nanoclaw.providers import ProviderName
from nanoclaw.request import build_request
from nanoclaw.store import changes, endings, messages, outbox, runs, tasks
from nanoclaw.store.database import connect
from nanoclaw.store.endings import Failing, Success

_NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
_CHAT = Jid("1@g.us")
_GROUP = RegisteredGroup(jid=_CHAT, name="Family", folder=Folder("family"), trigger="@A", added_at="")
_TASK = ScheduledTask(
    id=TaskId("t"),
    folder=Folder("family"),
    prompt="remind us",
    schedule_type="interval",
    schedule_value="1000",
    timezone="UTC",
    context_mode="group",
    missed="coalesce",
    state=TaskState.ACTIVE,
    next_at=None,
    created_at=_NOW,
)
_ROUTE = Route(provider="codex", base_url="https://x.test", headers={}, chatgpt_base_url=None)
_MESSAGE = InboundMessage(
    channel="whatsapp",
    account="me",
    chat=_CHAT,
    chat_name="Family",
    sender="bob",
    sender_name="Bob",
    ext_id="",
    text="",
    sent_at=_NOW,
)


@pytest.fixture
def db(tmp_path: Path) -> Generator[sqlite3.Connection]:
    connection = connect(tmp_path / "n.db", _NOW)
    yield connection
    connection.close()


def say(db: sqlite3.Connection, text: str, ext_id: str) -> None:
    take_in(db, replace(_MESSAGE, text=text, ext_id=ext_id), _GROUP, _NOW)


def edit(db: sqlite3.Connection, ext_id: str, text: str, minute: int = 1) -> None:
    at = _NOW + timedelta(minutes=minute)
    changes.edit(db, _GROUP, InboundEdit(account="me", chat=_CHAT, sender="bob", ext_id=ext_id, text=text, at=at))


def delete(db: sqlite3.Connection, ext_id: str) -> None:
    changes.delete(db, _GROUP, InboundDeletion(account="me", chat=_CHAT, sender="bob", ext_id=ext_id, at=_NOW))


def react(db: sqlite3.Connection, ext_id: str, emoji: str, minute: int = 1, target: str = "bob") -> None:
    reaction = InboundReaction(
        account="me",
        chat=_CHAT,
        sender="eve",
        sender_name="Eve",
        target_sender=target,
        target_ext_id=ext_id,
        emoji=emoji,
        at=_NOW + timedelta(minutes=minute),
    )
    changes.react(db, reaction, "member")


def waiting(db: sqlite3.Connection) -> int:
    return runs.counts(db)["waiting"]


def claim(db: sqlite3.Connection) -> Run:
    (run,) = runs.claim(db, _NOW, 1, frozenset())
    return run


def finish(db: sqlite3.Connection, run: Run) -> None:
    assert endings.finish(db, run, Success(reply="ok", provider="p", session_id=None, usage=TokenUsage()), _NOW)


def shown(db: sqlite3.Connection, run: Run) -> list[str]:
    return [message.text for message in messages.between(db, run.chat, run.after_seq, run.upto_seq, 100)[0]]


def told(db: sqlite3.Connection, run: Run) -> list[tuple[str, str, str]]:
    return [(change.kind, change.text, change.about) for change in messages.changes(db, run)]


def test_a_run_that_has_not_begun_sees_the_new_text_and_no_word_of_the_old(db: sqlite3.Connection) -> None:
    say(db, "@A at five", "1")
    edit(db, "1", "@A at six")
    run = claim(db)
    assert (shown(db, run), told(db, run)) == (["@A at six"], [])
    (message,), _ = messages.between(db, _CHAT, run.after_seq, run.upto_seq, 1)
    assert message.edited_at == _NOW + timedelta(minutes=1)


def test_what_was_edited_after_an_agent_had_it_is_told_to_the_next_run_once(db: sqlite3.Connection) -> None:
    say(db, "@A at five", "1")
    run = claim(db)
    edit(db, "1", "@A at six")
    assert told(db, run) == []
    finish(db, run)
    edit(db, "1", "@A at seven", 2)
    assert waiting(db) == 0, "an edit starts no run"
    say(db, "@A well?", "2")
    run = claim(db)
    assert told(db, run) == [("edit", "@A at seven", "@A at five")]
    finish(db, run)
    say(db, "@A and now?", "3")
    assert told(db, claim(db)) == []


def task_prompts(db: sqlite3.Connection, provider: ProviderName) -> str:
    """What the next run of a task is handed over, as text; it goes well."""
    tasks.queue_runs(db, _TASK, _CHAT, [_NOW + timedelta(seconds=runs_so_far(db))], _NOW)
    run, group = claim(db), replace(_GROUP, provider=provider)
    credential = Credential(method="api_key", where="host", route=_ROUTE)
    request = build_request(db, run, group, credential, Settings(), ZoneInfo("UTC"), "WhatsApp")
    told = "sessionId" in request
    success = Success(reply="", provider=provider, session_id="s", usage=TokenUsage(), told_changes=told)
    assert endings.finish(db, run, success, _NOW)
    return json.dumps([request["prompt"], request.get("history", [])])


def runs_so_far(db: sqlite3.Connection) -> int:
    return len(runs.recent(db, 100))


def test_a_task_that_is_shown_the_last_messages_is_shown_them_as_they_are_now(db: sqlite3.Connection) -> None:
    tasks.add(db, _TASK)
    say(db, "@A at five", "1")
    say(db, "a secret", "2")
    finish(db, claim(db))
    edit(db, "1", "@A at six")
    delete(db, "2")
    shown = task_prompts(db, "codex")
    assert "at six" in shown
    assert "at five" not in shown
    assert "a secret" not in shown


def test_a_task_whose_session_goes_on_is_told_once_what_became_of_messages(db: sqlite3.Connection) -> None:
    tasks.add(db, _TASK)
    say(db, "@A at five", "1")
    success = Success(reply="ok", provider="claude", session_id="s", usage=TokenUsage())
    assert endings.finish(db, claim(db), success, _NOW)
    edit(db, "1", "@A at six")
    assert "at six" in task_prompts(db, "claude")
    assert "at six" not in task_prompts(db, "claude")
    say(db, "@A well?", "2")
    assert told(db, claim(db)) == []


def test_a_run_that_fails_leaves_the_changes_to_be_told_again(db: sqlite3.Connection) -> None:
    say(db, "@A one", "1")
    finish(db, claim(db))
    delete(db, "1")
    say(db, "@A two", "2")
    run = claim(db)
    assert told(db, run) == [("deletion", "", "@A one")]
    endings.interrupt(db, run, _NOW)
    assert told(db, claim(db)) == [("deletion", "", "@A one")]


def test_a_message_that_was_withdrawn_is_seen_by_no_run(db: sqlite3.Connection) -> None:
    say(db, "a secret", "1")
    say(db, "@A hi", "2")
    delete(db, "1")
    run = claim(db)
    assert (shown(db, run), told(db, run)) == (["@A hi"], [])
    assert "a secret" not in "\n".join(db.iterdump())


def test_a_waiting_run_is_cancelled_with_the_last_message_that_woke_it(db: sqlite3.Connection) -> None:
    say(db, "just talking", "0")
    say(db, "@A one", "1")
    say(db, "@A two", "2")
    delete(db, "1")
    assert waiting(db) == 1
    delete(db, "2")
    assert waiting(db) == 0
    assert outbox.last_id(db) == 0, "nobody is told"


def test_a_run_waits_no_longer_for_what_was_withdrawn_while_another_works(db: sqlite3.Connection) -> None:
    say(db, "@A one", "1")
    run = claim(db)
    say(db, "@A two", "2")
    assert waiting(db) == 1
    delete(db, "2")
    assert waiting(db) == 0
    delete(db, "1")
    finish(db, run)
    kept = runs.get(db, run.id)
    assert kept is not None
    assert kept.state is RunState.DONE


def test_a_run_that_is_put_back_is_cancelled_if_all_it_was_for_was_withdrawn_meanwhile(db: sqlite3.Connection) -> None:
    say(db, "just talking", "0")
    say(db, "@A one", "1")
    run = claim(db)
    delete(db, "1")
    assert endings.interrupt(db, run, _NOW)
    assert waiting(db) == 0
    say(db, "@A two", "2")
    run = claim(db)
    delete(db, "2")
    failing = Failing(kind="network", detail="", provider="p", retry_at=_NOW, notice=None)
    assert endings.fail(db, run, failing, _NOW)
    assert waiting(db) == 0


def test_a_run_that_the_owner_asked_for_is_not_cancelled(db: sqlite3.Connection) -> None:
    say(db, "just talking", "0")
    say(db, "more of it", "1")
    runs.queue_at_once(db, _GROUP.folder, _CHAT, _NOW)
    delete(db, "1")
    assert waiting(db) == 1


def test_a_message_that_was_edited_and_then_withdrawn_is_told_of_as_withdrawn_alone(db: sqlite3.Connection) -> None:
    say(db, "@A at five", "1")
    finish(db, claim(db))
    edit(db, "1", "@A a secret")
    delete(db, "1")
    say(db, "@A hi", "2")
    assert told(db, claim(db)) == [("deletion", "", "@A at five")]
    assert "secret" not in "\n".join(db.iterdump())


@pytest.mark.parametrize("times", [1, 2])
def test_what_comes_before_its_message_is_applied_when_that_comes(db: sqlite3.Connection, times: int) -> None:
    for _ in range(times):
        edit(db, "1", "@A at six")
        delete(db, "2")
    say(db, "@A at five", "1")
    say(db, "@A secret", "2")
    run = claim(db)
    assert (shown(db, run), told(db, run)) == (["@A at six"], [])
    assert waiting(db) == 0


def test_a_message_that_was_withdrawn_before_it_came_wakes_nobody(db: sqlite3.Connection) -> None:
    delete(db, "1")
    say(db, "@A secret", "1")
    say(db, "@A secret", "1")
    assert waiting(db) == 0
    assert "secret" not in "\n".join(db.iterdump())


def test_changes_that_come_twice_or_late_change_nothing(db: sqlite3.Connection) -> None:
    say(db, "@A at five", "1")
    finish(db, claim(db))
    edit(db, "1", "@A at seven", 3)
    edit(db, "1", "@A at six", 2)
    edit(db, "1", "@A at seven", 3)
    delete(db, "unknown")
    say(db, "@A hi", "2")
    run = claim(db)
    assert told(db, run) == [("edit", "@A at seven", "@A at five")]
    finish(db, run)
    edit(db, "1", "@A at seven", 3)
    delete(db, "2")
    delete(db, "2")
    edit(db, "2", "again", 9)
    say(db, "@A so?", "3")
    assert told(db, claim(db)) == [("deletion", "", "@A hi")]


def test_only_the_sender_of_a_message_is_its_sender(db: sqlite3.Connection) -> None:
    say(db, "@A mine", "1")
    change = InboundEdit(account="me", chat=_CHAT, sender="eve", ext_id="1", text="@A hers", at=_NOW)
    changes.edit(db, _GROUP, change)
    assert shown(db, claim(db)) == ["@A mine"]


def test_a_person_has_one_reaction_to_a_message_and_it_is_told_once(db: sqlite3.Connection) -> None:
    say(db, "@A one", "1")
    react(db, "1", "😀", 1)
    react(db, "1", "👍", 2)
    react(db, "1", "😀", 1)
    assert waiting(db) == 1
    run = claim(db)
    assert told(db, run) == [("reaction", "👍", "@A one")]
    finish(db, run)
    react(db, "1", "👍", 2)
    say(db, "@A two", "2")
    run = claim(db)
    assert told(db, run) == []
    finish(db, run)
    react(db, "1", "", 3)
    say(db, "@A three", "3")
    assert told(db, claim(db)) == [], "one that was taken away is no news"


def test_a_reaction_to_the_assistants_own_words_names_them(db: sqlite3.Connection) -> None:
    say(db, "@A one", "1")
    finish(db, claim(db))
    (item,) = outbox.take(db, _NOW)
    outbox.part_sent(db, item, 1, "platform-1", _NOW, last=True)
    react(db, "platform-1", "❤️", target="")
    assert waiting(db) == 0, "a reaction starts no run"
    say(db, "@A two", "2")
    (change,) = messages.changes(db, claim(db))
    assert (change.actor_name, change.text, change.about, change.ours) == ("Eve", "❤️", "ok", True)
