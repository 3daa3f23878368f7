"""The `auth.json` in a group's `.codex`, a directory that the group's agent can rearrange as it likes.

A run is given a login without its refresh token, and afterwards it is taken away. A whole login that lies there while
no agent has been at work was put there by a person: it becomes the group's own, in the host's keeping. One that
appears while an agent is at work may be the agent's: it is not believed, but kept aside for a person to look at.
"""

import os
import re
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from nanoclaw.clock import from_iso
from nanoclaw.config import Home
from nanoclaw.credentials.files import PRIVATE, private_directory, read_below, remove_durably, save_durably
from nanoclaw.credentials.login import MAX_BYTES, Login, parse_login
from nanoclaw.credentials.spent import find_spent
from nanoclaw.credentials.store import LOGIN, Place, group_parts
from nanoclaw.errors import CredentialError, MailboxError, SandboxError
from nanoclaw.ipc import handles
from nanoclaw.model import Folder
from nanoclaw.providers import PROVIDERS
from nanoclaw.sandbox.mounts import agent_owner

_VISITED: Final = "agent-was-here"
_TEMPORARY: Final = f".{LOGIN}.given"
_REFUSED: Final = re.compile(r"refused-([0-9]{8}T[0-9]{6}Z)\.json")
_REFUSED_KEPT: Final = 5  # an agent can make one with every run

log = structlog.stdlib.get_logger()


def found_login(home: Home, folder: Folder) -> Login | None:
    """The login that lies in the group's `.codex`; None for anything else. Follows no link and never blocks."""
    try:
        with _codex(home, folder) as directory:
            return _login_in(directory)
    except OSError:
        return None


def has_other_file(home: Home, folder: Folder) -> bool:
    """Whether an `auth.json` lies there that is no login."""
    try:
        with _codex(home, folder) as directory:
            os.stat(LOGIN, dir_fd=directory, follow_symlinks=False)
            return _login_in(directory) is None
    except FileNotFoundError:
        return False
    except OSError:
        return True


