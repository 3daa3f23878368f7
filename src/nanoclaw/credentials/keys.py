"""API keys and tokens in `.env`: the home's, and one for each group that has keys of its own."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nanoclaw.atomic import replace_file
from nanoclaw.config import Home, parse_env
from nanoclaw.credentials.files import private_directory, read_below, read_private, remove_durably, save_durably
from nanoclaw.credentials.store import group_parts
from nanoclaw.errors import ConfigError, CredentialError
from nanoclaw.model import Folder
from nanoclaw.providers import ProviderName

KEY_NAMES: Final[dict[ProviderName, tuple[str, ...]]] = {
    "claude": ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"),
    "codex": ("OPENAI_API_KEY",),
}
"""What signs in to a provider, the first before the second where there are both."""

_ENV: Final = ".env"
_KEY: Final = re.compile(r"[!-~]+")
_OAUTH_PREFIX: Final = "sk-ant-oat"  # how the tokens of `claude setup-token` begin, and no API key does
_LINE: Final = re.compile(r"\s*(?:export\s+)?([A-Z_]+)\s*=")


def group_env(home: Home, folder: Folder) -> Path:
    """Where a group's own keys are."""
    return home.root.joinpath(*group_parts(folder), _ENV)


def load_group_secrets(home: Home, folder: Folder) -> dict[str, str]:
    """What the group's own `.env` gives; nothing when it has none.

    Raises:
        ConfigError: a line of it is not `NAME=value`.
        CredentialError: it cannot be read.
    """
    path = group_env(home, folder)
    content = read_below(home, *group_parts(folder), _ENV)
    try:
        text = (content or b"").decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8", "write it anew") from error
    return {name: value for name, value in parse_env(text, path).items() if value}


def layered(host: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The home's secrets with a group's own over them: whoever has a key or a token of its own for a provider is not
    given the home's for it."""
    replaced = {name for names in KEY_NAMES.values() if any(name in own for name in names) for name in names}
    return {**{name: value for name, value in host.items() if name not in replaced}, **own}


def check_key(name: str, value: str) -> None:
    """Whether it can be what its name says.

    Raises:
        CredentialError: it cannot; the value is not repeated.
    """
    if not _KEY.fullmatch(value):
        raise CredentialError(f"{name} is no key: it is empty, or has a character that no key has", "copy it again")
    is_token = value.startswith(_OAUTH_PREFIX)
    if is_token and name != "CLAUDE_CODE_OAUTH_TOKEN":
        raise CredentialError(f"this is a Claude subscription's token and no {name}", "give it as the token")
    if name == "CLAUDE_CODE_OAUTH_TOKEN" and value.startswith("sk-ant-api"):
        raise CredentialError("this is an API key and no subscription's token", "give it as the API key")


def write_keys(home: Home, folder: Folder | None, changes: Mapping[str, str | None]) -> tuple[str, ...]:
    """Set keys, or remove those that are None; all other lines stay. Answers the names that were there before.

    Raises:
        CredentialError: the file cannot be read or written.
    """
    try:
        if folder is None:
            path = Path(os.path.realpath(home.env))  # people may keep it elsewhere, behind a link
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            lines, before = _changed(text, changes)
            replace_file(path, lines)
            return before
        with private_directory(home, *group_parts(folder)) as directory:
            lines, before = _changed((read_private(directory, _ENV) or b"").decode(), changes)
            if lines:
                save_durably(directory, _ENV, lines.encode())
            else:
                remove_durably(directory, _ENV)
            return before
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(
            f"the keys cannot be saved: {error}", "look at who owns the file, and at the disk"
        ) from error


def _changed(text: str, changes: Mapping[str, str | None]) -> tuple[str, tuple[str, ...]]:
    """The file's text with these keys set or gone, and which of them it had with a value."""
    kept: list[str] = []
    before: list[str] = []
    left = {name: value for name, value in changes.items() if value is not None}
    for line in text.splitlines():
        match = _LINE.match(line)
        name = match[1] if match else ""
        if name not in changes:
            kept.append(line)
            continue
        if line[match.end() :].strip(" '\"") and name not in before:  # pyright: ignore[reportOptionalMemberAccess]
            before.append(name)
        if name in left:
            kept.append(f"{name}={left.pop(name)}")
    kept += [f"{name}={value}" for name, value in left.items()]
    return "".join(f"{line}\n" for line in kept), tuple(before)
