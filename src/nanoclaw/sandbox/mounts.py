"""Which host directories a group's sandbox sees, and their making (DESIGN §6).

No source lies inside a directory that a sandbox can write: an agent could replace it by a link, and the next run would
mount whatever the link names. So every group's directories are leaves of separate trees that only the host arranges,
and on the way to each of them a link is refused.
"""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nanoclaw.config import Home
from nanoclaw.errors import MountError
from nanoclaw.model import RegisteredGroup
from nanoclaw.providers import PROVIDERS
from nanoclaw.sandbox.base import Mount
from nanoclaw.sandbox.extra_mounts import extra_mounts
from nanoclaw.wire import (
    AGENT_HOME,
    AGENT_UID,
    GATEWAY_DIRECTORY,
    GLOBAL_DIRECTORY,
    GROUP_DIRECTORY,
    IPC_DIRECTORY,
    MEDIA_DIRECTORY,
)

_KEPT = frozenset({IPC_DIRECTORY, MEDIA_DIRECTORY, GATEWAY_DIRECTORY})
_PROVIDER_HOMES = frozenset(f"{AGENT_HOME}/{provider.home}" for provider in PROVIDERS.values())
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def agent_owner() -> tuple[int, int]:
    """Uid and gid, on the host, of what an agent may write: the host's own, but never root's."""
    return (AGENT_UID, AGENT_UID) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def group_mounts(
    home: Home, group: RegisteredGroup, groups: Iterable[RegisteredGroup] = (), *, sockets: bool = True
) -> tuple[Mount, ...]:
    """Everything that is mounted into a sandbox of `group`, a parent before what lies inside it.

    Args:
        home: where the group's directories are.
        group: whose sandbox it is.
        groups: all registered groups; what any of them may write is no place for an extra mount.
        sockets: whether the gateway's socket is of use inside.

    Raises:
        MountError: an extra mount is not allowed.
    """
    own = (mount for mount in _own_mounts(home, group) if sockets or mount.target != GATEWAY_DIRECTORY)
    return (*own, *extra_mounts(home, group, (group, *groups)))


def prepare(home: Home, group: RegisteredGroup) -> None:
    """Make the group's own directories, the agent's to use, wherever they are missing.

    Raises:
        MountError: something on the way to one of them is a link, a file, or somebody else's.
    """
    for mount in _own_mounts(home, group):
        base = home.root if mount.source.is_relative_to(home.root) else home.sockets.parent
        try:
            directory = _make(base, mount.source, shared=base != home.root)
            try:
                _arrange(directory, mount.target)
            finally:
                os.close(directory)
        except OSError as error:
            raise MountError(
                f"{mount.source} cannot be mounted: {error.strerror}",
                "every part of this path below the home must be a plain directory of this user, no link",
            ) from error


def kept_directories(home: Home, group: RegisteredGroup) -> tuple[Path, ...]:
    """What the group's agent can write and what stays: all that its quota counts."""
    kept = {GROUP_DIRECTORY, *_PROVIDER_HOMES, *((GLOBAL_DIRECTORY,) if group.is_main else ())}
    return tuple(mount.source for mount in _own_mounts(home, group) if mount.target in kept)


def _own_mounts(home: Home, group: RegisteredGroup) -> tuple[Mount, ...]:
    may_write = group.approval_policy != "readonly"
    mailbox = home.mailboxes / group.folder
    return (
        Mount(source=home.groups / group.folder, target=GROUP_DIRECTORY, readonly=not may_write),
        Mount(source=home.groups / "global", target=GLOBAL_DIRECTORY, readonly=not (group.is_main and may_write)),
        Mount(source=mailbox, target=IPC_DIRECTORY, readonly=True),
        *(
            Mount(source=mailbox / name, target=f"{IPC_DIRECTORY}/{name}", readonly=False)
            for name in ("messages", "tasks")
        ),
        Mount(source=home.data / "media" / group.folder, target=MEDIA_DIRECTORY, readonly=True),
        *(
            Mount(
                source=home.data / provider.host_home.format(folder=group.folder),
                target=f"{AGENT_HOME}/{provider.home}",
                readonly=False,
            )
            for provider in PROVIDERS.values()
        ),
        Mount(source=home.gateway_directory(group.folder), target=GATEWAY_DIRECTORY, readonly=True),
    )


def _make(base: Path, path: Path, *, shared: bool) -> int:
    """Make `path` below `base`, following no link, and open it. In a `shared` base the first step must be our own."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = os.open(base, _DIRECTORY)
    try:
        for name in path.relative_to(base).parts:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=directory)
            inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
            if shared and os.fstat(directory).st_uid != os.geteuid():
                raise PermissionError(0, "it belongs to somebody else")
            shared = False
        return os.dup(directory)
    finally:
        os.close(directory)


def _arrange(directory: int, target: str) -> None:
    """Give a directory to whom it belongs: the host keeps what agents only look at, so that no other user of the same
    uid as the agents can change it."""
    status = os.fstat(directory)
    owner = (os.geteuid(), os.getegid()) if target in _KEPT else agent_owner()
    if status.st_uid != owner[0]:
        os.fchown(directory, *owner)
    if target in _KEPT and not status.st_mode & stat.S_IXOTH:
        os.fchmod(directory, 0o755)
    if target in _PROVIDER_HOMES and os.geteuid() == 0:
        _give_files(directory)


def _give_files(directory: int) -> None:
    """Let the agent have what a host that is root was given for it: a login that root copied is of no use to others.

    No agent can make a file of root's, and a second link to one is left alone.
    """
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            continue
        try:
            status = os.fstat(file)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == 0:
                os.fchown(file, *agent_owner())
        finally:
            os.close(file)
