"""The scheduler on a clock of our own: every moment has its run once, whatever happens in between."""

import sqlite3
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nanoclaw import taskbook
from nanoclaw.errors import NotFoundError, ScheduleError, UsageError
from nanoclaw.model import Folder, Jid, Run, ScheduledTask, TaskId, TaskState, TokenUsage
from nanoclaw.scheduler import tick
from nanoclaw.store import endings, outbox, runs, tasks
from nanoclaw.store.database import connect, transaction
from nanoclaw.store.endings import Failing, Success

_NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
_MAIN = Folder("main")
_CHATS = {_MAIN: Jid("local:main")}


@pytest.fixture
def db(tmp_path: Path) -> Generator[sqlite3.Connection]:
    connection = connect(tmp_path / "n.db", _NOW)
    yield connection
    connection.close()


def add(db: sqlite3.Connection, kind: Any = "cron", value: str = "0 9 * * *", **changes: Any) -> ScheduledTask:  # noqa: ANN401
    draft = taskbook.Draft(
        folder=_MAIN,
        prompt="say hello",
        schedule_type=kind,
        schedule_value=value,
        timezone="UTC",
        context_mode="group",
        missed="coalesce",
    )
    return taskbook.add(db, replace(draft, **changes), _NOW)


def pass_time(db: sqlite3.Connection, now: datetime) -> int:
    with transaction(db):
        return tick(db, now, _CHATS)


def moments(db: sqlite3.Connection, task: ScheduledTask) -> list[datetime | None]:
    return [run.scheduled_for for run in reversed(tasks.history(db, task.id, 1000))]


def run_what_waits(db: sqlite3.Connection, now: datetime, *, well: bool = True) -> list[Run]:
    claimed = runs.claim(db, now + timedelta(hours=1), 100, frozenset())
    for run in claimed:
        if well:
            assert endings.finish(
                db, run, Success(reply="done", provider="p", session_id=None, usage=TokenUsage()), now
            )
        else:
            failing = Failing(kind="network", detail="", provider="p", retry_at=None, notice="it keeps failing")
            assert endings.fail(db, run, failing, now)
    return claimed


def test_a_task_runs_at_its_moment_and_not_before(db: sqlite3.Connection) -> None:
    task = add(db)
    due = _NOW.replace(hour=9)
    assert tasks.next_due_at(db) == due
    assert pass_time(db, due - timedelta(microseconds=1)) == 0
    assert pass_time(db, due) == 1
    assert pass_time(db, due) == 0
    assert moments(db, task) == [due]
    assert tasks.next_due_at(db) == due + timedelta(days=1)


def test_a_year_of_a_daily_task_in_berlin_is_a_run_a_day(db: sqlite3.Connection) -> None:
    task = add(db, value="30 2 * * *", timezone="Europe/Berlin")
    for day in range(365):
        due = tasks.next_due_at(db)
        assert due is not None
        pass_time(db, due + timedelta(milliseconds=20))
        assert len(run_what_waits(db, due)) == 1, day
    found = moments(db, task)
    assert len(set(found)) == len(found) == 365


def test_the_same_moment_cannot_have_two_runs(db: sqlite3.Connection) -> None:
    task = add(db)
    due = _NOW.replace(hour=9)
    pass_time(db, due)
    run_what_waits(db, due)
    db.execute("UPDATE task SET next_at = ?", (due.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),))  # as if the move were lost
    pass_time(db, due)
    assert moments(db, task) == [due]


@pytest.mark.parametrize(("policy", "days"), [("coalesce", [1]), ("skip", []), ("all", [1, 2, 3, 4])])
def test_what_was_missed_follows_the_tasks_policy(db: sqlite3.Connection, policy: str, days: list[int]) -> None:
    task = add(db, missed=policy)
    pass_time(db, _NOW.replace(day=4, hour=12))
    assert [moment.day for moment in moments(db, task) if moment] == days
    assert tasks.next_due_at(db) == _NOW.replace(day=5, hour=9)


def test_making_up_has_an_end(db: sqlite3.Connection) -> None:
    task = add(db, missed="all", kind="interval", value="1000")
    pass_time(db, _NOW + timedelta(days=1))
    assert len(moments(db, task)) == 10


def test_a_task_whose_run_goes_on_does_not_pile_up(db: sqlite3.Connection) -> None:
    task = add(db, kind="interval", value="1000")
    for second in range(1, 6):
        pass_time(db, _NOW + timedelta(seconds=second))
    assert len(moments(db, task)) == 1
    run_what_waits(db, _NOW)
    pass_time(db, _NOW + timedelta(seconds=6))
    assert len(moments(db, task)) == 2


