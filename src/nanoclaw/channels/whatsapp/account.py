"""Which account is linked: `account.json` beside the session, for everybody who does not open the session itself."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from nanoclaw.atomic import replace_file
from nanoclaw.channels.whatsapp.protocol import Account
from nanoclaw.config import Home, make_private

_NAME: Final = "account.json"


def prepare(home: Home) -> None:
    """Have the directory for it, which nobody else can enter."""
    make_private(home.whatsapp.parent)
    make_private(home.whatsapp)


def load(directory: Path) -> Account | None:
    """The account that is linked, if one is."""
    try:
        return Account(**json.loads((directory / _NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def linked_at(directory: Path) -> float:
    """When an account was linked, in seconds since 1970; 0 if none is."""
    try:
        return (directory / _NAME).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def save(directory: Path, account: Account) -> None:
    """This account is linked."""
    if load(directory) != account:
        replace_file(directory / _NAME, json.dumps(asdict(account)) + "\n")


def forget(directory: Path) -> None:
    """None is."""
    (directory / _NAME).unlink(missing_ok=True)
