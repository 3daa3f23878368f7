"""`nanoclaw-ipc`: its table against the host's, its words, and what it prints."""

import json
import shlex
import threading
from pathlib import Path
from typing import Any, get_args

import pytest

from nanoclaw.ipc.commands import VERBS as HOSTS
from nanoclaw.ipc.protocol import parse
from nanoclaw_runner import ipc, mailbox
from nanoclaw_runner.verbs import VERBS, Verb

ASKING = [verb for verb in VERBS if not verb.shows]
TASK = {
    "id": "task-1a2b3c4d",
    "groupFolder": "family",
    "prompt": "Remind everybody\nto put the bins out.",
    "status": "active",
    "schedule": "At 19:00 on Monday (Europe/Berlin)",
    "next_run": "2026-02-02T19:00:00+01:00",
    "context_mode": "group",
    "failures": 0,
}


def understood(line: str) -> tuple[str, dict[str, Any]]:
    verb, fields, _ = ipc.understand(shlex.split(line))
    return verb.tool, fields


def named(tool: str) -> Verb:
    return next(verb for verb in VERBS if verb.tool == tool)


def test_the_table_has_every_verb_of_the_host_and_no_other() -> None:
    assert [verb.type for verb in ASKING] == list(dict.fromkeys(verb.type for verb in ASKING))
    assert {verb.type for verb in ASKING} == HOSTS.keys()
    assert {verb.type for verb in ASKING if verb.main} == {name for name, row in HOSTS.items() if not row.own}


@pytest.mark.parametrize("verb", ASKING, ids=lambda verb: verb.tool)
def test_a_verb_has_the_fields_choices_and_needs_of_the_host(verb: Verb) -> None:
    fields = HOSTS[verb.type].model.model_fields
    theirs = {field.alias or name: field for name, field in fields.items() if not name.startswith("claimed_")}
    theirs.pop("targetJid", None)  # another word for target_group
    assert {field.name for field in verb.fields} == theirs.keys()
    assert {field.name for field in verb.needed} == {name for name, field in theirs.items() if field.is_required()}
    for field in verb.fields:
        of_type = {each for part in (theirs[field.name].annotation, *get_args(theirs[field.name].annotation))
                   for each in get_args(part) if isinstance(each, str)}  # fmt: skip
        assert set(field.choices) == of_type


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.tool)
def test_the_example_of_a_verb_is_understood_and_taken_by_the_host(verb: Verb) -> None:
    tool, fields = understood(f"{verb.command} {verb.example}")
    assert tool == verb.tool
    if not verb.shows:
        assert parse(json.dumps({**fields, "type": verb.type}).encode()).verb == verb.type


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("--cron '0 9 * * 1'", {"schedule_type": "cron", "schedule_value": "0 9 * * 1"}),
        ("--every 90", {"schedule_type": "interval", "schedule_value": "90000"}),
        ("--every 90s", {"schedule_type": "interval", "schedule_value": "90000"}),
        ("--every 15m", {"schedule_type": "interval", "schedule_value": "900000"}),
        ("--every 2h", {"schedule_type": "interval", "schedule_value": "7200000"}),
        ("--every 1d", {"schedule_type": "interval", "schedule_value": "86400000"}),
        ("--at 2026-01-31T09:00", {"schedule_type": "once", "schedule_value": "2026-01-31T09:00"}),
        ("--isolated --missed skip", {"context_mode": "isolated", "missed": "skip"}),
        ("--group-context --timezone Asia/Tokyo", {"context_mode": "group", "timezone": "Asia/Tokyo"}),
        ("--prompt Hello", {"prompt": "Hello"}),
    ],
)
def test_words_become_the_fields_of_a_file(words: str, fields: dict[str, str]) -> None:
    assert understood(f"update task-1 {words}") == ("update_task", {"taskId": "task-1", **fields})


