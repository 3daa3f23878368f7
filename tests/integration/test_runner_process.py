"""The runner as a process, its CLI as a process, and its command for agents."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanoclaw.testing.models import ScriptedOpenAI, say
from nanoclaw_runner.cli import Cli, kill_running
from tests.integration.runner_rig import Rig

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def shell(script: str, stdin: bytes | None = b"") -> Cli:
    return Cli(["sh", "-c", script], ENVIRONMENT, stdin)


@pytest.mark.anyio
async def test_a_host_of_another_version_is_told_so(tmp_path: Path) -> None:
    with ScriptedOpenAI(say("unreachable")) as server:
        async with Rig.open(tmp_path, server) as rig:
            outcome = await rig.run(protocol=99)
    assert [event["type"] for event in outcome.events] == ["failed"]
    assert outcome.end["kind"] == "sandbox"
    assert "99" in outcome.end["text"]


@pytest.mark.anyio
async def test_a_fault_of_ours_is_told_in_a_word_and_logged_in_full(tmp_path: Path) -> None:
    with ScriptedOpenAI(say("unreachable")) as server:
        async with Rig.open(tmp_path, server) as rig:
            outcome = await rig.run(provider="nobody")
    assert (outcome.end["kind"], outcome.end["retryable"]) == ("internal", False)
    assert "Traceback" in outcome.stderr
    assert "Traceback" not in outcome.end["text"]


def test_a_cli_gets_a_prompt_that_no_pipe_would_hold(capfd: pytest.CaptureFixture[str]) -> None:
    cli = shell("wc -c", b"x" * 1_000_000)
    assert [line.strip() for line in cli.lines()] == [b"1000000"]
    assert cli.wait(10) == 0


def test_a_cli_reads_what_is_written_to_it_later() -> None:
    cli = shell("read word; echo got $word", None)
    os.write(cli.stdin, b"tea\n")
    assert list(cli.lines()) == [b"got tea\n"]
    assert cli.wait(10) == 0


def test_a_cli_has_the_environment_that_it_is_given_and_no_more() -> None:
    lines = list(shell("unset PWD OLDPWD SHLVL _; env").lines())
    assert lines == [f"PATH={ENVIRONMENT['PATH']}\n".encode()]


def test_exit_status_and_last_words_of_a_cli_are_known(capfd: pytest.CaptureFixture[str]) -> None:
    cli = shell("echo first >&2; echo 'cannot go on' >&2; exit 3")
    assert list(cli.lines()) == []
    assert cli.wait(10) == 3
    assert cli.stderr_tail().splitlines() == ["first", "cannot go on"]
    assert "cannot go on" in capfd.readouterr().err


def test_a_cli_that_does_not_end_is_ended_with_all_its_children() -> None:
    stubborn = "trap '' TERM; echo up; read never < /dev/zero"
    cli = shell(f"trap '' TERM; sh -c \"{stubborn}\" & wait", None)
    lines = cli.lines()
    assert next(lines) == b"up\n"
    assert cli.wait(0) == -9
    assert list(lines) == []  # whoever survived would still hold its end


def test_a_stop_finds_the_cli_that_runs_and_none_that_has_ended() -> None:
    ended, running = shell("true"), shell("echo up; read never", None)
    assert ended.wait(10) == 0
    assert next(running.lines()) == b"up\n"
    kill_running()
    assert running.wait(10) == -15
    kill_running()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--help"], 0), (["schedule", "--help"], 0), ([], 2), (["dance"], 2), (["tasks"], 1), (["send", "x"], 1)],
)
def test_the_command_explains_itself(arguments: list[str], status: int) -> None:
    command = [sys.executable, "-m", "nanoclaw_runner.ipc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "nanoclaw-ipc" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
