"""Directories and files by handle. Nothing here follows a link, opens a path of more than one step, or can block.

An agent owns the contents of its inboxes and may rearrange them at any moment, so nothing is checked by name and then
used by name: a file is opened once and judged by its handle.
"""

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple

from nanoclaw.errors import MailboxError

DOOMED: Final = ".doomed-"
"""Prefix of a directory that is being deleted."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 64 << 10
_SWEPT_AT_ONCE = 1000  # entries of a tree; a million of them are deleted in a thousand goes, not in one

_SWAPPED = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM)
)
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Entry(NamedTuple):
    """What lies in a directory; `status` is of a link itself, never of what it points to."""

    name: str
    status: os.stat_result


@contextmanager
def directory(parent: int | Path, name: str = ".") -> Generator[int]:
    """Open one directory for as long as the context lasts; `name` is one step below the handle `parent`.

    Raises:
        OSError: it is not there, is a link (`ELOOP` or `ENOTDIR`), or is no directory.
    """
    if isinstance(parent, Path):
        handle = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        handle = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield handle
    finally:
        os.close(handle)


def set_mode(parent: int, name: str, mode: int) -> None:
    """`chmod` that refuses to follow a link; works on a directory that its owner has locked.

    Raises:
        OSError: it is not there, is a link (`ELOOP`), or is somebody else's.
    """
    try:
        os.chmod(name, mode, dir_fd=parent, follow_symlinks=False)
    except (NotImplementedError, ValueError):  # how Python says that the kernel would not touch a link
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None


def listing(handle: int, most: int) -> tuple[list[Entry], bool]:
    """At most `most` entries, oldest first, and whether there are more.

    Age is the kernel's change time, which is when a rename put the entry there and which no agent can set.
    """
    with os.scandir(handle) as found:
        names = [entry.name for entry in islice(found, most + 1)]
    entries: list[Entry] = []
    for name in names[:most]:
        with suppress(FileNotFoundError):
            entries.append(Entry(name, os.stat(name, dir_fd=handle, follow_symlinks=False)))
    entries.sort(key=lambda entry: (entry.status.st_ctime_ns, entry.name))
    return entries, len(names) > most


def count(handle: int) -> int:
    """How many entries a directory has."""
    with os.scandir(handle) as found:
        return sum(1 for _ in found)


def kind(mode: int) -> str:
    """What sort of thing this is, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def read_regular(parent: int, name: str, most: int) -> bytes:
    """The content of a plain file of at most `most` bytes.

    Raises:
        MailboxError: it is anything else.
        OSError: the machine failed.
    """
    with regular(parent, name) as (handle, size):
        content = bytearray()
        while size <= most and len(content) <= most:
            block = os.read(handle, min(_BLOCK, most + 1 - len(content)))
            if not block:
                return bytes(content)
            content += block
    raise MailboxError(f"it is larger than {most >> 10} KiB; write less")


@contextmanager
def regular(parent: int, name: str) -> Generator[tuple[int, int]]:
    """Open a plain file for reading, for as long as the context lasts; also tells its size as it is now.

    Raises:
        MailboxError: it is anything else.
        OSError: the machine failed.
    """
    try:
        handle = os.open(name, _CONTENT, dir_fd=parent)
    except OSError as error:
        reason = {
            errno.ELOOP: "it is a symbolic link; write a regular file",
            errno.ENXIO: "it is a socket; write a regular file",
            errno.EACCES: "the host may not read it; make it readable with chmod 644",
            errno.EWOULDBLOCK: "it is under a lease; give the lease up",
        }.get(error.errno or 0)
        if reason is None:
            raise
        raise MailboxError(reason) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise MailboxError(f"it is {kind(status.st_mode)}; write a regular file")
        if status.st_nlink != 1:
            raise MailboxError(f"it has {status.st_nlink} hard links; write a file of its own")
        yield handle, status.st_size
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    """Make what happened in this directory last through a loss of power, where the file system can."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def write_whole(parent: int, name: str, content: bytes) -> None:
    """Put a file there, readable by all, all at once: whoever looks sees the old one or the new one.

    Raises:
        OSError: nothing was changed, e.g. the disk is full.
    """
    temporary = f".{token_hex(8)}"
    handle = os.open(temporary, _NEW, 0o600, dir_fd=parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o644)
            file.write(content)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        os.unlink(temporary, dir_fd=parent)
        raise


def remove(parent: int, name: str) -> None:
    """Delete what has this name, whatever it is; of a large tree as much as may be done in one go.

    What is left of a tree lies under `DOOMED` names in `parent`, to be removed in the same way. Subdirectories are
    moved up into `parent` before they are emptied, so that depth never matters.
    """
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    doomed = [name if name.startswith(DOOMED) else _doom(parent, name, parent)]
    left = _SWEPT_AT_ONCE
    while doomed and left > 0:
        entries, found = _sweep(parent, doomed.pop(), left)
        left -= entries + 1
        doomed += found


def prune(handle: int, most_files: int, most_bytes: int) -> None:
    """Remove the oldest entries until at most so many files of so many bytes are left."""
    entries, _ = listing(handle, 2 * most_files)
    size = 0
    for number, entry in enumerate(reversed(entries), 1):
        size += entry.status.st_size
        if number > most_files or size > most_bytes:
            with tolerating_swaps():
                remove(handle, entry.name)


@contextmanager
def tolerating_swaps() -> Generator[None]:
    """Let a thing be that has become another thing, or nothing, meanwhile: the next look finds what it is then."""
    try:
        yield
    except OSError as error:
        if error.errno not in _SWAPPED:
            raise


def _sweep(parent: int, name: str, most: int) -> tuple[int, list[str]]:
    """Empty a directory and remove it. Answers how many entries it had and where its subdirectories are now."""
    moved_up: list[str] = []
    set_mode(parent, name, 0o700)
    with directory(parent, name) as handle:
        entries, _ = listing(handle, most)
        for entry in entries:
            with tolerating_swaps():
                if stat.S_ISDIR(entry.status.st_mode):
                    moved_up.append(_doom(handle, entry.name, parent))
                else:
                    os.unlink(entry.name, dir_fd=handle)
    with tolerating_swaps():
        os.rmdir(name, dir_fd=parent)
    return len(entries), moved_up


def _doom(source: int, name: str, target: int) -> str:
    set_mode(source, name, 0o700)
    doomed = f"{DOOMED}{token_hex(8)}"
    os.rename(name, doomed, src_dir_fd=source, dst_dir_fd=target)
    return doomed
