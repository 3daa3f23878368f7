"""Backups: made while others write, checked, and restored."""

import os
import sqlite3
import tarfile
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from nanoclaw.backup import back_up, restore, verify
from nanoclaw.cli import app
from nanoclaw.clock import iso
from nanoclaw.config import Home
from nanoclaw.errors import BackupError
from nanoclaw.initialise import initialise
from nanoclaw.model import MAIN_FOLDER, Jid, ScheduledTask, TaskId, TaskState
from nanoclaw.store import outbox, runs, tasks
from nanoclaw.store.database import check_integrity, connect, transaction

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LOCAL = Jid("local:main")
INSERT = "INSERT INTO chat (jid, channel, name, last_at) VALUES (?, 'local', 'x', '2026')"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a bit of everything in it."""
    home = Home(tmp_path / "home")
    initialise(home)
    connect(home.database, NOW).close()
    (home.groups / "main" / "notes.md").write_text("remember")
    (home.groups / "main" / "inside").symlink_to("notes.md")
    (home.groups / "main" / "outside").symlink_to("/etc/passwd")
    os.mkfifo(home.groups / "main" / "pipe")
    (home.credentials / "codex").mkdir(parents=True)
    (home.credentials / "codex" / "auth.json").write_text("{}")
    lent = home.data / "codex" / "main" / ".codex"
    lent.mkdir(parents=True)
    (lent / "auth.json").write_text("{}")
    (lent / "config.toml").write_text("")
    home.whatsapp.mkdir()
    (home.whatsapp / "session.db").write_bytes(b"")
    (home.mailboxes / "main" / "messages").mkdir(parents=True)
    return home


def a_task(task_id: TaskId, kind: Literal["cron", "once"], value: str, due: datetime) -> ScheduledTask:
    """A task of main's that is due then."""
    return ScheduledTask(
        id=task_id,
        folder=MAIN_FOLDER,
        prompt="Water the plants",
        schedule_type=kind,
        schedule_value=value,
        timezone="UTC",
        context_mode="isolated",
        missed="coalesce",
        state=TaskState.ACTIVE,
        next_at=due,
        created_at=NOW,
        failures=0,
    )


def quiet(_line: str) -> None:
    """For those who do not listen."""


def test_a_home_comes_back_as_it_was(home: Home, tmp_path: Path) -> None:
    told: list[str] = []
    back_up(home, tmp_path / "b.tar.gz", NOW, logins=False, tell=told.append)
    assert told == ["left out: groups/main/pipe, which is no file"]
    again = Home(tmp_path / "again")
    told.clear()
    restore(tmp_path / "b.tar.gz", again, NOW, told.append)

    assert told[:-1] == ["left out: groups/main/outside, a link that leads out of the home"]
    assert (again.groups / "main" / "notes.md").read_text() == "remember"
    assert (again.groups / "main" / "inside").readlink() == Path("notes.md")
    assert again.env.stat().st_mode & 0o777 == 0o600
    assert again.root.stat().st_mode & 0o777 == 0o700
    assert again.settings.read_text() == home.settings.read_text()
    with closing(connect(again.database, NOW)) as db:
        check_integrity(db)
    assert not again.mailboxes.exists()


def test_what_was_under_way_is_not_done_again_after_a_restore(home: Home, tmp_path: Path) -> None:
    due, later = NOW + timedelta(hours=1), NOW + timedelta(days=2)
    with closing(connect(home.database, NOW)) as db, transaction(db):
        outbox.put(db, "run-1", LOCAL, "reply", "Hello", None, NOW)
        runs.queue(db, MAIN_FOLDER, LOCAL, NOW)
        tasks.add(db, a_task(TaskId("once"), "once", iso(due), due))
        tasks.add(db, a_task(TaskId("daily"), "cron", "0 9 * * *", due))
        tasks.add(db, a_task(TaskId("later"), "once", iso(later), later))
    back_up(home, tmp_path / "b.tar.gz", NOW, logins=False, tell=quiet)
    again, told = Home(tmp_path / "again"), list[str]()
    now = NOW + timedelta(days=1)
    restore(tmp_path / "b.tar.gz", again, now, told.append)

    with closing(connect(again.database, now)) as db, transaction(db):
        (notice,) = outbox.take(db, now)
        assert runs.claim(db, now, 5, frozenset()) == []
        assert tasks.due(db, now, 5) == []
        states = {str(each.id): (each.state.value, each.next_at) for each in tasks.existing(db)}
    assert notice.text == told[-1]
    assert "Replies that were on their way, and are not sent again: 1." in notice.text
    assert notice.text.count("Was due Sun 01 Mar, 01:00") == 2
    assert states == {
        "once": ("done", None),
        "daily": ("active", NOW + timedelta(days=1, hours=9)),
        "later": ("active", later),
    }


