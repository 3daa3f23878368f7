"""What the command line does with messages and groups where no host runs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home
from nanoclaw.errors import UsageError
from nanoclaw.groups import load_groups
from nanoclaw.model import Folder, Jid, Seq
from nanoclaw.store import messages, outbox
from nanoclaw.store.database import connect, transaction

_MAIN = Jid("local:main")


def run(home: Home, *words: str) -> str:
    result = CliRunner().invoke(app, ["--home", str(home.root), *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    run(home, "init")
    return home


def test_a_file_that_is_sent_waits_for_the_next_host(home: Home, tmp_path: Path) -> None:
    (tmp_path / "plan.txt").write_text("dinner at seven")
    run(home, "send", "--file", str(tmp_path / "plan.txt"))
    db = connect(home.database, SystemClock().now())
    (message,), _ = messages.between(db, _MAIN, Seq(0), Seq(10), 10)
    db.close()
    (file,) = message.files
    assert (file.name, file.mime, message.text, message.standing) == ("plan.txt", "text/plain", "", "owner")
    assert (home.media(Folder("main")) / file.file).read_text() == "dinner at seven"
    assert (tmp_path / "plan.txt").exists()


def test_what_is_no_file_or_too_large_is_not_sent(home: Home, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        run(home, "send", "look", "--file", str(tmp_path))
    with (tmp_path / "large").open("wb") as large:
        large.truncate((25 << 20) + 1)
    with pytest.raises(UsageError, match="larger than 25 MiB"):
        run(home, "send", "look", "--file", str(tmp_path / "large"))
    with pytest.raises(UsageError, match="empty"):
        run(home, "send")


def test_who_may_wake_a_group_is_set_and_taken_back(home: Home) -> None:
    def senders() -> tuple[str, tuple[str, ...]]:
        policy = load_groups(home.registered_groups)[Jid("local:family")].senders
        return policy.policy, policy.allow

    run(home, "groups", "add", "--jid", "local:family", "--name", "Family", "--folder", "family")
    assert senders() == ("everyone", ())
    run(home, "groups", "set", "family", "--senders-allow", "4915", "--senders-allow", "local:bob")
    assert senders() == ("allowlist", ("4915", "local:bob"))
    run(home, "groups", "set", "family", "--senders", "everyone")
    assert senders() == ("everyone", ("4915", "local:bob"))
    run(home, "groups", "set", "family", "--name", "Folks", "--senders", "allowlist")
    assert senders() == ("allowlist", ("4915", "local:bob"))


def test_status_tells_of_replies_that_did_not_arrive(home: Home) -> None:
    now = SystemClock().now()
    db = connect(home.database, now)
    with transaction(db):
        outbox.put(db, "k", _MAIN, "reply", "hello", None, now)
        (item,) = outbox.take(db, now)
        outbox.reject(db, item, "blocked", now)
    db.close()
    assert "1 replies were not delivered, 0 may not have been" in run(home, "status")
