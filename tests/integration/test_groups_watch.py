"""Hand edits of registered_groups.json are picked up while the host runs."""

import json
from pathlib import Path

import anyio
import pytest

from nanoclaw.groups import GroupRegistry
from nanoclaw.model import Folder

pytestmark = pytest.mark.anyio


def groups_of(*folders: str) -> str:
    return json.dumps({f"local:{name}": {"name": name, "folder": name, "trigger": "@A"} for name in folders})


@pytest.mark.parametrize("atomically", [True, False])
async def test_an_edit_counts_without_a_restart(tmp_path: Path, atomically: bool) -> None:
    path = tmp_path / "registered_groups.json"
    path.write_text(groups_of("a"), encoding="utf-8")
    registry = GroupRegistry(path)
    async with anyio.create_task_group() as group:
        group.start_soon(registry.watch)
        with anyio.fail_after(10):
            seen = registry.changed.count
            if atomically:
                (tmp_path / "new").write_text(groups_of("a", "b"), encoding="utf-8")
                (tmp_path / "new").rename(path)
            else:
                path.write_text(groups_of("a", "b"), encoding="utf-8")
            while registry.by_folder(Folder("b")) is None:
                await registry.changed.after(seen)
                seen = registry.changed.count
        group.cancel_scope.cancel()
