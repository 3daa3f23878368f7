"""How much a group keeps on the disk: what counts, what cannot be hidden, and when somebody is told."""

import os
from pathlib import Path

import anyio
import pytest

from nanoclaw.config import Home
from nanoclaw.model import Folder, Jid, RegisteredGroup
from nanoclaw.sandbox.disk import Disk, used_bytes
from nanoclaw.sandbox.mounts import kept_directories, prepare

MANY = 1 << 40
GROUP = RegisteredGroup(jid=Jid("local:family"), name="Family", folder=Folder("family"), trigger="@Andy", added_at="")


def fill(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def test_files_count_with_what_they_take_in_all_directories(tmp_path: Path) -> None:
    fill(tmp_path / "a", 100_000)
    fill(tmp_path / "deep" / "er" / "b", 50_000)
    assert 150_000 <= used_bytes(tmp_path, MANY) < 200_000


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert used_bytes(tmp_path / "nowhere", MANY) == 0


def test_an_empty_file_counts_too(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert used_bytes(tmp_path, MANY) == 100 * 4096


def test_no_link_is_followed(tmp_path: Path) -> None:
    fill(tmp_path / "outside" / "big", 1 << 20)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to(inside)
    assert used_bytes(inside, MANY) < 1 << 15
    (tmp_path / "root").symlink_to(tmp_path / "outside")
    assert used_bytes(tmp_path / "root", MANY) > MANY


def test_a_file_with_two_names_counts_once_and_one_with_holes_as_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "other").hardlink_to(fill(tmp_path / "one", 1 << 20))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert 1 << 20 <= used_bytes(tmp_path, MANY) < 1 << 21


def test_a_locked_directory_hides_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "locked" / "inner" / "big", 1 << 20)
    (tmp_path / "locked" / "inner").chmod(0)
    (tmp_path / "locked").chmod(0)
    assert used_bytes(tmp_path, MANY) >= 1 << 20


def test_directories_without_end_are_too_much(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    assert used_bytes(tmp_path, MANY) > MANY


def test_a_look_ends_where_the_limit_is_passed_and_leaves_no_descriptor(tmp_path: Path) -> None:
    for number in range(20):
        fill(tmp_path / str(number) / "file", 1 << 16)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert 1 << 17 < used_bytes(tmp_path, 1 << 17) < 1 << 19
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_an_agent_keeps_is_its_files_and_what_its_clis_remember(tmp_path: Path) -> None:
    home = Home(tmp_path)
    own = {home.groups / "family", home.data / "codex/family/.codex", home.data / "sessions/family/.claude"}
    assert set(kept_directories(home, GROUP)) == own
    main = RegisteredGroup(jid=Jid("local:main"), name="Main", folder=Folder("main"), trigger="", added_at="")
    assert home.groups / "global" in kept_directories(home, main)


@pytest.mark.anyio
async def test_a_group_that_grows_is_told_of_and_is_full_until_there_is_room_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    await anyio.to_thread.run_sync(prepare, home, GROUP)
    disk = Disk(home, 1 << 20)
    assert not await disk.is_full(GROUP)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as watching:
            watching.start_soon(disk.until_full, GROUP)
            await anyio.to_thread.run_sync(fill, home.groups / "family" / "big", 2 << 20)
    assert await disk.is_full(GROUP)
    await anyio.Path(home.groups / "family" / "big").unlink()
    assert not await disk.is_full(GROUP)