def test_logins_are_in_it_only_when_asked_for(home: Home, tmp_path: Path) -> None:
    without = back_up(home, tmp_path / "a.tar.gz", NOW, logins=False, tell=quiet)
    with_logins = back_up(home, tmp_path / "b.tar.gz", NOW, logins=True, tell=quiet)
    logins = {"credentials/codex/auth.json", "store/whatsapp/session.db"}
    assert not logins & without.files.keys()
    assert "data/codex/main/.codex/config.toml" in without.files
    assert not any(name.startswith("data/codex") and name.endswith("auth.json") for name in with_logins.files)
    assert logins <= with_logins.files.keys()


def test_the_archive_is_readable_by_its_owner_alone(home: Home, tmp_path: Path) -> None:
    back_up(home, tmp_path / "b.tar.gz", NOW, logins=False, tell=quiet)
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600


def test_the_database_is_whole_while_somebody_writes_to_it(home: Home, tmp_path: Path) -> None:
    stop = threading.Event()
    begun = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(home.database, timeout=30)) as db:
            while not stop.is_set():
                with db:
                    db.executemany(INSERT, [(uuid4().hex,), (uuid4().hex,)])
                begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(30)
        back_up(home, tmp_path / "b.tar.gz", NOW, logins=False, tell=quiet)
    finally:
        stop.set()
        writer.join()
    restore(tmp_path / "b.tar.gz", Home(tmp_path / "again"), NOW, quiet)
    with closing(connect(Home(tmp_path / "again").database, NOW)) as db:
        check_integrity(db)
        (count,) = db.execute("SELECT count(*) FROM chat").fetchone()
    assert count >= 2
    assert count % 2 == 0, "a transaction is in it whole or not at all"


def test_a_damaged_archive_is_refused_before_anything_is_written(home: Home, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar.gz"
    back_up(home, archive, NOW, logins=False, tell=quiet)
    whole = archive.read_bytes()
    for broken in (whole[: len(whole) // 2], b"no archive at all", whole[:200] + b"\0" * 50 + whole[250:]):
        archive.write_bytes(broken)
        with pytest.raises(BackupError):
            restore(archive, Home(tmp_path / "again"), NOW, quiet)
        assert not (tmp_path / "again").exists()


def test_an_archive_with_another_file_in_it_is_refused(home: Home, tmp_path: Path) -> None:
    back_up(home, tmp_path / "b.tar.gz", NOW, logins=False, tell=quiet)
    with tarfile.open(tmp_path / "b.tar.gz") as old, tarfile.open(tmp_path / "c.tar.gz", "w:gz") as new:
        intruder = tarfile.TarInfo("groups/main/intruder")
        new.addfile(intruder)
        for member in old:
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    with pytest.raises(BackupError, match="groups/main/intruder is not what was written"):
        verify(tmp_path / "c.tar.gz")


def test_a_home_that_is_in_use_is_not_overwritten(home: Home, tmp_path: Path) -> None:
    back_up(home, tmp_path / "b.tar.gz", NOW, logins=False, tell=quiet)
    with pytest.raises(BackupError, match="is not empty"):
        restore(tmp_path / "b.tar.gz", home, NOW, quiet)
    with pytest.raises(BackupError, match="exists already"):
        back_up(home, tmp_path / "b.tar.gz", NOW, logins=False, tell=quiet)


def test_the_commands_warn_of_logins_that_must_not_be_used_twice(home: Home, tmp_path: Path) -> None:
    archive = str(tmp_path / "b.tar.gz")
    made = CliRunner().invoke(app, ["--home", str(home.root), "backup", archive, "--logins"])
    assert made.exit_code == 0, made.output
    assert "work in one place only" in made.output
    again = ["--home", str(tmp_path / "again"), "restore", archive]
    declined = CliRunner().invoke(app, again, input="n\n")
    assert "Nothing was changed." in declined.output
    assert not (tmp_path / "again").exists()
    done = CliRunner().invoke(app, [*again, "--yes"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again" / "credentials" / "codex" / "auth.json").is_file()
