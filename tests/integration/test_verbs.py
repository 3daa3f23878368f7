"""What commands do to the database and to the groups' file: each once, by the right of the directory they come from."""

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nanoclaw.channels.local import LocalChannel
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, Settings
from nanoclaw.errors import MailboxError
from nanoclaw.groups import GroupRegistry
from nanoclaw.ipc import outgoing
from nanoclaw.ipc.commands import MAX_FILES
from nanoclaw.ipc.protocol import parse
from nanoclaw.model import Folder, InboundMessage, Jid, Standing, TokenUsage
from nanoclaw.pulse import Pulses
from nanoclaw.store import endings, messages, outbox, runs, tasks
from nanoclaw.store.database import Connection, Database, open_database
from nanoclaw.store.endings import Success
from nanoclaw.verbs import Answer, Verbs

pytestmark = pytest.mark.anyio

_MAIN, _FAMILY = Folder("main"), Folder("family")
_EVERY_MONDAY = {"type": "schedule_task", "prompt": "x", "schedule_type": "cron", "schedule_value": "0 9 * * 1"}


class Rig:
    """Verbs on a real database and a real file."""

    def __init__(self, path: Path, database: Database, owners: tuple[str, ...] = ()) -> None:
        self.path = path
        self.database = database
        self.groups = GroupRegistry(path)
        settings = Settings(timezone="Europe/Berlin", owners=owners)
        channels = [LocalChannel()]
        self.home = Home(path.parent)
        self.verbs = Verbs(self.home, settings, database, self.groups, channels, SystemClock(), Pulses())
        self._keys = 0

    async def do(self, sender: Folder, key: str | None = None, **document: Any) -> Answer:  # noqa: ANN401
        self._keys += 1
        command = parse(json.dumps(document).encode())
        return await self.verbs.apply(sender, key or f"{sender}/{self._keys}", command)

    async def refused(self, sender: Folder, **document: Any) -> str:  # noqa: ANN401
        with pytest.raises(MailboxError) as caught:
            await self.do(sender, **document)
        return str(caught.value)

    async def sent(self) -> list[tuple[str, str]]:
        items = await self.database.write(outbox.take, SystemClock().now())
        return [(item.chat, item.text) for item in items]


@asynccontextmanager
async def a_rig(tmp_path: Path, *owners: str) -> AsyncGenerator[Rig]:
    path = tmp_path / "registered_groups.json"
    groups = {f"local:{name}": {"name": name, "folder": name, "trigger": "@Andy"} for name in ("main", "family")}
    path.write_text(json.dumps(groups), encoding="utf-8")
    async with open_database(tmp_path / "n.db", SystemClock().now()) as database:
        yield Rig(path, database, owners)


