"""What the page can do is done by command, too: with a host, and reading without one."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from typer.testing import CliRunner

from nanoclaw.channels.local import local_message
from nanoclaw.cli import app
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home
from nanoclaw.errors import NotFoundError, UsageError
from nanoclaw.groups import load_groups
from nanoclaw.initialise import initialise
from nanoclaw.intake import take_in
from nanoclaw.ipc.files import REFUSED
from nanoclaw.model import Folder, Jid, RegisteredGroup
from nanoclaw.store import messages, outbox, runs
from nanoclaw.store.database import connect, transaction
from nanoclaw.testing.models import say
from nanoclaw.testing.world import World, make_world

MAIN = Jid("local:main")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with an empty database."""
    home = Home(tmp_path / "home")
    initialise(home)
    connect(home.database, SystemClock().now()).close()
    return home


def command(home: Home, *words: str) -> str:
    """What a command prints."""
    result = CliRunner().invoke(app, ["--home", str(home.root), *words], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def main_group(home: Home) -> RegisteredGroup:
    return load_groups(home.registered_groups)[MAIN]


def test_limits_and_the_way_of_signing_in_are_set_and_taken_back(home: Home) -> None:
    command(home, "groups", "set", "main", "--timeout", "90", "--budget-tokens", "1000", "--provider", "codex")
    command(home, "groups", "set", "main", "--auth-method", "api_key", "--model", "small")
    group = main_group(home)
    assert (group.timeout_ms, group.budget.tokens_per_day) == (90_000, 1000)
    assert (group.codex.auth_method, group.codex.model) == ("api_key", "small")
    shown = json.loads(command(home, "groups", "show", "main", "--json"))
    assert (shown["timeout_seconds"], shown["budget"]["tokens_per_day"], shown["model"]) == (90, 1000, "small")
    command(home, "groups", "set", "main", "--auth-method", "default", "--model", "default", "--timeout", "0")
    group = main_group(home)
    assert (group.timeout_ms, group.codex.auth_method, group.codex.model) == (None, None, None)
    assert group.budget.tokens_per_day == 1000, "what is not named stays"
    assert "budget for a day: 1,000 tokens" in command(home, "groups", "show", "main")


def test_a_host_is_taken_off_the_lists_and_the_policy_back_to_what_the_settings_say(home: Home) -> None:
    command(home, "network", "allow", "main", "example.org")
    command(home, "network", "deny", "main", "example.net")
    assert "may not reach" in command(home, "network", "forget", "main", "example.org", "example.net")
    network = main_group(home).network
    assert (network.allow, network.deny) == ((), ())
    assert command(home, "network", "set", "main", "none") == "main: none\n"
    assert command(home, "network", "set", "main", "default") == "main: allowlist\n"
    assert main_group(home).network.policy is None


def test_chats_without_a_group_are_listed(home: Home) -> None:
    with closing(connect(home.database, SystemClock().now())) as db, transaction(db):
        for jid, name in ((Jid("local:club"), "The club"), (MAIN, "Main")):
            messages.note_chat(db, jid, "local", name, SystemClock().now())
    assert [chat["jid"] for chat in json.loads(command(home, "groups", "chats", "--json"))] == ["local:club"]
    assert "The club" in command(home, "groups", "chats")


def said(home: Home, text: str) -> None:
    """Somebody says it in main, and the assistant echoes."""
    clock = SystemClock()
    with closing(connect(home.database, clock.now())) as db, transaction(db):
        take_in(db, local_message(MAIN, "Bob", text, clock), main_group(home), clock.now())
        outbox.put(db, f"answer to {text}", MAIN, "reply", f"You said: {text}", None, clock.now())


def test_a_conversation_is_read_whatever_stands_in_it(home: Home) -> None:
    said(home, "one")
    said(home, "two\x1b[2J\nlines")
    shown = command(home, "read")
    assert [part in shown for part in ("Bob:\n  one", "assistant (ready):", "  You said: one", "  two[2J\n  lines")]
    assert "\x1b" not in shown
    (last,) = (json.loads(line) for line in command(home, "read", "main", "-n", "1", "--json").splitlines())
    assert (last["sender"], last["text"], last["of"]) == (None, "You said: two\x1b[2J\nlines", "reply")


def test_what_did_not_arrive_is_listed_with_its_reason(home: Home) -> None:
    now = SystemClock().now()
    with closing(connect(home.database, now)) as db, transaction(db):
        outbox.put(db, "k", MAIN, "reply", "hello", None, now)
        (item,) = outbox.take(db, now)
        outbox.reject(db, item, "blocked", now)
    (lost,) = json.loads(command(home, "runs", "undelivered", "--json"))
    assert (lost["text"], lost["state"], lost["error"]) == ("hello", "failed", "blocked")
    assert "blocked" in command(home, "runs", "undelivered")


def test_what_was_refused_is_shown_as_on_the_page(home: Home) -> None:
    assert command(home, "audit") == "Nothing was refused.\n"
    refused = home.mailboxes / "main" / REFUSED
    refused.mkdir(parents=True)
    (refused / "00000001770000000000-x-y-bad.json").write_text("{")
    assert "bad.json" in command(home, "audit")
    (file,) = json.loads(command(home, "audit", "main", "--json"))["files"]
    assert (file["group"], file["name"]) == ("main", "bad.json")
    with pytest.raises(NotFoundError):
        command(home, "audit", "family")


def test_a_log_is_narrowed_to_what_it_is_about_and_to_one_run(home: Home) -> None:
    events = [{"event": name, "timestamp": "2026-03-01T10:00:00Z"} for name in ("host.ready", "page.turned_away")]
    (home.logs / "nanoclaw.log").write_text("".join(json.dumps(event) + "\n" for event in events))
    shown = command(home, "logs", "--about", "page")
    assert "page.turned_away" in shown
    assert "host.ready" not in shown
    directory = home.run_logs(Folder("main"))
    directory.mkdir(parents=True)
    for name in ("000001-1", "000002-1"):
        (directory / f"{name}.jsonl").write_text(json.dumps({"at": "2026-03-01T10:00:00Z", "what": name}) + "\n")
    assert "000001-1" in command(home, "logs", "--run", "1")
    with pytest.raises(NotFoundError, match="run 7 has no log"):
        command(home, "logs", "--run", "7")


def test_stopping_wants_to_know_what(home: Home) -> None:
    for words in ((), ("main", "--run", "1")):
        with pytest.raises(UsageError, match="say which"):
            command(home, "runs", "stop", *words)


async def in_thread(work: Callable[..., str], *words: Any) -> str:  # noqa: ANN401
    return await anyio.to_thread.run_sync(work, *words)


def waiting(world: World) -> bool:
    """Let something wait in main, for an hour."""
    now = SystemClock().now()
    with closing(connect(world.home.database, now)) as db, transaction(db):
        runs.queue(db, Folder("main"), MAIN, now + timedelta(hours=1))
        return bool(runs.waiting_count(db, Folder("main")))


@pytest.mark.anyio
async def test_a_running_host_is_told_to_stop_and_to_ask_for_chats(tmp_path: Path) -> None:
    with make_world(say("hello"), say("hello"), directory=tmp_path) as world:
        async with world.hosting():
            await in_thread(command, world.home, "groups", "refresh")
            assert "Nothing was going on." in await in_thread(command, world.home, "runs", "stop", "main")
            assert waiting(world)
            told = await in_thread(command, world.home, "runs", "stop", "main", "--all")
            assert "What was waiting is forgotten" in told
            with pytest.raises(NotFoundError, match="there is no run 7"):
                await in_thread(command, world.home, "runs", "stop", "--run", "7")


@pytest.mark.anyio
async def test_a_group_begins_with_a_memory_file_however_it_is_registered(tmp_path: Path) -> None:
    with make_world(say("hello"), say("hello"), directory=tmp_path) as world:
        async with world.hosting() as client:
            add = ("groups", "add", "--jid", "local:a", "--name", "A", "--folder", "a")
            await in_thread(command, world.home, *add)
            asked = {"type": "register_group", "jid": "local:b", "name": "B", "folder": "b", "trigger": "@Andy"}
            await client.post("/v1/commands", asked)
            world.register("c")
            with anyio.fail_after(60):
                for folder in ("a", "b", "c"):
                    while not (world.home.groups / folder / "CLAUDE.md").exists():  # noqa: ASYNC110
                        await anyio.sleep(0.05)
