"""What is shown of a run's log, whatever is in it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nanoclaw.runlog import Log, activities, logs_of, read_log

AT = "2026-01-31T12:00:00.000000Z"


def log(directory: Path, *entries: object, name: str = "000007-1") -> Path:
    """A log with these entries; texts stand there as they are."""
    path = directory / f"{name}.jsonl"
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogatepass")
    return path


def event(**told: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"at": AT, "what": "event", "event": json.dumps(told)}


def shown(found: Log) -> list[tuple[str, str]]:
    return [(step.what, step.text) for step in found.steps]


def test_everything_that_happened_is_told_in_words(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        {"at": AT, "what": "start", "sandbox": "podman", "provider": "codex", "prompt": "x"},
        {"at": AT, "what": "proof", "failed": {}, "problem": "", "milliseconds": 3.2},
        {"at": AT, "what": "proof", "failed": {"mounts": "writable"}, "problem": "", "milliseconds": 3.2},
        event(type="started", protocol=2),
        event(type="activity", text="$ ls"),
        event(type="usage", inputTokens=10, cachedInputTokens=4, outputTokens=2),
        event(type="failed", kind="auth", text="refused"),
        {"at": AT, "what": "stderr", "text": "oh dear"},
        {"at": AT, "what": "stderr", "text": ""},
    )
    assert shown(read_log(path)) == [
        ("start", "codex in podman"),
        ("proof", "the sandbox holds, in 3.2 ms"),
        ("proof", "does not hold: mounts: writable"),
        ("started", ""),
        ("activity", "$ ls"),
        ("usage", "10 tokens in (4 cached), 2 out"),
        ("failed", "refused"),
        ("stderr", "oh dear"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no json",
        "[]",
        "3",
        "null",
        '{"at": "yesterday", "what": "x", "text": "y"}',
        '{"at": 3, "what": "x", "text": "y"}',
        '{"what": "x", "text": "y"}',
        json.dumps({"at": AT, "what": "event", "event": "{"}),
        json.dumps({"at": AT, "what": "event", "event": "[" * 100_000}),
        json.dumps({"at": AT, "what": "event", "event": None}),
        json.dumps({"at": AT, "what": "event"}),
        '{"at": "' + AT + '", "what": "event", "event": "\ud800',
    ],
)
def test_a_line_that_is_nothing_is_left_out(tmp_path: Path, line: str) -> None:
    assert shown(read_log(log(tmp_path, line, event(type="done")))) == [("done", "")]


def test_what_an_agent_says_is_cut_and_cannot_lead_astray(tmp_path: Path) -> None:
    evil = "\x1b[2J\u202eevil" + "x" * 10_000
    told = [event(type="activity", text=evil), event(type=evil, text={"a": [1]}), event(type="usage", inputTokens=evil)]
    for step in read_log(log(tmp_path, *told)).steps:
        for text in (step.what, step.text):
            assert len(text) < 4_100
            assert not set("\x1b\u202e") & set(text)


def test_of_a_long_log_the_end_is_shown_with_its_place(tmp_path: Path) -> None:
    found = read_log(log(tmp_path, *(event(type="activity", text=str(number)) for number in range(1, 2001))))
    assert found.left_out == 1500
    assert (found.steps[0].number, found.steps[0].text) == (1501, "1501")
    assert (found.steps[-1].number, found.steps[-1].text) == (2000, "2000")


def test_what_an_agent_does_is_read_from_its_last_attempt(tmp_path: Path) -> None:
    for number in (2, 10):
        path = log(tmp_path, event(type="activity", text=f"attempt {number}"), name=f"000007-{number}")
        os.utime(path, (number, number))
    log(tmp_path, event(type="activity", text="another run"), name="000008-1")
    assert [path.stem for path in logs_of(tmp_path, 7)] == ["000007-2", "000007-10"]
    assert activities(tmp_path, 7, 5) == ["attempt 10"]
    assert activities(tmp_path, 9, 5) == []