def give(home: Home, folder: Folder, content: bytes) -> None:
    """Put a login there for a run, the agent's to read.

    Raises:
        SandboxError: the directory does not let itself be written.
    """
    try:
        with _codex(home, folder) as directory:
            with handles.tolerating_swaps():
                handles.remove(directory, _TEMPORARY)
            _write_for_agent(directory, content)
            try:
                os.rename(_TEMPORARY, LOGIN, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:  # a directory is in the way
                handles.remove(directory, LOGIN)
                os.rename(_TEMPORARY, LOGIN, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise SandboxError(
            f"the login cannot be put into {_path(home, folder)}: {error.strerror}",
            "remove that directory; it is made anew",
            retryable=True,
        ) from error


def take_back(home: Home, folder: Folder, now: datetime) -> None:
    """Take away what a run was given, and whatever its agent has made of it. Raises `OSError`, `CredentialError`."""
    try:
        with _codex(home, folder) as directory:
            login = _login_in(directory)
            if login is not None and login.refresh_token:
                _keep_aside(home, folder, login, now)
            if login is not None or not _is_plain(directory):
                with handles.tolerating_swaps():
                    handles.remove(directory, LOGIN)
            with handles.tolerating_swaps():
                handles.remove(directory, _TEMPORARY)
    except FileNotFoundError:
        return


def adopt_found(home: Home, folder: Folder) -> None:
    """Make a login that a person has put into the group's `.codex` the group's own, in the host's keeping.

    No agent may have been at work there since `take_back`. Raises `OSError`, `CredentialError`.
    """
    if found_login(home, folder) is None:
        return
    place = Place(home, folder)
    with place.locked_here() as locked, _codex(home, folder) as directory:
        login = _login_in(directory)
        if login is None:
            return
        why_not = _why_not_adopted(home, login, locked.read())
        if not why_not:
            locked.save(login)
        remove_durably(directory, LOGIN)  # else it could come back with a token that has been used since
    if why_not:
        log.warning("login.removed", folder=folder, why=why_not)
    else:
        log.info("login.adopted", folder=folder)


def _why_not_adopted(home: Home, login: Login, own: Login | None) -> str:
    """Why a login that was found is not taken for the group's own; empty when it is."""
    if own is not None and own.refresh_token == login.refresh_token:
        return "it is the group's own already"
    host = Place(home).read()
    if login.refresh_token and host is not None and host.refresh_token == login.refresh_token:
        return "it is a copy of the host's login, which the group uses anyway"
    if own is not None and find_spent(home, login):
        return "it is a copy of a login that has been renewed since"
    return ""


def remove_found(home: Home, folder: Folder) -> bool:
    """Remove the login that lies in the group's `.codex`, if there is one; whether there was. Raises `OSError`."""
    if found_login(home, folder) is None:
        return False
    with _codex(home, folder) as directory:
        return remove_durably(directory, LOGIN)


def note_visit(home: Home, folder: Folder) -> None:
    """Note for good, before an agent is at work, that what lies in the group's `.codex` may be its doing."""
    with private_directory(home, *group_parts(folder)) as directory:
        os.close(os.open(_VISITED, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE, dir_fd=directory))
        os.fsync(directory)


def forget_visit(home: Home, folder: Folder) -> None:
    """What an agent had left was taken away, and no agent is at work."""
    with private_directory(home, *group_parts(folder)) as directory:
        remove_durably(directory, _VISITED)


def was_visited(home: Home, folder: Folder) -> bool:
    """Whether an agent may have been at work since the last `take_back`."""
    return read_below(home, *group_parts(folder), _VISITED) is not None


def visited_groups(home: Home) -> list[Folder]:
    """Whose `.codex` may hold what an agent has left there; registered or not."""
    groups = home.credentials / "groups"
    return [Folder(name) for name in sorted(_names(groups)) if was_visited(home, Folder(name))]


def refused_logins(home: Home, folder: Folder) -> list[tuple[Path, datetime]]:
    """What was kept aside, oldest first: the file, and when."""
    directory = home.root.joinpath(*group_parts(folder))
    found = [(name, _REFUSED.fullmatch(name)) for name in _names(directory)]
    return sorted((directory / name, from_iso(match[1])) for name, match in found if match)


def _keep_aside(home: Home, folder: Folder, login: Login, now: datetime) -> None:
    name = f"refused-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.json"
    with private_directory(home, *group_parts(folder)) as directory:
        save_durably(directory, name, login.as_file())
        for path, _ in refused_logins(home, folder)[:-_REFUSED_KEPT]:
            remove_durably(directory, path.name)
    hint = f"if it is yours, {import_hint(home, folder, name)}"
    log.warning("login.refused", folder=folder, why="it appeared while an agent was at work", kept=name, hint=hint)


def import_hint(home: Home, folder: Folder, name: str) -> str:
    """The command that makes a login that was kept aside the group's own."""
    path = shlex.quote(str(home.root.joinpath(*group_parts(folder), name)))
    return f"run `{home.program} auth login codex --group {folder} --import {path}`"


@contextmanager
def _codex(home: Home, folder: Folder) -> Generator[int]:
    """The group's `.codex`; on the way there a link is refused."""
    *way, last = ("data", *PROVIDERS["codex"].host_home.format(folder=folder).split("/"))
    with handles.directory(home.root) as place:
        directory = os.dup(place)
    try:
        for name in way:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = inner
        codex = _unlocked(directory, last)
    finally:
        os.close(directory)
    try:
        yield codex
    finally:
        os.close(codex)


def _unlocked(parent: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except PermissionError:  # its agent has locked it
        handles.set_mode(parent, name, 0o700)
        return os.open(name, flags, dir_fd=parent)


def _login_in(directory: int) -> Login | None:
    try:
        return parse_login(handles.read_regular(directory, LOGIN, MAX_BYTES))
    except (CredentialError, MailboxError, FileNotFoundError):
        return None


def _is_plain(directory: int) -> bool:
    """Whether nothing is there, or a plain file that may be somebody's: an API key of Codex' own."""
    try:
        handles.read_regular(directory, LOGIN, MAX_BYTES)
    except FileNotFoundError:
        return True
    except (MailboxError, OSError):
        return False
    return True


def _write_for_agent(directory: int, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(_TEMPORARY, flags, PRIVATE, dir_fd=directory)
    with os.fdopen(handle, "wb") as file:
        if os.geteuid() == 0:
            os.fchown(handle, *agent_owner())
        file.write(content)


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []


def _path(home: Home, folder: Folder) -> Path:
    return home.data / PROVIDERS["codex"].host_home.format(folder=folder)
