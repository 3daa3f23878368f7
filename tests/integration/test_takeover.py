"""Taking over a NanoClaw: both of its shapes, as it writes them."""

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.config import Home, load_settings
from nanoclaw.errors import StoreError, UsageError
from nanoclaw.groups import load_groups
from nanoclaw.initialise import initialise
from nanoclaw.model import Folder, Jid, Seq, TaskState
from nanoclaw.store import messages, runs, tasks
from nanoclaw.store.database import connect

MAIN = "4915100000001@s.whatsapp.net"
FAMILY = "120363000000000001@g.us"
NOW = datetime(2026, 3, 1, tzinfo=UTC)

EARLY_SCHEMA = """
CREATE TABLE chats (jid TEXT PRIMARY KEY, name TEXT, last_message_time TEXT);
CREATE TABLE messages (id TEXT, chat_jid TEXT, sender TEXT, sender_name TEXT, content TEXT, timestamp TEXT,
  is_from_me INTEGER, PRIMARY KEY (id, chat_jid));
CREATE TABLE scheduled_tasks (id TEXT PRIMARY KEY, group_folder TEXT NOT NULL, chat_jid TEXT NOT NULL,
  prompt TEXT NOT NULL, schedule_type TEXT NOT NULL, schedule_value TEXT NOT NULL, next_run TEXT, last_run TEXT,
  last_result TEXT, status TEXT DEFAULT 'active', created_at TEXT NOT NULL);
CREATE TABLE task_run_logs (id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, run_at TEXT NOT NULL,
  duration_ms INTEGER NOT NULL, status TEXT NOT NULL, result TEXT, error TEXT);
ALTER TABLE scheduled_tasks ADD COLUMN context_mode TEXT DEFAULT 'isolated';
"""
LATE_SCHEMA = f"""{EARLY_SCHEMA}
ALTER TABLE messages ADD COLUMN is_bot_message INTEGER DEFAULT 0;
CREATE TABLE router_state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (group_folder TEXT PRIMARY KEY, session_id TEXT NOT NULL);
CREATE TABLE registered_groups (jid TEXT PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL UNIQUE,
  trigger_pattern TEXT NOT NULL, added_at TEXT NOT NULL, container_config TEXT, requires_trigger INTEGER DEFAULT 1);
"""
MESSAGES = (
    ("A1", MAIN, MAIN, "Me", "what is due?", "2026-02-01T08:00:00.000Z", 1),
    ("A2", MAIN, MAIN, "Me", "Andy: The bins.", "2026-02-01T08:00:09.000Z", 1),
    ("B1", FAMILY, "4915100000002@s.whatsapp.net", "Ann", "@Andy plan dinner", "2026-02-01T09:00:00.000Z", 0),
    ("B2", FAMILY, MAIN, "Me", "Andy: Soup.", "2026-02-01T09:00:10.000Z", 1),
    ("B3", FAMILY, "4915100000002@s.whatsapp.net", "Ann", "later then", "2026-02-01T10:00:00.000Z", 0),
    ("X1", "120363000000000009@g.us", "x", "X", "never registered", "2026-02-01T10:00:00.000Z", 0),
)
TASKS = (
    ("task-1-a", "family", FAMILY, "remind of the bins", "cron", "0 19 * * 1", "2026-02-02T18:00:00.000Z", "active"),
    ("task-2-b", "main", MAIN, "look at the news", "interval", "3600000", "2026-03-01T00:30:00.000Z", "paused"),
    ("task-3-c", "main", MAIN, "once, long ago", "once", "2026-02-03T09:00:00", None, "active"),
    ("task-4-d", "main", MAIN, "done already", "once", "2026-01-03T09:00:00", None, "completed"),
    ("task-5-e", "gone", MAIN, "of a group that left", "cron", "* * * * *", "2026-02-02T18:00:00.000Z", "active"),
)
GROUPS: dict[str, dict[str, Any]] = {
    MAIN: {"name": "Main", "folder": "main", "trigger": "@Andy", "added_at": "2026-01-31T12:00:00Z"},
    FAMILY: {
        "name": "Family",
        "folder": "family",
        "trigger": "@Andy",
        "added_at": "2026-01-31T13:00:00Z",
        "containerConfig": {"timeout": 600000},
    },
}
STATE = {"last_timestamp": "2026-02-01T10:00:00.000Z", "last_agent_timestamp": {FAMILY: "2026-02-01T09:00:00.000Z"}}
SESSIONS = {"family": "11111111-2222-3333-4444-555555555555"}


