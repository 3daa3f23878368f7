"""Events on their way to the host, and the agent's environment."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from nanoclaw.wire import MAX_EVENT_BYTES, FailureKind
from nanoclaw_runner.emitter import Emitter
from nanoclaw_runner.environment import agent_environment
from nanoclaw_runner.events import activity, failed
from tests.unit.test_runner_prelude import request


def emitted(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def stdout(tmp_path: Path) -> Path:
    return tmp_path / "stdout"


@pytest.fixture
def emit(stdout: Path) -> Iterator[Emitter]:
    with stdout.open("ab") as file:
        yield Emitter(file.fileno())


def test_a_run_has_one_end_and_nothing_after_it(emit: Emitter, stdout: Path) -> None:
    emit(activity("working"))
    assert emit.claim_end()
    assert not emit.claim_end()
    emit({"type": "output", "text": "too late"})
    emit.end({"type": "done"})
    assert emitted(stdout) == [{"type": "activity", "text": "working"}, {"type": "done"}]


@pytest.mark.parametrize("character", ["x", "\0", "€", "🙂", "\ud800"])
def test_no_text_makes_a_line_that_the_host_would_refuse(emit: Emitter, stdout: Path, character: str) -> None:
    emit({"type": "output", "text": character * MAX_EVENT_BYTES})
    emit({"type": "output", "text": "two\nlines"})
    first, second = stdout.read_bytes().splitlines()
    assert len(first) < MAX_EVENT_BYTES
    assert json.loads(first)["text"].endswith("[cut: the text was too long]")
    assert json.loads(second)["text"] == "two\nlines"


def test_only_what_may_go_better_next_time_is_worth_another_attempt() -> None:
    assert failed("network", "why") == {"type": "failed", "kind": "network", "text": "why", "retryable": True}
    worth = [kind for kind in get_args(FailureKind) if failed(kind, "why")["retryable"]]
    assert worth == ["rate_limited", "overloaded", "network", "no_answer", "crashed"]


def test_of_the_images_environment_only_places_are_kept() -> None:
    image = {"PATH": "/opt/bin", "SSL_CERT_FILE": "/ca.pem", "OPENAI_API_KEY": "sk-secret", "LD_PRELOAD": "/evil.so"}
    environment = agent_environment(request(), image)
    assert environment["PATH"] == "/opt/bin"
    assert environment["SSL_CERT_FILE"] == "/ca.pem"
    assert environment["HOME"] == "/home/node"
    assert environment["TZ"] == "Europe/Berlin"
    assert environment["HTTPS_PROXY"] == environment["http_proxy"] == "http://127.0.0.1:3128"
    assert not {"OPENAI_API_KEY", "LD_PRELOAD"} & environment.keys()


def test_an_image_that_sets_nothing_gets_a_path_all_the_same() -> None:
    assert agent_environment(request(), {})["PATH"] == "/usr/local/bin:/usr/bin:/bin"


IMPORT = "from nanoclaw_runner.providers.light_import import import_lightly; print(import_lightly('user').answer)"


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ("import mcp\nclass Tool(mcp.Tool, extra='allow'): pass\nanswer = mcp.Tool.__name__ + mcp.__name__", "Toolmcp"),
        ("from mcp import number\nanswer = number + 1", "42"),
    ],
    ids=["names are enough", "more than names is needed"],
)
def test_a_heavy_module_is_imported_only_if_more_than_its_names_is_needed(
    tmp_path: Path, user: str, answer: str
) -> None:
    (tmp_path / "mcp.py").write_text("number = 41\n")
    (tmp_path / "user.py").write_text(user)
    paths = [str(tmp_path), *sys.path]
    command = [sys.executable, "-c", f"import sys; sys.path = {paths!r}\n{IMPORT}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == answer
    assert ("with everything" in done.stderr) == (answer == "42")