def test_once_is_done_after_its_moment(db: sqlite3.Connection) -> None:
    task = add(db, kind="once", value="2026-03-01T09:00:00")
    pass_time(db, _NOW.replace(hour=9))
    kept = tasks.get(db, task.id)
    assert kept is not None
    assert (kept.state, kept.next_at) == (TaskState.DONE, None)
    assert len(moments(db, task)) == 1


def test_a_failing_run_does_not_end_its_series_and_the_third_is_told(db: sqlite3.Connection) -> None:
    add(db, kind="interval", value="60000")
    told: list[int] = []
    for minute in range(1, 8):
        now = _NOW + timedelta(minutes=minute)
        pass_time(db, now)
        assert len(run_what_waits(db, now, well=False)) == 1
        told.append(len(outbox.take(db, now)))
    assert told == [0, 0, 1, 0, 0, 0, 0], "the second notice waits behind the first, which was not settled"
    assert outbox.open_count(db) == 2


def test_a_run_that_goes_well_begins_the_count_anew(db: sqlite3.Connection) -> None:
    task = add(db, kind="interval", value="60000")
    for minute, well in enumerate((False, False, True, False, False), 1):
        now = _NOW + timedelta(minutes=minute)
        pass_time(db, now)
        run_what_waits(db, now, well=well)
    assert taskbook.find(db, task.id).failures == 2


def test_a_tasks_run_leaves_the_chats_cursor_alone(db: sqlite3.Connection) -> None:
    add(db)
    pass_time(db, _NOW.replace(hour=9))
    run_what_waits(db, _NOW)
    assert db.execute("SELECT count(*) AS n FROM cursor").fetchone()["n"] == 0


def test_people_go_before_tasks_but_tasks_do_not_wait_for_ever(db: sqlite3.Connection) -> None:
    add(db)
    due = _NOW.replace(hour=9)
    pass_time(db, due)
    runs.queue(db, _MAIN, _CHATS[_MAIN], due + timedelta(minutes=1))
    (first,) = runs.claim(db, due + timedelta(minutes=2), 5, frozenset())
    assert first.cause == "messages"
    assert endings.interrupt(db, first, due + timedelta(minutes=30))
    (second,) = runs.claim(db, due + timedelta(minutes=30), 5, frozenset())
    assert second.cause == "task"


def test_pause_resume_edit_and_cancel(db: sqlite3.Connection) -> None:
    task = add(db)
    paused = taskbook.pause(db, task)
    assert pass_time(db, _NOW + timedelta(days=2)) == 0
    later = _NOW + timedelta(days=3)
    resumed = taskbook.resume(db, paused, later)
    assert resumed.next_at == later.replace(hour=9), "what passed while it rested is no concern of it"
    edited = taskbook.edit(db, resumed, {"schedule_value": "0 7 * * *", "prompt": None}, later)
    assert (edited.next_at, edited.prompt) == (later.replace(day=5, hour=7), "say hello")
    tasks.cancel(db, task.id, later)
    assert tasks.existing(db) == []
    with pytest.raises(NotFoundError):
        taskbook.find(db, task.id)


def test_cancelling_takes_the_waiting_run_along(db: sqlite3.Connection) -> None:
    task = add(db)
    pass_time(db, _NOW.replace(hour=9))
    tasks.cancel(db, task.id, _NOW)
    assert runs.claim(db, _NOW + timedelta(days=1), 5, frozenset()) == []


def test_what_cannot_be_is_refused_when_it_is_made(db: sqlite3.Connection) -> None:
    with pytest.raises(ScheduleError, match="five fields"):
        add(db, value="every morning")
    with pytest.raises(ScheduleError, match="is past"):
        add(db, kind="once", value="2026-02-28T09:00:00")
    with pytest.raises(NotFoundError, match="task-x"):
        taskbook.find(db, TaskId("task-x"))


def test_a_group_has_only_so_many_tasks(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taskbook, "MOST_TASKS", 2)
    add(db)
    add(db)
    with pytest.raises(UsageError, match="2 tasks"):
        add(db)


def test_a_task_of_a_group_that_is_gone_runs_nowhere(db: sqlite3.Connection) -> None:
    task = add(db, folder=Folder("gone"))
    assert pass_time(db, _NOW.replace(hour=9)) == 1
    assert moments(db, task) == []