def early_nanoclaw(root: Path) -> Path:
    """As NanoClaw of early February 2026 writes it: state in JSON files."""
    _files(root)
    _fill(root, EARLY_SCHEMA).close()
    data = root / "data"
    (data / "registered_groups.json").write_text(json.dumps(GROUPS))
    (data / "sessions.json").write_text(json.dumps(SESSIONS))
    (data / "router_state.json").write_text(json.dumps(STATE))
    return root


def late_nanoclaw(root: Path) -> Path:
    """As NanoClaw of late February 2026 writes it: state in the database, the JSON files put aside."""
    _files(root)
    (root / "data" / "registered_groups.json.migrated").write_text("{}")
    rows = [
        (
            jid,
            g["name"],
            g["folder"],
            g["trigger"],
            g["added_at"],
            json.dumps(g["containerConfig"]) if "containerConfig" in g else None,
            1,
        )
        for jid, g in GROUPS.items()
    ]
    with closing(_fill(root, LATE_SCHEMA)) as db, db:
        db.executemany("INSERT INTO registered_groups VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        db.executemany("INSERT INTO sessions VALUES (?, ?)", SESSIONS.items())
        db.execute("INSERT INTO router_state VALUES ('last_timestamp', ?)", (STATE["last_timestamp"],))
        db.execute(
            "INSERT INTO router_state VALUES ('last_agent_timestamp', ?)", (json.dumps(STATE["last_agent_timestamp"]),)
        )
        db.execute("UPDATE messages SET is_bot_message = 1 WHERE content LIKE 'Andy:%'")
    return root


def _files(root: Path) -> None:
    for folder in ("main", "family", "global"):
        (root / "groups" / folder / "logs").mkdir(parents=True)
        (root / "groups" / folder / "CLAUDE.md").write_text(f"# {folder}: remember this")
        (root / "groups" / folder / "logs" / "container-1.log").write_text("old")
    (root / "groups" / "family" / "notes").mkdir()
    (root / "groups" / "family" / "notes" / "dinner.md").write_text("soup")
    (root / "groups" / "family" / "outside").symlink_to("/etc")
    session = root / "data" / "sessions" / "family" / ".claude" / "projects" / "-workspace-group"
    session.mkdir(parents=True)
    (session / f"{SESSIONS['family']}.jsonl").write_text("{}\n")
    (root / ".env").write_text("ANTHROPIC_API_KEY=sk-ant-planted\n")


def _fill(root: Path, schema: str) -> sqlite3.Connection:
    (root / "store").mkdir()
    db = sqlite3.connect(root / "store" / "messages.db")
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(schema)
    with db:
        db.executemany(
            "INSERT INTO messages (id, chat_jid, sender, sender_name, content, timestamp, is_from_me)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            MESSAGES,
        )
        db.executemany(
            "INSERT INTO scheduled_tasks (id, group_folder, chat_jid, prompt, schedule_type, schedule_value, next_run,"
            " status, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '2026-01-31T12:00:00.000Z')",
            TASKS,
        )
        db.executemany(
            "INSERT INTO chats VALUES (?, ?, ?)",
            [
                (FAMILY, "Family", "2026-02-01T10:00:00.000Z"),
                ("120363000000000009@g.us", "Club", "2026-02-01T10:00:00.000Z"),
                ("__group_sync__", "__group_sync__", "2026-02-01T10:00:00.000Z"),
            ],
        )
    return db


SHAPES = {"early": early_nanoclaw, "late": late_nanoclaw}


@pytest.fixture(params=SHAPES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A NanoClaw of either shape."""
    (tmp_path / "old").mkdir()
    return SHAPES[request.param](tmp_path / "old")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Where it goes: a home as `nanoclaw init` makes it."""
    home = Home(tmp_path / "home")
    initialise(home)
    return home


def migrate(home: Home, old: Path, *options: str) -> str:
    """Run the command; answers what it says."""
    result = CliRunner().invoke(app, ["--home", str(home.root), "migrate", str(old), *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result.output


def contents(directory: Path) -> dict[str, str]:
    """Every file of a directory by a digest of what is in it."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_groups_memory_sessions_messages_and_tasks_are_taken_over(home: Home, old: Path) -> None:
    before = contents(old)
    migrate(home, old, "--yes")

    groups = load_groups(home.registered_groups)
    assert {jid: group.folder for jid, group in groups.items()} == {MAIN: "main", FAMILY: "family"}
    assert groups[Jid(FAMILY)].timeout_ms == 600_000
    assert (home.groups / "family" / "notes" / "dinner.md").read_text() == "soup"
    assert (home.groups / "main" / "CLAUDE.md").read_text() == "# main: remember this"
    assert (home.groups / "global" / "CLAUDE.md").read_text() == "# global: remember this"
    assert (home.groups / "family" / "outside").is_symlink()
    assert not (home.groups / "family" / "logs").exists()
    projects = home.data / "sessions" / "family" / ".claude" / "projects" / "-workspace-group"
    assert (projects / f"{SESSIONS['family']}.jsonl").is_file()
    assert "ANTHROPIC_API_KEY=sk-ant-planted" in home.env.read_text()

    with closing(connect(home.database, NOW)) as db:
        said = messages.exchanges(db, Jid(FAMILY), Seq(1 << 40), 10)
        assert [(one["sender"], one["text"], one["assistant"]) for one in said] == [
            ("Ann", "@Andy plan dinner", False),
            ("", "Soup.", True),
            ("Ann", "later then", False),
        ]
        assert runs.session(db, Folder("family"), "claude") == SESSIONS["family"]
        found = {str(task.id): task for task in tasks.existing(db)}
        assert set(found) == {"task-1-a", "task-2-b"}
        assert found["task-1-a"].next_at is not None
        assert found["task-1-a"].next_at > NOW
        assert found["task-2-b"].state is TaskState.PAUSED
        assert {chat.name for chat in messages.known_chats(db)} == {"Family", "Club"}
        assert runs.recent(db, 10) == [], "old messages wake nobody"
    assert contents(old) == before


def test_only_what_was_not_answered_there_comes_before_the_next_message(home: Home, old: Path) -> None:
    migrate(home, old, "--yes")
    with closing(connect(home.database, NOW)) as db:
        runs.queue(db, Folder("family"), Jid(FAMILY), NOW)
        (run,) = runs.claim(db, NOW, 1, ())
        taken, omitted = messages.between(db, Jid(FAMILY), run.after_seq, run.upto_seq, 10)
    assert [message.text for message in taken] == ["later then"]
    assert omitted == 0


def test_a_dry_run_says_everything_and_changes_nothing(home: Home, old: Path) -> None:
    before = contents(home.root)
    told = migrate(home, old, "--dry-run")
    assert contents(home.root) == before
    for part in (
        "family",
        FAMILY,
        "task-1-a",
        "ANTHROPIC_API_KEY",
        "linked anew",
        "its time, 2026-02-03T09:00:00, has",
    ):
        assert part in told
    assert "sk-ant-planted" not in told


def test_a_second_time_changes_nothing(home: Home, old: Path) -> None:
    migrate(home, old, "--yes")
    (home.groups / "family" / "notes" / "dinner.md").write_text("stew")
    with closing(connect(home.database, NOW)) as db:
        before = messages.exchanges(db, Jid(FAMILY), Seq(1 << 40), 10)
    migrate(home, old, "--yes")
    assert (home.groups / "family" / "notes" / "dinner.md").read_text() == "stew"
    with closing(connect(home.database, NOW)) as db:
        assert messages.exchanges(db, Jid(FAMILY), Seq(1 << 40), 10) == before


def test_the_assistants_name_comes_along(home: Home, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = early_nanoclaw(tmp_path / "old")
    (old / ".env").write_text("ASSISTANT_NAME=Bo\n")
    migrate(home, old, "--yes")
    assert load_settings(home).assistant_name == "Bo"


def test_a_directory_without_a_nanoclaw_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there is no NanoClaw in"):
        migrate(home, tmp_path / "empty", "--yes")


def test_a_damaged_database_is_refused_and_nothing_is_written(home: Home, old: Path) -> None:
    before = contents(home.root)
    (old / "store" / "messages.db").write_bytes(b"this is no database, however long it may be" * 100)
    (old / "store" / "messages.db-wal").unlink(missing_ok=True)
    with pytest.raises(StoreError, match="cannot be read"):
        migrate(home, old, "--yes")
    assert contents(home.root) == before
