"""The command line as people and scripts drive it, against a host in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from nanoclaw.selftest import echo
from nanoclaw.testing.models import fault, say
from nanoclaw.testing.world import World, make_world

pytestmark = pytest.mark.e2e

_KEY = "sk-test-0123456789"


class Cli:
    """`nanoclaw --home …`, with the exit code expected."""

    def __init__(self, home: Path) -> None:
        self._command = [sys.executable, "-m", "nanoclaw", "--home", os.fspath(home)]

    def __call__(self, *arguments: str, code: int = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, input=stdin or "", timeout=60, check=False
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:  # noqa: ANN401
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self._command, "run"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "host.ready" in line:
                return process
        raise AssertionError("the host did not start")


@pytest.fixture
def world() -> Generator[World]:
    with make_world(say(echo), say(echo), engine="bubblewrap") as made:
        made.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
        yield made


@pytest.fixture
def cli(world: World) -> Cli:
    return Cli(world.home.root)


@pytest.fixture
def host(cli: Cli) -> Generator[subprocess.Popen[str]]:
    process = cli.start()
    yield process
    process.terminate()
    process.communicate(timeout=30)


def test_init_registers_main_on_the_local_channel_and_leaves_what_is_there(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "home")
    assert "local:main" in cli("init").stdout
    before = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert "was ready" in cli("init").stdout
    assert {path: path.read_bytes() for path in before} == before
    (main,) = cli.json("groups", "list")
    assert (main["jid"], main["folder"], main["provider"], main["main"]) == ("local:main", "main", "claude", True)
    assert (tmp_path / "home" / "groups" / "CLAUDE.md").readlink() == Path("global/CLAUDE.md")
    assert (tmp_path / "home" / ".env").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("host")
def test_send_waits_for_the_answer(cli: Cli) -> None:
    assert cli("send", "--chat", "local:main", "--from", "Bob", "--wait", "60", "hello").stdout == "You said: hello\n"
    answer = cli.json("send", "--chat", "main", "--wait", "60", "again")
    assert (answer["state"], answer["replies"][0]["kind"]) == ("answered", "reply")
    assert answer["message"]["chat"] == "local:main"
    assert cli("send", "-", stdin="from a pipe").stdout == ""


@pytest.mark.usefixtures("host")
def test_send_exits_3_when_no_answer_comes_in_time(cli: Cli, world: World) -> None:
    world.anthropic.script = fault("no_headers")
    assert "no answer in time" in cli("send", "--wait", "0.5", "hello", code=3).stderr
    world.register("family", provider="codex")
    assert "begin with @Andy" in cli("send", "--chat", "family", "--wait", "5", "just talking", code=3).stderr


def test_what_is_sent_while_no_host_runs_is_answered_when_one_does(cli: Cli) -> None:
    assert "no host is running" in cli("send", "early bird").stderr
    assert cli.json("status")["waiting"] == 1
    process = cli.start()
    try:
        assert cli("send", "--wait", "60", "late bird").stdout.splitlines()[-1].endswith("late bird")
    finally:
        process.terminate()
        process.communicate(timeout=30)
    said = " ".join(
        reply["text"]
        for run in cli.json("runs", "list")
        for reply in cli.json("runs", "show", str(run["id"]))["replies"]
    )
    assert said.count("early bird") == 1
    assert said.count("late bird") == 1


@pytest.mark.usefixtures("host")
def test_a_group_is_added_switched_and_removed_while_the_host_runs(cli: Cli, world: World) -> None:
    add = ["groups", "add", "--jid", "local:work", "--name", "Work", "--folder", "work", "--trigger", "@Bot"]
    cli(*add, "--provider", "codex", "--approval-policy", "readonly", "--auth-method", "api_key")
    assert cli("send", "--chat", "local:work", "--wait", "60", "@bot hi").stdout == "You said: @bot hi\n"
    assert len(world.openai.conversations) == 1
    assert "registered already" in cli(*add, code=2).stderr
    cli("groups", "set", "work", "--provider", "claude", "--no-requires-trigger")
    assert cli("send", "--chat", "work", "--wait", "60", "no trigger").stdout == "You said: no trigger\n"
    assert len(world.openai.conversations) == 1
    entry = json.loads(world.home.registered_groups.read_text(encoding="utf-8"))["local:work"]
    assert entry["providerConfig"] == {"codex": {"approvalPolicy": "readonly", "authMethod": "api_key"}}
    cli("groups", "remove", "work")
    assert "known groups: main" in cli("send", "--chat", "work", "hi", code=2).stderr
    assert "cannot be removed" in cli("groups", "remove", "main", code=2).stderr


@pytest.mark.usefixtures("host")
def test_a_broken_edit_of_the_groups_file_is_said_and_the_last_good_state_works_on(cli: Cli, world: World) -> None:
    good = world.home.registered_groups.read_text(encoding="utf-8")
    world.home.registered_groups.write_text(good.replace('"@Andy"', "5"), encoding="utf-8")
    problem = None
    while problem is None:
        problem = cli.json("status")["groups_problem"]
    assert "local:main: trigger is 5" in problem
    assert str(world.home.registered_groups) in problem
    world.home.registered_groups.write_text(good, encoding="utf-8")
    assert cli("send", "--wait", "60", "still there?").stdout == "You said: still there?\n"


@pytest.mark.usefixtures("host")
def test_runs_and_status_tell_what_happened(cli: Cli) -> None:
    cli("send", "--wait", "60", "hello")
    status = cli.json("status")
    assert (status["host"]["running"], status["waiting"], status["running"], status["outbox"]) == (True, 0, 0, 0)
    assert status["sandbox"]["name"] == "bubblewrap"
    (run,) = cli.json("runs", "list")
    assert (run["state"], run["provider"], run["attempts"], run["failure"]) == ("done", "claude", 1, None)
    assert run["usage"]["output_tokens"] > 0
    shown = cli.json("runs", "show", str(run["id"]))
    assert [reply["text"] for reply in shown["replies"]] == ["You said: hello"]
    assert Path(shown["logs"][0]).is_file()
    assert "there is no run 99" in cli("runs", "show", "99", code=2).stderr


@pytest.mark.usefixtures("host")
def test_a_second_host_on_the_same_home_refuses_to_start(cli: Cli) -> None:
    assert "a host is running already" in cli("run", code=4).stderr


@pytest.mark.usefixtures("host")
def test_tasks_are_managed_from_the_command_line(cli: Cli) -> None:
    made = cli.json(
        "tasks", "add", "say good morning", "--type", "cron", "--value", "0 9 * * 1", "--timezone", "Europe/Berlin"
    )
    task = made["taskId"]
    assert made["schedule"] == "At 09:00 on Monday (Europe/Berlin)"
    assert [entry["id"] for entry in cli.json("tasks", "list")] == [task]
    assert len(cli.json("tasks", "show", task)["next_runs"]) == 5
    assert cli.json("tasks", "pause", task)["status"] == "paused"
    assert cli.json("tasks", "resume", task)["status"] == "active"
    assert cli.json("tasks", "update", task, "--value", "0 10 * * 1")["schedule"].startswith("At 10:00")
    assert "five fields" in cli("tasks", "update", task, "--value", "soon", code=2).stderr
    cli("tasks", "run", task)
    cli("tasks", "cancel", task)
    assert cli.json("tasks", "list") == []
    assert "no task" in cli("tasks", "show", task, code=2).stderr


def test_the_doctor_finds_what_is_wrong_and_says_what_to_do(cli: Cli, world: World) -> None:
    world.register("work", provider="codex")
    healthy = {finding["check"]: finding for finding in cli.json("doctor")["findings"]}
    assert healthy["sign-in of work"]["ok"]
    world.secrets(ANTHROPIC_API_KEY=_KEY)
    found = {finding["check"]: finding for finding in cli.json("doctor", code=1)["findings"]}
    assert not found["sign-in of work"]["ok"]
    assert "auth login codex" in found["sign-in of work"]["hint"]
    world.home.settings.write_text("asistant_name = 'x'\n[sandbox]\nengine = 'bubblewrap'\n", encoding="utf-8")
    found = {finding["check"]: finding for finding in cli.json("doctor", code=1)["findings"]}
    assert "did you mean assistant_name" in found["settings"]["hint"]


def test_a_chat_from_a_pipe_prints_the_answers(cli: Cli, host: subprocess.Popen[str]) -> None:
    assert host.poll() is None
    assert cli("chat", stdin="one\n\ntwo\n").stdout == "You said: one\nYou said: two\n"
