"""Judges the login that may lie in a group's `.codex`, a directory that its agent can write."""

import json
import os
import stat
from pathlib import Path
from typing import Any, Final, Literal, cast

from nanoclaw.config import Home
from nanoclaw.model import Folder
from nanoclaw.providers import PROVIDERS

Login = Literal["none", "chatgpt", "other"]
"""`other`: something is there that is no ChatGPT login: an API key, a link, a broken file."""

_NAME: Final = "auth.json"
_MAX_BYTES: Final = 256 << 10  # a real one has some 6 KiB
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_login(home: Home, folder: Folder) -> Login:
    """What kind of login a group has of its own. Only the kind is looked at: what the file holds goes nowhere."""
    parts = ("data", *PROVIDERS["codex"].host_home.format(folder=folder).split("/"))
    try:
        content = _read(home.root, parts)
    except FileNotFoundError:
        return "none"
    except OSError:
        return "other"
    return "other" if content is None else _kind(content)


def _kind(content: bytes) -> Login:
    try:
        loaded: Any = json.loads(content)
    except (ValueError, RecursionError):
        return "other"
    auth = cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}
    has_tokens = isinstance(auth.get("tokens"), dict) and auth.get("auth_mode") != "apikey"
    return "chatgpt" if has_tokens else "other"


def _read(root: Path, parts: tuple[str, ...]) -> bytes | None:
    """The file's content, following no link below `root`; None for what is no plain file of a reasonable size."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            inner = os.open(part, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = inner
        file = os.open(_NAME, _FILE, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or facts.st_size > _MAX_BYTES:
            return None
        return os.read(file, _MAX_BYTES)
    finally:
        os.close(file)
