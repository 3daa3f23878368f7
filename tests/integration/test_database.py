"""The database under trouble: a full disk, a crash in the middle, a newer program's file."""

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from nanoclaw.errors import StoreError
from nanoclaw.model import Jid
from nanoclaw.store import database as database_module
from nanoclaw.store import outbox
from nanoclaw.store.database import open_database

pytestmark = pytest.mark.anyio
_NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def limit_pages(db: sqlite3.Connection, extra: int) -> None:
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + extra}")


async def test_a_full_disk_is_an_error_of_ours_and_loses_nothing(tmp_path: Path) -> None:
    async with open_database(tmp_path / "n.db", _NOW) as database:
        await database.write(outbox.put, "before", Jid("local:a"), "reply", "x", None, _NOW)
        await database.write(limit_pages, 2)
        with pytest.raises(StoreError, match="full"):
            await database.write(outbox.put, "big", Jid("local:a"), "reply", "x" * 1_000_000, None, _NOW)
        await database.write(limit_pages, 1_000_000)
        await database.write(outbox.put, "after", Jid("local:a"), "reply", "y", None, _NOW)
        assert await database.read(outbox.open_count) == 2


async def test_what_must_be_written_waits_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def put() -> None:
        await database.write_surely(outbox.put, "big", Jid("local:a"), "reply", "x" * 100_000, None, _NOW)

    monkeypatch.setattr(database_module, "_FIRST_PAUSE_SECONDS", 0.01)
    async with open_database(tmp_path / "n.db", _NOW) as database, anyio.create_task_group() as tasks:
        await database.write(limit_pages, 0)
        tasks.start_soon(put)
        await anyio.sleep(0.1)
        assert await database.read(outbox.open_count) == 0
        await database.write(limit_pages, 1_000_000)
    async with open_database(tmp_path / "n.db", _NOW) as database:
        assert await database.read(outbox.open_count) == 1


async def test_nobody_waits_for_room_when_the_host_is_to_stop(tmp_path: Path) -> None:
    async def stop() -> None:
        await anyio.sleep(0.1)
        database.hurry()

    async with open_database(tmp_path / "n.db", _NOW) as database, anyio.create_task_group() as tasks:
        await database.write(limit_pages, 0)
        tasks.start_soon(stop)
        with anyio.fail_after(20), pytest.raises(StoreError, match="full"):
            await database.write_surely(outbox.put, "big", Jid("local:a"), "reply", "x" * 100_000, None, _NOW)


async def test_who_looks_holds_up_nobody_who_writes(tmp_path: Path) -> None:
    looked, written = threading.Event(), threading.Event()

    def look(db: sqlite3.Connection) -> tuple[int, int]:
        before = outbox.open_count(db)
        looked.set()
        assert written.wait(60)
        return before, outbox.open_count(db)

    async def slowly() -> None:
        seen.append(await database.read(look))

    seen: list[tuple[int, int]] = []
    async with open_database(tmp_path / "n.db", _NOW) as database:
        async with anyio.create_task_group() as group:
            group.start_soon(slowly)
            assert await anyio.to_thread.run_sync(looked.wait, 60)
            await database.write(outbox.put, "meanwhile", Jid("local:a"), "reply", "x", None, _NOW)
            written.set()
        assert seen == [(0, 0)]
        assert await database.read(outbox.open_count) == 1


async def test_who_only_looks_cannot_write(tmp_path: Path) -> None:
    async with open_database(tmp_path / "n.db", _NOW) as database:
        with pytest.raises(StoreError, match="readonly"):
            await database.read(outbox.put, "k", Jid("local:a"), "reply", "x", None, _NOW)


async def test_what_was_written_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    for count in (1, 2):
        async with open_database(tmp_path / "n.db", _NOW) as database:
            await database.write(outbox.put, f"k{count}", Jid("local:a"), "reply", "x", None, _NOW)
            assert await database.read(outbox.open_count) == count


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async with open_database(tmp_path / "store" / "n.db", _NOW):
        pass
    assert (tmp_path / "store" / "n.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