async def test_a_message_goes_to_the_groups_own_chat(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        assert await rig.do(_FAMILY, type="message", text="hi") == {"ok": True, "chat": "local:family"}
        assert await rig.sent() == [("local:family", "hi")]


async def test_the_same_file_again_has_no_second_effect_and_gets_the_same_answer(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        first = await rig.do(_FAMILY, "key-1", **_EVERY_MONDAY)
        assert await rig.do(_FAMILY, "key-1", **_EVERY_MONDAY) == first
        assert len(await rig.database.read(tasks.existing)) == 1
        await rig.do(_FAMILY, "key-2", type="message", text="once")
        await rig.do(_FAMILY, "key-2", type="message", text="once")
        assert await rig.sent() == [("local:family", "once")]
        assert await rig.sent() == []


async def test_only_main_writes_to_another_chat_and_only_to_a_registered_one(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        assert "only for itself" in await rig.refused(_FAMILY, type="message", text="hi", chatJid="local:main")
        await rig.do(_MAIN, type="message", text="hi", chatJid="local:family")
        assert await rig.sent() == [("local:family", "hi")]
        assert "not a registered chat" in await rig.refused(_MAIN, type="message", text="hi", chatJid="local:nowhere")


async def test_what_is_internal_is_not_sent(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        assert "<internal>" in await rig.refused(_FAMILY, type="message", text="<internal>secret plan</internal>")
        assert await rig.sent() == []


async def test_a_task_of_nanoclaws_own_shape_is_for_the_group_that_main_names(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        claims: dict[str, Any] = {"groupFolder": "family", "chatJid": "local:family", "createdBy": "main"}
        assert (await rig.do(_MAIN, **_EVERY_MONDAY, **claims))["groupFolder"] == "family"
        claims = {"groupFolder": "main", "createdBy": "main", "isMain": True}
        assert (await rig.do(_FAMILY, **_EVERY_MONDAY, **claims))["groupFolder"] == "family"


async def test_a_task_takes_the_hosts_zone_unless_it_names_one(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        assert (await rig.do(_FAMILY, **_EVERY_MONDAY))["timezone"] == "Europe/Berlin"
        assert (await rig.do(_FAMILY, **_EVERY_MONDAY, timezone="Asia/Tokyo"))["timezone"] == "Asia/Tokyo"
        assert "IANA" in await rig.refused(_FAMILY, **_EVERY_MONDAY, timezone="Mars/Olympus")


async def test_a_task_is_paused_resumed_changed_run_and_cancelled(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        task = (await rig.do(_FAMILY, **_EVERY_MONDAY))["taskId"]
        assert (await rig.do(_FAMILY, type="pause_task", taskId=task))["status"] == "paused"
        assert (await rig.do(_MAIN, type="resume_task", taskId=task))["status"] == "active"
        changed = await rig.do(
            _FAMILY, type="update_task", taskId=task, schedule_type="interval", schedule_value="60000"
        )
        assert changed["schedule"] == "every minute"
        assert "milliseconds" in await rig.refused(_FAMILY, type="update_task", taskId=task, schedule_value="soon")
        await rig.do(_FAMILY, type="run_task", taskId=task)
        await rig.do(_FAMILY, type="cancel_task", taskId=task)
        assert "no task" in await rig.refused(_FAMILY, type="pause_task", taskId=task)


async def test_a_group_has_no_power_over_anothers_task(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        task = (await rig.do(_MAIN, **_EVERY_MONDAY))["taskId"]
        for verb in ("pause_task", "resume_task", "cancel_task", "run_task", "update_task"):
            assert await rig.refused(_FAMILY, type=verb, taskId=task)
        (kept,) = await rig.database.read(tasks.existing)
        assert kept.state == "active"


async def test_main_registers_changes_and_unregisters_groups(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        new = {"type": "register_group", "jid": "local:new", "name": "New", "folder": "new", "trigger": "@Andy"}
        await rig.do(_MAIN, **new, requiresTrigger=False, provider="codex")
        group = rig.groups.groups[Jid("local:new")]
        assert (group.provider, group.requires_trigger) == ("codex", False)
        await rig.do(_MAIN, **new, requiresTrigger=False, provider="codex")  # as after a crash
        assert "update_group" in await rig.refused(_MAIN, **new)
        settings = {"codex": {"approvalPolicy": "readonly"}}
        await rig.do(_MAIN, type="update_group", folder="new", providerConfig=settings)
        await rig.do(_MAIN, type="update_group", folder="new", providerConfig={"codex": {"authMethod": "api_key"}})
        changed = rig.groups.groups[Jid("local:new")]
        assert (changed.approval_policy, changed.codex.auth_method) == ("readonly", "api_key")
        await rig.do(_MAIN, type="unregister_group", folder="new")
        assert Jid("local:new") not in rig.groups.groups
        assert "main cannot" in await rig.refused(_MAIN, type="unregister_group", folder="main")


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": "../up"},
        {"folder": "global"},
        {"folder": "family"},
        {"provider": "codex", "providerConfig": {"codex": {"authMethod": "nonsense"}}},
        {"containerConfig": {"timeout": -5}},
    ],
)
async def test_a_group_that_cannot_be_is_not_registered(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with a_rig(tmp_path) as rig:
        before = rig.path.read_bytes()
        new = {"type": "register_group", "jid": "local:new", "name": "New", "folder": "new", "trigger": "@Andy"}
        assert await rig.refused(_MAIN, **{**new, **changes})
        assert rig.path.read_bytes() == before


@pytest.mark.parametrize("verb", ["register_group", "update_group", "unregister_group", "refresh_groups"])
async def test_groups_are_mains_alone(tmp_path: Path, verb: str) -> None:
    async with a_rig(tmp_path) as rig:
        fields = {"jid": "local:new", "name": "New", "folder": "family", "trigger": "@Andy"}
        assert "only the group `main`" in await rig.refused(_FAMILY, type=verb, **fields)


def put_file(rig: Rig, folder: str, name: str, content: bytes = b"report") -> Path:
    path = rig.home.groups / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def test_a_file_is_copied_before_the_request_is_answered(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        path = put_file(rig, "family", "out/My report.pdf")
        answer = await rig.do(_FAMILY, "k", type="message", files=["/workspace/group/out/My report.pdf"])
        path.write_bytes(b"changed")
        assert answer == {"ok": True, "chat": "local:family"}
        assert await rig.do(_FAMILY, "k", type="message", files=["/workspace/group/gone"]) == answer
        (item,) = await rig.database.write(outbox.take, SystemClock().now())
        (file,) = item.files
        assert (item.text, file.name, file.mime) == ("", "My report.pdf", "application/pdf")
        assert (rig.home.outgoing / file.file).read_bytes() == b"report"


async def test_files_come_from_the_groups_own_places_alone(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        put_file(rig, "family", "a.txt")
        put_file(rig, "main", "secret.txt")
        put_file(rig, "global", "shared.txt")
        (rig.home.groups / "family" / "link.txt").symlink_to(rig.home.groups / "main" / "secret.txt")
        (rig.home.groups / "family" / "linked").symlink_to(rig.home.groups / "main")
        put_file(rig, "main", "shared.txt")
        os.link(rig.home.groups / "main" / "shared.txt", rig.home.groups / "family" / "hard.txt")
        os.mkfifo(rig.home.groups / "family" / "pipe")
        refused = [
            "/workspace/group/../main/secret.txt",
            "/workspace/group/link.txt",
            "/workspace/group/linked/secret.txt",
            "/workspace/group/hard.txt",
            "/workspace/group/pipe",
            "/workspace/group",
            "/workspace/group/",
            "/workspace/group/a.txt/x",
            "/workspace/group/nothing.txt",
            "/workspace/group/" + "x" * 300,
            "/workspace/groupa/a.txt",
            "/workspace/ipc/current_tasks.json",
            "/home/node/.codex/auth.json",
            "/etc/passwd",
            "a.txt",
            "/workspace/group/\0",
        ]
        for path in refused:
            assert "files" in await rig.refused(_FAMILY, type="message", text="x", files=[path]), path
        for path in ("/workspace/group/./a.txt", "/workspace/global/shared.txt"):
            assert await rig.do(_FAMILY, type="message", files=[path])
        assert len(await rig.sent()) == 1


async def test_files_are_few_and_not_large(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        path = put_file(rig, "family", "big")
        os.truncate(path, outgoing.MAX_FILE_BYTES + 1)
        assert "larger than 25 MiB" in await rig.refused(_FAMILY, type="message", files=["/workspace/group/big"])
        files = ["/workspace/group/a"] * (MAX_FILES + 1)
        assert "at most 16" in await rig.refused(_FAMILY, type="message", files=files)
        waiting = rig.home.outgoing / "family" / "waiting"
        waiting.touch()
        os.truncate(waiting, outgoing.MAX_WAITING_BYTES + 1)
        put_file(rig, "family", "a")
        assert "on their way" in await rig.refused(_FAMILY, type="message", files=["/workspace/group/a"])


async def test_copies_go_when_they_are_old_and_need_not_be_sent(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        put_file(rig, "family", "a")
        await rig.do(_FAMILY, type="message", files=["/workspace/group/a"])
        (copy,) = (rig.home.outgoing / "family").iterdir()
        later = SystemClock().now() + outgoing.KEPT + timedelta(minutes=1)
        outgoing.prune(rig.home, await rig.database.read(outbox.files_on_their_way), later)
        assert copy.exists()
        (item,) = await rig.database.write(outbox.take, SystemClock().now())
        await rig.database.write(outbox.part_sent, item, 1, "p", SystemClock().now(), last=True)
        on_their_way = await rig.database.read(outbox.files_on_their_way)
        outgoing.prune(rig.home, on_their_way, SystemClock().now())
        assert copy.exists()
        outgoing.prune(rig.home, on_their_way, later)
        assert not copy.exists()


async def run_in_main(rig: Rig, standing: Standing, ext_id: str) -> None:
    """Let a run begin that somebody of this standing has woken; one that works is over."""
    now = SystemClock().now()
    message = InboundMessage(
        channel="whatsapp",
        account="me",
        chat=Jid("local:main"),
        chat_name="",
        sender="x",
        sender_name="X",
        ext_id=ext_id,
        text="hi",
        sent_at=now,
    )

    def begin(db: Connection) -> None:
        if running := runs.running(db, _MAIN):
            endings.finish(db, running, Success(reply="", provider="p", session_id=None, usage=TokenUsage()), now)
        messages.insert(db, message, now, standing, wakes=True)
        runs.queue(db, _MAIN, Jid("local:main"), now)
        runs.claim(db, now, 1, frozenset())

    await rig.database.write(begin)


async def test_where_owners_are_named_main_has_its_power_only_while_it_works_for_one(tmp_path: Path) -> None:
    another: list[dict[str, Any]] = [
        {"type": "message", "text": "hi", "chatJid": "local:family"},
        {"type": "update_group", "folder": "family", "name": "F"},
        {**_EVERY_MONDAY, "target_group": "family"},
        {"type": "refresh_groups"},
    ]
    async with a_rig(tmp_path, "4915112345678") as rig:
        for command in another:
            assert "only in answer to one of the owners" in await rig.refused(_MAIN, **command), "nothing runs"
        await run_in_main(rig, "stranger", "1")
        for command in another:
            assert "only in answer to one of the owners" in await rig.refused(_MAIN, **command)
        theirs = (await rig.do(_FAMILY, **_EVERY_MONDAY))["taskId"]
        assert "owners" in await rig.refused(_MAIN, type="cancel_task", taskId=theirs)
        await rig.do(_MAIN, type="message", text="its own chat stays its own")
        await run_in_main(rig, "owner", "2")
        for command in another:
            assert (await rig.do(_MAIN, **command))["ok"]


async def test_the_command_line_has_the_power_of_main_whatever_runs(tmp_path: Path) -> None:
    async with a_rig(tmp_path, "4915112345678") as rig:
        command = parse(json.dumps({"type": "update_group", "folder": "family", "name": "F"}).encode())
        assert (await rig.verbs.apply_for_owner("control/1", command))["ok"]


async def test_who_may_wake_a_group_is_set_by_main(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        senders = {"policy": "allowlist", "allow": ["4915112345678"]}
        await rig.do(_MAIN, type="update_group", folder="family", senders=senders)
        assert rig.groups.groups[Jid("local:family")].senders.allow == ("4915112345678",)
        assert "senders.policy" in await rig.refused(
            _MAIN, type="update_group", folder="family", senders={"policy": "some"}
        )
