"""Who may do what, from the table in the code."""

import json
from collections.abc import Mapping

import pytest

from nanoclaw.errors import MailboxError
from nanoclaw.ipc.authority import authorise
from nanoclaw.ipc.commands import VERBS, Command
from nanoclaw.ipc.protocol import parse
from nanoclaw.model import Folder, Jid

FAMILY = Folder("family")
FAMILY_CHAT = Jid("local:family")
MAIN = Folder("main")
MAIN_CHAT = Jid("local:main")

WORK = Folder("work")
_TIMES = {"prompt": "x", "schedule_type": "cron", "schedule_value": "0 9 * * 1"}
_TASK = {"taskId": "task-1"}
_GROUP = {"jid": "local:new", "name": "New", "folder": "new", "trigger": "@Andy"}

OWN_AND_OTHER: dict[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
    "message": ({"text": "hi"}, {"text": "hi", "chatJid": "local:work"}),
    "schedule_task": (_TIMES, {**_TIMES, "target_group": "work"}),
    **dict.fromkeys(("update_task", "pause_task", "resume_task", "cancel_task", "run_task"), (_TASK, _TASK)),
    "register_group": (_GROUP, _GROUP),
    "update_group": ({"folder": "family"}, {"folder": "work"}),
    "unregister_group": ({"folder": "family"}, {"folder": "work"}),
    "refresh_groups": ({}, {}),
}
"""For each verb: fields that concern the group `family` itself, and fields that concern another. Whose a task is does
not stand in the file."""


def command(verb: str, fields: Mapping[str, object]) -> Command:
    return parse(json.dumps({"type": verb, **fields}).encode())


def test_the_cases_here_are_the_verbs_of_the_table():
    assert OWN_AND_OTHER.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("column", ["own", "other", "main"])
def test_a_verb_is_allowed_exactly_where_the_table_says(verb: str, column: str):
    own, other = OWN_AND_OTHER[verb]
    asked = command(verb, own if column == "own" else other)
    is_main = column == "main"
    sender = (MAIN, MAIN_CHAT) if is_main else (FAMILY, FAMILY_CHAT)
    owner = None if own is not other else FAMILY if column == "own" else WORK
    if getattr(VERBS[verb], column):
        authorise(asked, *sender, is_main, owner=owner)
    else:
        with pytest.raises(MailboxError):
            authorise(asked, *sender, is_main, owner=owner)


def test_a_group_may_name_its_own_chat():
    authorise(command("message", {"text": "hi", "chatJid": FAMILY_CHAT}), FAMILY, FAMILY_CHAT, False)


def test_a_group_that_writes_to_another_chat_is_told_what_it_may_do():
    with pytest.raises(MailboxError, match=r"only for itself.*local:family"):
        authorise(command("message", {"text": "hi", "chatJid": "local:main"}), FAMILY, FAMILY_CHAT, False)


def test_only_main_may_write_to_another_chat():
    authorise(command("message", {"text": "hi", "chatJid": FAMILY_CHAT}), MAIN, MAIN_CHAT, True)


@pytest.mark.parametrize("claim", [{"groupFolder": "main"}, {"isMain": True}, {"createdBy": "main"}])
def test_what_a_file_claims_about_its_sender_gives_it_nothing(claim: dict[str, object]):
    with pytest.raises(MailboxError):
        authorise(command("message", {"text": "hi", "chatJid": MAIN_CHAT, **claim}), FAMILY, FAMILY_CHAT, False)


def test_true_claims_are_no_contradiction():
    claims = {"text": "hi", "groupFolder": "family", "createdBy": "family", "isMain": False}
    assert authorise(command("message", claims), FAMILY, FAMILY_CHAT, False).contradictions == ()


def test_false_claims_are_reported_for_the_log_in_one_short_printable_line_each():
    claims = {"text": "hi", "groupFolder": "main", "createdBy": ["\n\x1b" * 1000], "isMain": True}
    contradictions = authorise(command("message", claims), FAMILY, FAMILY_CHAT, False).contradictions
    assert [line.split()[0] for line in contradictions] == ["groupFolder", "createdBy", "isMain"]
    assert all(line.isprintable() and len(line) < 100 for line in contradictions)
