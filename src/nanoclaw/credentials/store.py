"""Where logins lie: the host's in `credentials/codex/`, a group's own in `credentials/groups/<folder>/codex/`.

Whoever changes one holds its lock, which holds between processes too; readers need none, as a file is replaced whole.
"""

import fcntl
import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from nanoclaw.config import Home
from nanoclaw.credentials.files import (
    PRIVATE,
    private_directory,
    read_below,
    read_private,
    remove_durably,
    save_durably,
    unfinished,
    write_new,
)
from nanoclaw.credentials.login import Login, parse_login
from nanoclaw.errors import CredentialError
from nanoclaw.model import Folder

LOGIN: Final = "auth.json"
HOST: Final = "host"

_LOCK: Final = "lock"
_ROOM: Final = 64 << 10  # bytes; a login has some 6 KiB
_LOCK_SECONDS: Final = 60.0  # whoever holds it waits for a server for less than that
_LOCK_POLL_SECONDS: Final = 0.05  # the system cannot wait for a lock and for a deadline at once


@dataclass(frozen=True, slots=True)
class Place:
    """Where one login lies: the host's, or a group's own."""

    home: Home
    folder: Folder | None = None

    @property
    def where(self) -> str:
        """As people are told: `host`, or the group's folder."""
        return self.folder or HOST

    @property
    def parts(self) -> tuple[str, ...]:
        """The directory below the home."""
        return (*group_parts(self.folder), "codex") if self.folder else ("credentials", "codex")

    def read(self) -> Login | None:
        """The login; None when there is none.

        Raises:
            CredentialError: what lies there is none.
        """
        content = read_below(self.home, *self.parts, LOGIN)
        try:
            return None if content is None else parse_login(content)
        except CredentialError as error:
            path = self.home.root.joinpath(*self.parts, LOGIN)
            raise CredentialError(f"{path} cannot be used: {error}", "sign in again") from None

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator["Locked"]:
        """Be the only one to change this login, among all processes, for as long as the context lasts.

        Raises:
            CredentialError: somebody holds it for too long.
        """
        with private_directory(self.home, *self.parts) as directory, _lock_file(directory) as lock:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _try(lock, self, deadline):  # noqa: ASYNC110  # another process sets no event
                await anyio.sleep(_LOCK_POLL_SECONDS)
            yield Locked(directory)

    @contextmanager
    def locked_here(self) -> Generator["Locked"]:
        """The same for a command, which has nothing else to do meanwhile."""
        with private_directory(self.home, *self.parts) as directory, _lock_file(directory) as lock:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _try(lock, self, deadline):
                time.sleep(_LOCK_POLL_SECONDS)
            yield Locked(directory)


class Locked:
    """A login that nobody else changes meanwhile."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._finish()

    def read(self) -> Login | None:
        """The login, if there is one that can be read."""
        content = read_private(self._directory, LOGIN)
        return _whole(content)

    def make_room(self) -> None:
        """Take the room that a login needs, so that it is there when one comes that must be saved. Raises `OSError`."""
        write_new(self._directory, unfinished(LOGIN), b" " * _ROOM)

    def save(self, login: Login) -> None:
        """Replace it, for good. Raises `OSError`; the old one stays then."""
        save_durably(self._directory, LOGIN, login.as_file())

    def remove(self) -> bool:
        """Remove it, for good; whether there was one."""
        return remove_durably(self._directory, LOGIN)

    def _finish(self) -> None:
        """Complete what somebody was saving who was killed: it may be the only copy of a new refresh token."""
        name = unfinished(LOGIN)
        if _whole(read_private(self._directory, name)) is None:
            remove_durably(self._directory, name)
            return
        os.rename(name, LOGIN, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.fsync(self._directory)


def group_parts(folder: Folder) -> tuple[str, ...]:
    """The directory, below the home, of what the host keeps for one group."""
    return ("credentials", "groups", folder)


def _whole(content: bytes | None) -> Login | None:
    try:
        return None if content is None else parse_login(content)
    except CredentialError:
        return None


@contextmanager
def _lock_file(directory: int) -> Generator[int]:
    handle = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE, dir_fd=directory)
    try:
        yield handle
    finally:
        os.close(handle)


def _try(lock: int, place: Place, deadline: float) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if time.monotonic() > deadline:
            raise CredentialError(
                f"the login of {place.where} is being changed by somebody else", "try again", retryable=True
            ) from None
        return False
    return True
