"""Files that agents send: copied to `data/outgoing/` before anything else, so that nothing they do later matters.

A path is as the agent sees it. It is walked by handle, one step at a time, from a directory that the host has arranged,
and no step follows a link.
"""

import errno
import os
import re
from collections.abc import Container, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path
from typing import Final

from nanoclaw.config import Home
from nanoclaw.errors import MailboxError
from nanoclaw.formatting import shorten
from nanoclaw.ipc import handles
from nanoclaw.model import Folder, OutgoingFile
from nanoclaw.wire import GLOBAL_DIRECTORY, GROUP_DIRECTORY, MEDIA_DIRECTORY

MAX_FILE_BYTES: Final = 25 << 20
"""Of one file; chat platforms take little more."""
MAX_WAITING_BYTES: Final = 512 << 20
"""Of one group's copies together."""
KEPT: Final = timedelta(days=7)
"""How long a copy stays once it was sent, for whoever reads the local chat."""

_BLOCK = 1 << 20
_NO_FILE = frozenset((errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES))  # what is wrong with the path, not the machine
_LONGEST_NAME = 100
_UNSAFE = re.compile(r"[^\w.-]+")


def copy_out(home: Home, folder: Folder, key: str, paths: Sequence[str]) -> tuple[OutgoingFile, ...]:
    """Copy the files that the group's agent names, to the disk; the same key again replaces what it copied before.

    Raises:
        MailboxError: one of them cannot be sent; says which, and why.
        OSError: the machine failed; a later try may go well.
    """
    directory = home.outgoing / folder
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sum(status.st_size for _, status in _files(directory)) > MAX_WAITING_BYTES:
        raise MailboxError("too many files of this group are on their way; send them later")
    mark = sha256(key.encode()).hexdigest()[:16]
    copies = tuple(_copy(home, folder, directory, f"{mark}-{number}", path) for number, path in enumerate(paths, 1))
    with handles.directory(directory) as handle:
        handles.sync(handle)
    return copies


def prune(home: Home, on_their_way: Container[str], now: datetime) -> None:
    """Delete the copies that are older than `KEPT` and need not be sent any more."""
    if not home.outgoing.is_dir():
        return
    for directory in home.outgoing.iterdir():
        for path, status in _files(directory):
            if status.st_mtime < (now - KEPT).timestamp() and f"{directory.name}/{path.name}" not in on_their_way:
                path.unlink(missing_ok=True)


def _copy(home: Home, folder: Folder, directory: Path, mark: str, path: str) -> OutgoingFile:
    name = path.rsplit("/", 1)[-1]
    file = f"{mark}-{_UNSAFE.sub('_', name)[-_LONGEST_NAME:]}"
    try:
        with ExitStack() as stack:
            source = _opened(stack, home, folder, path)
            _copy_content(source, directory / file)
    except (FileNotFoundError, NotADirectoryError):
        raise MailboxError(f"`files`: there is no file {path}") from None
    except MailboxError as error:
        raise MailboxError(f"`files`: {path} cannot be sent: {error}") from None
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise MailboxError(f"`files`: {path} cannot be sent: {error.strerror}") from None
    mime = guess_type(name)[0] or "application/octet-stream"
    return OutgoingFile(file=f"{folder}/{file}", name=shorten(name, _LONGEST_NAME), mime=mime)


def _opened(stack: ExitStack, home: Home, folder: Folder, path: str) -> int:
    root, steps = _place(home, folder, path)
    parent = stack.enter_context(handles.directory(root))
    for step in steps[:-1]:
        parent = stack.enter_context(handles.directory(parent, step))
    source, size = stack.enter_context(handles.regular(parent, steps[-1]))
    if size > MAX_FILE_BYTES:
        raise MailboxError(f"it is larger than {MAX_FILE_BYTES >> 20} MiB; send a smaller one")
    return source


def _place(home: Home, folder: Folder, path: str) -> tuple[Path, list[str]]:
    """The host's directory that a path of the agent's begins with, and the steps below it."""
    places = {
        GROUP_DIRECTORY: home.groups / folder,
        GLOBAL_DIRECTORY: home.groups / "global",
        MEDIA_DIRECTORY: home.media(folder),
    }
    for inside, root in places.items():
        steps = [step for step in path.removeprefix(f"{inside}/").split("/") if step not in ("", ".")]
        if path.startswith(f"{inside}/") and steps and ".." not in steps:
            return root, steps
    raise MailboxError(f"only files below {', '.join(places)} can be sent; copy it to {GROUP_DIRECTORY} first")


def _copy_content(source: int, target: Path) -> None:
    """What goes beyond the limit while it is read is left out: an agent that writes meanwhile harms only itself."""
    with target.open("wb") as file:
        left = MAX_FILE_BYTES
        while left > 0 and (block := os.read(source, min(_BLOCK, left))):
            file.write(block)
            left -= len(block)
        file.flush()
        os.fsync(file.fileno())


def _files(directory: Path) -> list[tuple[Path, os.stat_result]]:
    found: list[tuple[Path, os.stat_result]] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        found += [(Path(entry.path), entry.stat(follow_symlinks=False)) for entry in entries]
    return found