def test_main_says_for_whom_and_how() -> None:
    assert understood("send Hello --chat local:x") == ("send_message", {"text": "Hello", "chatJid": "local:x"})
    assert understood("schedule Hello --at 2026-01-31T09:00 --group family")[1]["target_group"] == "family"
    words = "family --provider codex --approval-policy readonly --auth-method api_key --no-requires-trigger"
    assert understood(f"groups set {words} --container-config '{{\"timeout\": 1}}'") == (
        "update_group",
        {
            "folder": "family",
            "requiresTrigger": False,
            "provider": "codex",
            "providerConfig": {"codex": {"approvalPolicy": "readonly", "authMethod": "api_key"}},
            "containerConfig": {"timeout": 1},
        },
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "dance",
        "send",
        "groups",
        "schedule Hello",
        "schedule Hello --every 1w",
        "schedule Hello --every -5",
        "schedule Hello --every 5 --cron '0 9 * * 1'",
        "update task-1 --isolated --group-context",
        "groups register --jid x",
        "groups set family --approval-policy auto",
        "groups set family --container-config []",
        "groups set family --container-config {",
    ],
)
def test_words_that_make_no_sense_are_wrong_usage(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        understood(line)
    assert ended.value.code == 2
    assert "usage: nanoclaw-ipc" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["", *(verb.command for verb in VERBS)])
def test_help_shows_an_example_and_what_the_status_means(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        understood(f"{line} --help")
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"nanoclaw-ipc {line}" in told.partition("example")[2]
    assert "exit status: 0 done" in told


def test_answers_are_told_so_that_they_can_be_read() -> None:
    line = (
        "task-1a2b3c4d active: At 19:00 on Monday (Europe/Berlin); next 2026-02-02T19:00:00+01:00;"
        " group family, context group\n    Remind everybody to put the bins out."
    )
    schedule, tasks = named("schedule_task"), named("list_tasks")
    assert ipc.told(schedule, {"ok": True, "taskId": "task-1a2b3c4d", **TASK}) == line
    assert ipc.told(tasks, [TASK, TASK]) == f"{line}\n{line}"
    assert ipc.told(tasks, []) == "There are no tasks."
    resting = {**TASK, "status": "paused", "next_run": None, "failures": 3, "prompt": "x" * 1000}
    told = ipc.told(tasks, [resting])
    assert "paused: At 19:00 on Monday (Europe/Berlin); failed 3 times in a row; group" in told
    assert len(told) < 500
    assert ipc.told(named("cancel_task"), {"ok": True, "taskId": "task-1"}) == "done taskId=task-1"
    assert ipc.told(schedule, {"ok": False, "error": "no"}) == "refused: no"
    chat = {"jid": "1@g.us", "name": "Tea", "channel": "whatsapp", "lastActivity": "then", "isRegistered": False}
    known = {"groups": [chat]}
    assert ipc.told(named("list_groups"), known) == "1@g.us: Tea (whatsapp, not registered, last active then)"
    assert ipc.told(named("list_groups"), {"groups": []}) == "No chats are known yet."


@pytest.fixture
def box(tmp_path: Path) -> Path:
    for name in ("messages", "tasks", "results"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize(("tool", "directory"), [("send_message", "messages"), ("pause_task", "tasks")])
def test_a_request_lies_where_the_host_looks_and_says_what_it_is(box: Path, tool: str, directory: str) -> None:
    verb = named(tool)
    with pytest.raises(mailbox.NoAnswerError, match="may still be done"):
        mailbox.ask(verb, {"type": "cancel_task", "taskId": "task-1"}, str(box), patience=0)
    (written,) = (box / directory).iterdir()
    assert json.loads(written.read_bytes()) == {"type": verb.type, "taskId": "task-1"}


def test_a_request_is_put_whole_into_the_mailbox_and_its_answer_waited_for(box: Path) -> None:
    name = mailbox.post("messages", {"type": "message", "text": "Grüße\ud800"}, str(box))
    (written,) = (box / "messages").iterdir()
    assert (written.name, json.loads(written.read_bytes())) == (name, {"type": "message", "text": "Grüße?"})
    answer = box / "results" / ".unfinished"
    answer.write_text('{"ok": false, "error": "no"}')
    host = threading.Thread(target=lambda: answer.rename(answer.with_name(name)))
    host.start()
    assert mailbox.wait_for_answer(name, str(box)) == {"ok": False, "error": "no"}
    host.join()


def test_what_the_host_keeps_in_the_mailbox_is_read_and_nothing_asked(box: Path) -> None:
    (box / "current_tasks.json").write_text(json.dumps([TASK]))
    assert mailbox.ask(named("list_tasks"), {}, str(box)) == [TASK]
    assert list((box / "tasks").iterdir()) == []
