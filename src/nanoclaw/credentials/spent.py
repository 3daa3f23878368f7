"""Which refresh tokens were sent: each leaves a file in `credentials/spent/` before it goes out, and never goes twice.

A refresh token works once, and a server that sees one again may end the whole login. The file is made exclusively and
is on the disk before the first byte leaves, so neither a kill, nor another process, nor a copy of the login elsewhere
can send a token again.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from nanoclaw.clock import from_iso, iso
from nanoclaw.config import Home
from nanoclaw.credentials.files import (
    private_directory,
    read_below,
    read_private,
    remove_durably,
    save_durably,
    write_new,
)
from nanoclaw.credentials.login import Login
from nanoclaw.errors import CredentialError

_PARTS: Final = ("credentials", "spent")
_KEPT: Final = 2000  # months of hourly renewals; a copy that is older than that ends by itself


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What is known of a refresh token that was sent."""

    at: datetime
    refusal: str
    """The server's word for why it refused; empty: nothing that it answered was saved."""


def find_spent(home: Home, login: Login) -> Spent | None:
    """Why this login cannot be renewed any more; None when it can. Raises `CredentialError`."""
    return _spent(read_below(home, *_PARTS, _name(login)))


def mark_spent(home: Home, login: Login, now: datetime) -> None:
    """Note, for good, that this login's refresh token is about to be sent.

    Raises:
        CredentialError: it was sent before, or that cannot be noted.
    """
    with private_directory(home, *_PARTS) as directory:
        if _spent(read_private(directory, _name(login))) is None:
            remove_durably(directory, _name(login))
        try:
            write_new(directory, _name(login), json.dumps({"at": iso(now)}).encode())
        except FileExistsError:
            raise CredentialError(
                "this login is a copy of one that was renewed elsewhere", "sign in again: one login, one place"
            ) from None
        os.fsync(directory)
        _forget_oldest(directory)


def note_refusal(home: Home, login: Login, refusal: str, now: datetime) -> None:
    """Note that the server refused it: nothing was lost, and nothing is to be had. Raises `CredentialError`."""
    with private_directory(home, *_PARTS) as directory:
        save_durably(directory, _name(login), json.dumps({"at": iso(now), "refusal": refusal}).encode())


def unmark(home: Home, login: Login) -> None:
    """It has not been used up after all: it may be sent again. Raises `CredentialError`."""
    with private_directory(home, *_PARTS) as directory:
        remove_durably(directory, _name(login))


def _spent(content: bytes | None) -> Spent | None:
    try:
        record: Any = None if content is None else json.loads(content)
        return record and Spent(at=from_iso(str(record["at"])), refusal=str(record.get("refusal", "")))
    except (ValueError, KeyError, TypeError):  # killed while it was written, which is before anything was sent
        return None


def _forget_oldest(directory: int) -> None:
    with os.scandir(directory) as found:
        entries = [(entry.stat(follow_symlinks=False).st_mtime_ns, entry.name) for entry in found]
    for _, name in sorted(entries)[:-_KEPT]:
        os.unlink(name, dir_fd=directory)


def _name(login: Login) -> str:
    return hashlib.sha256(login.refresh_token.encode()).hexdigest()[:32]
