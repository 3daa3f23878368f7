"""The private places below `credentials/`: directories of 0700, files of 0600, no link followed, saved for certain."""

import os
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Final

from nanoclaw.config import Home
from nanoclaw.credentials.login import MAX_BYTES
from nanoclaw.errors import CredentialError, MailboxError
from nanoclaw.ipc import handles

PRIVATE: Final = 0o600
_DIRECTORY: Final = 0o700


@contextmanager
def private_directory(home: Home, *parts: str) -> Generator[int]:
    """Open a directory below the home, made where it is missing, for as long as the context lasts.

    Raises:
        CredentialError: something on the way is a link, a file, or somebody else's; or the machine failed, then or
            in what was done there.
    """
    with _translated(home):
        directory = _walk(home, parts, make=True)
        try:
            yield directory
        finally:
            os.close(directory)


def read_below(home: Home, *parts: str) -> bytes | None:
    """The content of a file below the home, by its directories and its name; None when there is none.

    Raises:
        CredentialError: see `private_directory`; or it is a link, no plain file, or too large.
    """
    *way, name = parts
    with _translated(home):
        try:
            directory = _walk(home, way, make=False)
        except FileNotFoundError:
            return None
        try:
            return read_private(directory, name)
        finally:
            os.close(directory)


@contextmanager
def _translated(home: Home) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise CredentialError(
            f"{home.credentials} cannot be used: {error.strerror}",
            "it must be yours alone, and the disk must have room",
            retryable=True,
        ) from error


def _walk(home: Home, parts: Iterable[str], *, make: bool) -> int:
    place = os.open(home.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, _DIRECTORY, dir_fd=place)
                    os.fsync(place)
            inner = _open(home, place, part)
            os.close(place)
            place = inner
    except BaseException:
        os.close(place)
        raise
    return place


def _open(home: Home, parent: int, name: str) -> int:
    try:
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except NotADirectoryError:
        raise _not_ours(home, name) from None
    status = os.fstat(inner)
    if status.st_uid != os.geteuid():
        os.close(inner)
        raise _not_ours(home, name)
    if stat.S_IMODE(status.st_mode) != _DIRECTORY:
        os.fchmod(inner, _DIRECTORY)
    return inner


def _not_ours(home: Home, name: str) -> CredentialError:
    return CredentialError(
        f"{name} below {home.credentials} is no directory of yours", "it must be one, and no link: move it away"
    )


def read_private(directory: int, name: str) -> bytes | None:
    """A file's content; None when there is none.

    Raises:
        CredentialError: it is a link, no plain file, or too large.
        OSError: the machine failed.
    """
    try:
        return handles.read_regular(directory, name, MAX_BYTES)
    except FileNotFoundError:
        return None
    except MailboxError as error:
        what = str(error).partition(";")[0]
        raise CredentialError(f"{name} below credentials/ cannot be read: {what}", "move it away") from None


def unfinished(name: str) -> str:
    """What a file is called until it takes the place of `name`."""
    return f".{name}.new"


def save_durably(directory: int, name: str, content: bytes) -> None:
    """Put a file there, all at once; it lasts through a loss of power when this returns. Raises `OSError`."""
    temporary = unfinished(name)
    with suppress(FileNotFoundError):  # of somebody who was killed in the middle of this
        os.unlink(temporary, dir_fd=directory)
    write_new(directory, temporary, content)
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def write_new(directory: int, name: str, content: bytes) -> None:
    """Make a file, to the disk.

    Raises:
        FileExistsError: something has this name.
        OSError: the machine failed.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(name, flags, PRIVATE, dir_fd=directory)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)


def remove_durably(directory: int, name: str) -> bool:
    """Remove a file for good; whether it was there. Raises `OSError`."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    os.fsync(directory)
    return True
