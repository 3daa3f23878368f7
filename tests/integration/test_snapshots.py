"""The files in mailboxes that tell agents of tasks and chats."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nanoclaw.config import Home
from nanoclaw.groups import GroupRegistry, new_entry
from nanoclaw.model import Folder, RegisteredGroup, ScheduledTask, TaskId, TaskState
from nanoclaw.pulse import Pulses
from nanoclaw.snapshots import Snapshots
from nanoclaw.store import tasks
from nanoclaw.store.database import open_database

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def a_task(folder: str) -> ScheduledTask:
    return ScheduledTask(
        id=TaskId(f"task-of-{folder}"),
        folder=Folder(folder),
        prompt="water the flowers",
        schedule_type="interval",
        schedule_value="60000",
        timezone="UTC",
        context_mode="group",
        missed="coalesce",
        state=TaskState.ACTIVE,
        next_at=NOW,
        created_at=NOW,
    )


def registered(home: Home, *folders: str) -> GroupRegistry:
    home.registered_groups.parent.mkdir(parents=True)
    entries = {f"local:{folder}": new_entry(folder, folder, "@Andy", "2026-03-01T00:00:00Z") for folder in folders}
    home.registered_groups.write_text(json.dumps(entries))
    return GroupRegistry(home.registered_groups)


def files_of(home: Home, group: RegisteredGroup) -> dict[str, Any]:
    return {file.name: json.loads(file.read_text()) for file in (home.mailboxes / group.folder).iterdir()}


async def test_a_mailbox_made_after_the_last_change_gets_its_files_when_its_agent_is_to_look(tmp_path: Path) -> None:
    home = Home(tmp_path)
    async with open_database(home.database, NOW) as database:
        groups = registered(home, "main", "family", "club")
        snapshots = Snapshots(home, database, groups, Pulses())
        for folder in ("family", "club"):
            await database.write(tasks.add, a_task(folder))
        await snapshots.write()
        assert not home.mailboxes.exists()
        for group in groups.groups.values():
            (home.mailboxes / group.folder).mkdir(parents=True)
            await snapshots.refresh(group)
        seen = {str(group.folder): files_of(home, group) for group in groups.groups.values()}
    assert [task["id"] for task in seen["family"]["current_tasks.json"]] == ["task-of-family"]
    assert {task["id"] for task in seen["main"]["current_tasks.json"]} == {"task-of-family", "task-of-club"}
    assert "available_groups.json" in seen["main"]
    assert "available_groups.json" not in seen["family"]


async def test_what_changed_a_moment_ago_is_seen(tmp_path: Path) -> None:
    home = Home(tmp_path)
    async with open_database(home.database, NOW) as database:
        groups = registered(home, "family")
        (group,) = groups.groups.values()
        (home.mailboxes / "family").mkdir(parents=True)
        pulses = Pulses()
        snapshots = Snapshots(home, database, groups, pulses)
        await snapshots.write()
        await database.write(tasks.add, a_task("family"))
        pulses.tasks.fire()
        await snapshots.refresh(group)
        assert [task["id"] for task in files_of(home, group)["current_tasks.json"]] == ["task-of-family"]
