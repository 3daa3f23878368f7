"""What `.env` holds, or the host's own environment gives: allowlisted names and no more."""

import os
from pathlib import Path
from typing import Final

from nanoclaw.config.home import Home
from nanoclaw.errors import ConfigError

SECRETS: Final = {
    "ANTHROPIC_API_KEY": "Key for Claude; goes before the token.",
    "CLAUDE_CODE_OAUTH_TOKEN": "A Claude subscription's token, from `claude setup-token`.",
    "OPENAI_API_KEY": "Key for Codex.",
    "ANTHROPIC_BASE_URL": "Instead of `https://api.anthropic.com`.",
    "OPENAI_BASE_URL": "Instead of `https://api.openai.com/v1`, and of the models' address of a ChatGPT login.",
    "CHATGPT_BASE_URL": "Instead of `https://chatgpt.com/backend-api`, for a ChatGPT login.",
    "CHATGPT_ISSUER_URL": "Instead of `https://auth.openai.com`: where a ChatGPT login is made, renewed and revoked.",
}
"""What `.env`, or the host's own environment, may give, and what it is."""
SECRET_NAMES: Final = tuple(SECRETS)


def load_secrets(home: Home) -> dict[str, str]:
    """The allowlisted names from the host's environment, overridden by `.env`. Read at every run, so an edit counts.

    Raises:
        ConfigError: a line of `.env` is not `NAME=value`.
    """
    found = {name: os.environ[name] for name in SECRET_NAMES if os.environ.get(name)}
    try:
        text = home.env.read_text(encoding="utf-8")
    except FileNotFoundError:
        return found
    return {name: value for name, value in {**found, **parse_env(text, home.env)}.items() if value}


def parse_env(text: str, path: Path) -> dict[str, str]:
    """What a `.env` gives, by allowlisted name; an empty value takes away what the environment gives.

    Raises:
        ConfigError: a line is not `NAME=value`.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise ConfigError(f"{path} line {number} is not NAME=value", "one NAME=value a line, # for comments")
        if name.strip() in SECRET_NAMES:
            found[name.strip()] = value.strip().strip("'\"")
    return found
