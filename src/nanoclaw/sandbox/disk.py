"""How much a group keeps on the disk, watched while its agent works.

What counts is what an agent can write and what stays: its group's directory and its CLIs' own. A look at all of it
takes some milliseconds for a thousand files, so it is done beside the sandbox's start, and again when the file system
has lost so much room that the limit may be near, or else now and then. Asking the file system costs nothing.
"""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from nanoclaw.config import Home
from nanoclaw.model import Folder, RegisteredGroup
from nanoclaw.sandbox.mounts import kept_directories

_LOOK_SECONDS: Final = 1.0  # between two questions to the file system: a fast disk takes some 2 GB in that time
_MEASURE_SECONDS: Final = 30.0  # between two measurements at the latest, as others free room on the same file system
_MEASURE_SHARE: Final = 20  # a measurement that took a second is not repeated within twenty
_ENTRY_BYTES: Final = 4096  # what a file takes at least; it also bounds how many entries are looked at
_DEEPEST: Final = 100
"""Directories within directories; each costs a descriptor while it is looked at. What lies deeper is too much."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Disk:
    """The quota of every group."""

    def __init__(self, home: Home, limit: int) -> None:
        """`limit` in bytes."""
        self._home = home
        self._limit = limit
        self._used: dict[Folder, int] = {}

    async def is_full(self, group: RegisteredGroup) -> bool:
        """Whether the group was over its limit when last measured, and still is. Free of cost for all others."""
        if self._used.get(group.folder, 0) <= self._limit:
            return False
        return (await self._measure(group)).bytes > self._limit

    async def until_full(self, group: RegisteredGroup) -> None:
        """Watch for as long as it takes until the group is over its limit."""
        while True:
            started = anyio.current_time()
            seen = await self._measure(group)
            if seen.bytes > self._limit:
                return
            pause = max(_LOOK_SECONDS, _MEASURE_SHARE * (anyio.current_time() - started))
            patience = anyio.current_time() + max(pause, _MEASURE_SECONDS)
            while anyio.current_time() < patience:
                await anyio.sleep(pause)
                room = await anyio.to_thread.run_sync(_room, self._home.groups)
                if seen.room - room > (self._limit - seen.bytes) // 2:
                    break

    async def _measure(self, group: RegisteredGroup) -> "_Seen":
        directories = kept_directories(self._home, group)
        seen = await anyio.to_thread.run_sync(_look, self._home.groups, directories, self._limit)
        self._used[group.folder] = seen.bytes
        return seen


@dataclass(frozen=True, slots=True)
class _Seen:
    bytes: int
    room: int
    """Free on the file system when the look began."""


def _look(base: Path, directories: Iterable[Path], limit: int) -> _Seen:
    room = _room(base)
    used = 0
    for directory in directories:
        used += used_bytes(directory, limit - used)
    return _Seen(used, room)


def _room(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def used_bytes(directory: Path, limit: int) -> int:
    """What everything below `directory` takes on its file system, following no link; not counted far beyond `limit`.

    An agent arranges what is looked at: what cannot be looked at counts as more than `limit`.
    """
    try:
        root = os.open(directory, _DIRECTORY)
        return _Count(limit, os.fstat(root).st_dev).add(root)
    except FileNotFoundError:
        return 0
    except OSError:
        return limit + 1


class _Count:
    """One look."""

    def __init__(self, limit: int, device: int) -> None:
        self._limit = limit
        self._device = device
        self._used = 0
        self._linked: set[int] = set()

    def add(self, root: int) -> int:
        """Count what is below the open directory `root`, and close it."""
        waiting = [(root, self._entries(root))]
        try:
            while waiting and self._used <= self._limit:
                directory, inner = waiting[-1]
                if not inner:
                    os.close(waiting.pop()[0])
                elif len(waiting) > _DEEPEST:
                    return self._limit + 1
                elif (deeper := _open(inner.pop(), directory)) is not None:
                    waiting.append((deeper, self._entries(deeper)))
        finally:
            for directory, _ in waiting:
                os.close(directory)
        return self._used

    def _entries(self, directory: int) -> list[str]:
        """Count what is in one directory; answers the directories in it."""
        inner: list[str] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    self._used += self._size(status)
                    if stat.S_ISDIR(status.st_mode) and status.st_dev == self._device:
                        inner.append(entry.name)
                if self._used > self._limit:
                    return []
        return inner

    def _size(self, status: os.stat_result) -> int:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if status.st_ino in self._linked:
                return 0
            self._linked.add(status.st_ino)
        return max(status.st_blocks * 512, _ENTRY_BYTES)


def _open(name: str, directory: int) -> int | None:
    """A directory that may have gone, or have become something else. One that its owner may not enter is opened up."""
    with suppress(FileNotFoundError, NotADirectoryError):
        try:
            return os.open(name, _DIRECTORY, dir_fd=directory)
        except PermissionError:
            handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101  # by handle, whatever becomes of the name
                return os.open(f"/proc/self/fd/{handle}", _DIRECTORY & ~os.O_NOFOLLOW)
            finally:
                os.close(handle)
    return None
