"""Who tells the reader that a mailbox changed. Only a hint: the reader looks every second in any case."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import anyio
import structlog

from nanoclaw.ipc.files import INBOXES
from nanoclaw.model import Folder

log = structlog.stdlib.get_logger()


class Watch(Protocol):
    """Reports changes in mailboxes below one root."""

    def arm(self, folder: Folder) -> None:
        """Report the next change in this mailbox, and no more: a flood of changes is then one event."""
        ...

    async def next(self) -> Folder:
        """A mailbox that changed."""
        ...


class _Unwatched:
    """Where the machine has no watch to give, the reader's own look each second must do."""

    def arm(self, folder: Folder) -> None:
        del folder

    async def next(self) -> Folder:
        await anyio.sleep_forever()
        raise AssertionError


if sys.platform == "linux":
    from asyncinotify import Inotify, Mask

    _ARRIVALS = Mask.MOVED_TO | Mask.CLOSE_WRITE | Mask.ONLYDIR | Mask.DONT_FOLLOW | Mask.ONESHOT

    class _InotifyWatch:
        def __init__(self, root: Path, inotify: Inotify) -> None:
            self._root = root
            self._inotify = inotify

        def arm(self, folder: Folder) -> None:
            for inbox in INBOXES:
                try:
                    self._inotify.add_watch(  # pyright: ignore[reportUnknownMemberType]  # a bare PathLike there
                        self._root / folder / inbox, _ARRIVALS
                    )
                except OSError as error:  # gone, or the user's watches are used up
                    log.debug("mailbox.unwatched", folder=folder, error=str(error))

        async def next(self) -> Folder:
            while True:
                event = await self._inotify.get()
                if event.watch is not None:
                    return Folder(event.watch.path.parent.name)

    @asynccontextmanager
    async def watching(root: Path) -> AsyncGenerator[Watch]:
        """Watch the mailboxes below `root` for as long as the context lasts."""
        try:
            inotify = Inotify()
        except OSError as error:  # the user's inotify instances are used up (128 on most machines)
            log.warning("mailbox.no_inotify", error=str(error), effect="mailboxes are read once a second")
            yield _Unwatched()
            return
        with inotify:
            yield _InotifyWatch(root, inotify)

else:
    from contextlib import aclosing

    from watchfiles import awatch

    _STEP_MS = 10
    _DEBOUNCE_MS = 50

    class _FilesWatch(_Unwatched):
        def __init__(self, root: Path, changes: AsyncGenerator[set[tuple[object, str]]]) -> None:
            self._root = root
            self._changes = changes
            self._folders: list[Folder] = []

        async def next(self) -> Folder:
            while not self._folders:
                paths = [Path(path).relative_to(self._root).parts for _, path in await anext(self._changes)]
                self._folders = [Folder(parts[0]) for parts in paths if len(parts) > 1 and parts[1] in INBOXES]
            return self._folders.pop()

    @asynccontextmanager
    async def watching(root: Path) -> AsyncGenerator[Watch]:
        """Watch the mailboxes below `root` for as long as the context lasts."""
        real = Path(await anyio.Path(root).resolve())
        async with aclosing(awatch(real, step=_STEP_MS, debounce=_DEBOUNCE_MS)) as changes:
            yield _FilesWatch(real, changes)
