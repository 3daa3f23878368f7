"""What was refused lately: requests of sandboxes, mailbox files, logins, sandboxes that did not hold."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nanoclaw.config import Home
from nanoclaw.credentials.accounts import Refused
from nanoclaw.credentials.given import import_hint, refused_logins
from nanoclaw.hosts import DEFAULT_PORTS, Pattern
from nanoclaw.ipc.files import REFUSED
from nanoclaw.model import Folder
from nanoclaw.sandbox.proof import Record, last_proofs
from nanoclaw.store.refused import RefusedHost

MOST_HOSTS: Final = 100
_FILES: Final = 50

REASONS: Final = {
    "policy": "not on the group's list",
    "address": "a private address, or this machine's",
    "rate": "too many requests",
    "volume": "too many bytes today",
    "request": "no request that can be carried out",
}
"""Why a request was refused, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedFile:
    """A mailbox file that was refused and kept."""

    folder: Folder
    name: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What was refused and is on the disk."""

    files: list[RefusedFile]
    """The newest first, and not too many."""
    files_in_all: int
    logins: list[Refused]
    proofs: list[Record]
    """Of sandboxes that did not hold."""


def kept_refusals(home: Home, folders: Sequence[Folder]) -> Kept:
    """What is kept of these groups. Looks at directories; no file that an agent wrote is opened."""
    files = [file for folder in folders for file in _refused_of(home.mailboxes / folder / REFUSED, folder)]
    files.sort(key=lambda file: file.at, reverse=True)
    return Kept(
        files=files[:_FILES],
        files_in_all=len(files),
        logins=[
            Refused(folder=folder, path=path, at=at, hint=import_hint(home, folder, path.name))
            for folder in folders
            for path, at in refused_logins(home, folder)
        ],
        proofs=[record for folder in folders for record in last_proofs(home, folder) if not record.verdict.held],
    )


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


def place(each: RefusedHost) -> str:
    """As `nanoclaw network allow` takes it; empty: it is not to be made out."""
    return str(Pattern(each.host, None if each.port in DEFAULT_PORTS else each.port)) if each.host else ""
