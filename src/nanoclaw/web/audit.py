"""What was refused: requests of sandboxes, mailbox files, logins, and visitors of this page."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.config import Home
from nanoclaw.credentials.accounts import Refused
from nanoclaw.credentials.given import import_hint, refused_logins
from nanoclaw.groups import find_group
from nanoclaw.hosts import DEFAULT_PORTS, Pattern
from nanoclaw.ipc.files import REFUSED
from nanoclaw.model import Folder
from nanoclaw.sandbox.proof import MEANINGS, last_proofs
from nanoclaw.store import refused
from nanoclaw.store.refused import RefusedHost
from nanoclaw.web.context import Context, rendered

_HOSTS: Final = 100
_FILES: Final = 50
_REASONS: Final = {
    "policy": "not on the group's list",
    "address": "a private address, or this machine's",
    "rate": "too many requests",
    "volume": "too many bytes today",
    "request": "no request that can be carried out",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedFile:
    """A mailbox file that was refused and kept."""

    folder: Folder
    name: str
    at: datetime


def audit_routes(context: Context) -> list[Route]:
    """`/audit`"""
    services = context.services

    async def show(request: Request) -> Response:
        name = request.query_params.get("group", "")
        groups = list(services.groups.groups.values())
        chosen = [find_group(services.groups.groups, name)] if name else groups
        folders = [group.folder for group in chosen]
        hosts = await services.database.read(refused.hosts, _HOSTS, folders[0] if name else None)
        files, kept = await anyio.to_thread.run_sync(partial(refused_files, services.home, folders))
        logins = await anyio.to_thread.run_sync(_refused_logins, services.home, folders)
        proofs = await anyio.to_thread.run_sync(_failed_proofs, services.home, folders)
        values = {
            "groups": groups,
            "chosen": folders[0] if name else "",
            "hosts": [(each, _place(each), _REASONS.get(each.reason, each.reason)) for each in hosts],
            "files": files,
            "kept": kept,
            "logins": logins,
            "proofs": proofs,
            "meanings": MEANINGS,
            "turned_away": [] if name else list(reversed(context.turned_away)),
            "registered": {group.folder for group in groups},
            "zone": context.zone,
        }
        return rendered(request, "audit.html", values)

    return [Route("/audit", show)]


def refused_files(home: Home, folders: Sequence[Folder]) -> tuple[list[RefusedFile], int]:
    """The refused files of these groups, the newest first and not too many, and how many there are. None is opened."""
    found = [file for folder in folders for file in _refused_of(home.mailboxes / folder / REFUSED, folder)]
    found.sort(key=lambda file: file.at, reverse=True)
    return found[:_FILES], len(found)


def _refused_of(directory: Path, folder: Folder) -> list[RefusedFile]:
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return []
    return [_file(folder, name) for name in names if name[:20].isdecimal()]


def _file(folder: Folder, name: str) -> RefusedFile:
    """Its name begins with when its agent wrote it, in nanoseconds since 1970; at the end stands what it was called."""
    at = datetime.fromtimestamp(int(name[:20]) / 1e9, UTC)
    return RefusedFile(folder=folder, name=name.split("-", 3)[-1], at=at)


def _refused_logins(home: Home, folders: Sequence[Folder]) -> list[Refused]:
    return [
        Refused(folder=folder, path=path, at=at, hint=import_hint(home, folder, path.name))
        for folder in folders
        for path, at in refused_logins(home, folder)
    ]


def _failed_proofs(home: Home, folders: Sequence[Folder]) -> list[object]:
    return [record for folder in folders for record in last_proofs(home, folder) if not record.verdict.held]


def _place(each: RefusedHost) -> str:
    """As `nanoclaw network allow` takes it."""
    return str(Pattern(each.host, None if each.port in DEFAULT_PORTS else each.port)) if each.host else ""
