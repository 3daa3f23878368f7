"""Commands that read: what runs cost, and logs as a person reads them."""

import json
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.config import Home
from nanoclaw.errors import NotFoundError
from nanoclaw.groups import Entries, change_groups
from nanoclaw.initialise import initialise
from nanoclaw.model import Folder, Jid, TokenUsage
from nanoclaw.store import endings, runs
from nanoclaw.store.database import Connection, connect, transaction
from nanoclaw.store.endings import Failing, Success
from nanoclaw.store.usage import by_day

NOW = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with an empty database."""
    home = Home(tmp_path / "home")
    initialise(home)
    connect(home.database, NOW).close()
    return home


def ran(db: Connection, at: datetime, usage: TokenUsage, provider: str = "claude") -> None:
    """A run of a minute that ended then."""
    began = at - timedelta(minutes=1)
    with transaction(db):
        runs.queue(db, Folder("main"), Jid("local:main"), began)
        (run,) = runs.claim(db, began, 1, ())
        endings.finish(db, run, Success(reply="", provider=provider, session_id=None, usage=usage), at)


def failed(db: Connection, at: datetime) -> None:
    """A run that failed then."""
    with transaction(db):
        runs.queue(db, Folder("main"), Jid("local:main"), at)
        (run,) = runs.claim(db, at, 1, ())
        failing = Failing(kind="auth", detail="no", provider="claude", retry_at=None, notice=None)
        endings.fail(db, run, failing, at)


def command(home: Home, *words: str) -> str:
    """What a command prints."""
    result = CliRunner().invoke(app, ["--home", str(home.root), *words], env={"COLUMNS": "160"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_usage_is_summed_by_day_of_the_persons_own_zone_group_and_provider(home: Home) -> None:
    with closing(connect(home.database, NOW)) as db:
        ran(db, NOW, TokenUsage(input_tokens=10, cached_input_tokens=4, output_tokens=2, cost_usd=0.25))
        ran(db, NOW + timedelta(hours=1), TokenUsage(input_tokens=5, output_tokens=1, cost_usd=0.5))
        ran(db, NOW + timedelta(hours=2), TokenUsage(input_tokens=1, output_tokens=1, cost_usd=0.25))
        ran(db, NOW + timedelta(hours=2), TokenUsage(input_tokens=7, output_tokens=7), provider="codex")
        failed(db, NOW + timedelta(hours=3))
        first, second, codex = by_day(db, NOW - timedelta(days=1), BERLIN)
    assert (str(first.day), first.runs, first.input_tokens, first.cost_usd) == ("2026-03-01", 1, 10, 0.25)
    assert (str(second.day), second.runs, second.failed, second.cost_usd) == ("2026-03-02", 3, 1, 0.75)
    assert second.seconds == 120
    assert (codex.provider, codex.output_tokens, codex.cost_usd) == ("codex", 7, None)


def test_what_ended_before_the_time_asked_for_does_not_count(home: Home) -> None:
    with closing(connect(home.database, NOW)) as db:
        ran(db, NOW - timedelta(days=2), TokenUsage(input_tokens=10))
        assert by_day(db, NOW - timedelta(days=1), BERLIN) == []


def test_the_usage_command_shows_numbers_and_says_when_a_cost_is_not_known(home: Home) -> None:
    now = datetime.now(UTC)
    with closing(connect(home.database, NOW)) as db:
        ran(db, now, TokenUsage(input_tokens=1234567, output_tokens=1), provider="codex")
    shown = command(home, "usage", "main")
    assert "1,234,567" in shown
    assert "not told" in shown
    (entry,) = json.loads(command(home, "usage", "--json"))
    assert (entry["folder"], entry["input_tokens"], entry["cost_usd"]) == ("main", 1234567, None)


def test_a_group_that_is_not_there_is_named_with_those_that_are(home: Home) -> None:
    with pytest.raises(NotFoundError, match="there is no group 'family'") as refused:
        command(home, "usage", "family")
    assert refused.value.hint == "known groups: main"


def test_the_hosts_log_is_shown_without_what_a_terminal_would_obey(home: Home) -> None:
    line = {
        "event": "run.done",
        "level": "info",
        "timestamp": "2026-03-01T10:00:00Z",
        "folder": "ma\x1b[2Jin",
        "run": 7,
    }
    (home.logs / "nanoclaw.log").write_text("long ago\n" * 60 + json.dumps(line) + "\n")
    shown = command(home, "logs", "-n", "1")
    assert "2026-03-01 10:00:00" in shown
    assert "run.done" in shown
    assert "folder=ma[2Jin" in shown
    assert "\x1b" not in shown
    assert "long ago" not in shown


def test_a_groups_log_is_that_of_its_last_run(home: Home) -> None:
    directory = home.run_logs(Folder("main"))
    directory.mkdir(parents=True)
    for name in ("000001-1", "000002-1"):
        (directory / f"{name}.jsonl").write_text(json.dumps({"at": "2026-03-01T10:00:00Z", "what": name}) + "\n")
    assert "000002-1" in command(home, "logs", "main")
    assert "000001-1" not in command(home, "logs", "main")


def test_following_a_log_goes_on_after_it_was_rotated(home: Home) -> None:
    log = home.logs / "nanoclaw.log"
    log.write_text('{"event": "before"}\n')
    words = [sys.executable, "-m", "nanoclaw", "--home", str(home.root), "logs", "-f"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={"PYTHONUNBUFFERED": "1"}) as reader:
        try:
            assert reader.stdout
            assert "before" in reader.stdout.readline()
            with log.open("a") as file:
                file.write('{"event": "appended"}\n')
            assert "appended" in reader.stdout.readline()
            log.rename(home.logs / "nanoclaw.log.1")
            log.write_text('{"event": "rotated"}\n')
            assert "rotated" in reader.stdout.readline()
        finally:
            reader.kill()


def test_a_home_without_a_log_says_so(home: Home) -> None:
    with pytest.raises(NotFoundError, match="there is no log at"):
        command(home, "logs")


def test_a_name_is_shown_as_it_stands_and_steers_no_terminal(home: Home) -> None:
    def rename(entries: Entries) -> None:
        entries["local:main"]["name"] = "x [/red] [link=file:///etc/passwd]y\x1b]0;owned\x07"

    change_groups(home.registered_groups, rename)
    for words in (("groups", "list"), ("status",)):
        shown = command(home, *words)
        assert "x [/red] [link=file:///etc/passwd]y]0;owned" in shown
        assert "\x1b" not in shown
