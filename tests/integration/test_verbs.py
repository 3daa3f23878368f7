"""What commands do to the database and to the groups' file: each once, by the right of the directory they come from."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nanoclaw.clock import SystemClock
from nanoclaw.errors import MailboxError
from nanoclaw.groups import GroupRegistry
from nanoclaw.ipc.protocol import parse
from nanoclaw.model import Folder, Jid
from nanoclaw.pulse import Pulses
from nanoclaw.store import outbox, tasks
from nanoclaw.store.database import Database, open_database
from nanoclaw.verbs import Answer, Verbs

pytestmark = pytest.mark.anyio

_MAIN, _FAMILY = Folder("main"), Folder("family")
_EVERY_MONDAY = {"type": "schedule_task", "prompt": "x", "schedule_type": "cron", "schedule_value": "0 9 * * 1"}


class Rig:
    """Verbs on a real database and a real file."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self.database = database
        self.groups = GroupRegistry(path)
        self._verbs = Verbs(database, self.groups, SystemClock(), Pulses(), "Europe/Berlin")
        self._keys = 0

    async def do(self, sender: Folder, key: str | None = None, **document: Any) -> Answer:  # noqa: ANN401
        self._keys += 1
        command = parse(json.dumps(document).encode())
        return await self._verbs.apply(sender, key or f"{sender}/{self._keys}", command)

    async def refused(self, sender: Folder, **document: Any) -> str:  # noqa: ANN401
        with pytest.raises(MailboxError) as caught:
            await self.do(sender, **document)
        return str(caught.value)

    async def sent(self) -> list[tuple[str, str]]:
        items = await self.database.write(outbox.take, SystemClock().now())
        return [(item.chat, item.text) for item in items]


@asynccontextmanager
async def a_rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    path = tmp_path / "registered_groups.json"
    groups = {f"local:{name}": {"name": name, "folder": name, "trigger": "@Andy"} for name in ("main", "family")}
    path.write_text(json.dumps(groups), encoding="utf-8")
    async with open_database(tmp_path / "n.db", SystemClock().now()) as database:
        yield Rig(path, database)


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
