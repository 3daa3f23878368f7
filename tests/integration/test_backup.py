"""Backups: made while others write, checked, and restored."""

import os
import sqlite3
import tarfile
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from nanoclaw.backup import back_up, restore, verify
from nanoclaw.cli import app
from nanoclaw.config import Home
from nanoclaw.errors import BackupError
from nanoclaw.initialise import initialise
from nanoclaw.store.database import check_integrity, connect

NOW = datetime(2026, 3, 1, tzinfo=UTC)
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


def quiet(_line: str) -> None:
    """For those who do not listen."""


def test_a_home_comes_back_as_it_was(home: Home, tmp_path: Path) -> None:
    told: list[str] = []
    back_up(home, tmp_path / "b.tar.gz", NOW, logins=False, tell=told.append)
    assert told == ["left out: groups/main/pipe, which is no file"]
    again = Home(tmp_path / "again")
    told.clear()
    restore(tmp_path / "b.tar.gz", again, told.append)

    assert told == ["left out: groups/main/outside, a link that leads out of the home"]
    assert (again.groups / "main" / "notes.md").read_text() == "remember"
    assert (again.groups / "main" / "inside").readlink() == Path("notes.md")
    assert again.env.stat().st_mode & 0o777 == 0o600
    assert again.root.stat().st_mode & 0o777 == 0o700
    assert again.settings.read_text() == home.settings.read_text()
    with closing(connect(again.database, NOW)) as db:
        check_integrity(db)
    assert not again.mailboxes.exists()


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
    restore(tmp_path / "b.tar.gz", Home(tmp_path / "again"), quiet)
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
            restore(archive, Home(tmp_path / "again"), quiet)
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
        restore(tmp_path / "b.tar.gz", home, quiet)
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
