"""Which way of signing in a run takes: a pure decision over what is there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from nanoclaw.config import Home
from nanoclaw.credentials.login import Login
from nanoclaw.errors import ConfigError, CredentialError
from nanoclaw.gateway import Route
from nanoclaw.model import RegisteredGroup
from nanoclaw.providers import PROVIDERS
from nanoclaw.wire import CredentialMethod

_OAUTH_VARIABLE: Final = "CLAUDE_CODE_OAUTH_TOKEN"
_CHATGPT_VARIABLE: Final = "CHATGPT_BASE_URL"
_CHATGPT_BASE_URL: Final = "https://chatgpt.com/backend-api"
_CHATGPT_MODELS_URL: Final = f"{_CHATGPT_BASE_URL}/codex"
_SECRET: Final = re.compile(r"[!-~]+")
_BASE_URL: Final = re.compile(r"https?://[a-z0-9._:\[\]-]+(/[a-z0-9._~/%-]*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """How one run signs in."""

    method: CredentialMethod
    route: Route
    """What its gateway socket leads to."""
    secret: str | None = field(default=None, repr=False)
    """What the CLI itself must have: only for `oauth_token`."""
    note: str = ""
    """For the log and for `status`: that what was asked for is not what is taken, and why."""


def choose(group: RegisteredGroup, secrets: Mapping[str, str], login: Login, home: Home) -> Credential:
    """Decide by the group's wish and what is there; see `credentials.resolve`.

    Args:
        group: the group.
        secrets: what `.env` gives, by name.
        login: what lies where the group's own login would be.
        home: for the hints.
    """
    return _codex(group, secrets, login, home) if group.provider == "codex" else _claude(group, secrets, home)


def _claude(group: RegisteredGroup, secrets: Mapping[str, str], home: Home) -> Credential:
    entry = PROVIDERS["claude"]
    base_url = _base_url(entry.base_url_variable, secrets, entry.default_base_url)
    if key := _secret(entry.key_variable, secrets, home):
        route = Route(provider="claude", base_url=base_url, headers={"x-api-key": key}, chatgpt_base_url=None)
        return Credential(method="api_key", route=route)
    if token := _secret(_OAUTH_VARIABLE, secrets, home):
        route = Route(provider="claude", base_url=base_url, headers={}, chatgpt_base_url=None)
        return Credential(method="oauth_token", route=route, secret=token)
    raise _nobody(group, home)


def _codex(group: RegisteredGroup, secrets: Mapping[str, str], login: Login, home: Home) -> Credential:
    entry = PROVIDERS["codex"]
    wish = group.codex.auth_method
    if login == "chatgpt" and wish != "api_key":
        route = Route(
            provider="codex",
            base_url=_base_url(entry.base_url_variable, secrets, _CHATGPT_MODELS_URL),
            headers={},
            chatgpt_base_url=_base_url(_CHATGPT_VARIABLE, secrets, _CHATGPT_BASE_URL),
        )
        return Credential(method="chatgpt", route=route)
    if key := _secret(entry.key_variable, secrets, home):
        route = Route(
            provider="codex",
            base_url=_base_url(entry.base_url_variable, secrets, entry.default_base_url),
            headers={"authorization": f"Bearer {key}"},
            chatgpt_base_url=None,
        )
        return Credential(method="api_key", route=route, note=_key_note(group, login))
    if wish == "api_key":
        what = f"{group.name} is to sign in with an API key, and there is none"
        raise CredentialError(what, f"put {entry.key_variable} into {home.env}")
    raise _nobody(group, home)


def _key_note(group: RegisteredGroup, login: Login) -> str:
    if group.codex.auth_method == "api_key":
        return ""
    if login == "other":
        return f"the auth.json of {group.folder} is no ChatGPT login; OPENAI_API_KEY is used"
    if group.codex.auth_method == "chatgpt":
        return f"{group.folder} asks for a ChatGPT login and has none; OPENAI_API_KEY is used"
    return ""


def _nobody(group: RegisteredGroup, home: Home) -> CredentialError:
    entry = PROVIDERS[group.provider]
    command = entry.sign_in.format(home=home.root, folder=group.folder)
    return CredentialError(f"nobody is signed in to {entry.title} for {group.name}", f"to sign in, {command}")


def _secret(name: str, secrets: Mapping[str, str], home: Home) -> str | None:
    value = secrets.get(name)
    if value is not None and not _SECRET.fullmatch(value):
        raise CredentialError(f"{name} is no key: it has a character that no key has", f"correct {name} in {home.env}")
    return value


def _base_url(variable: str, secrets: Mapping[str, str], default: str) -> str:
    """The base URL without a trailing slash. A wrong one is not repeated in the error: it may hold a password."""
    url = secrets.get(variable, default)
    if not _BASE_URL.fullmatch(url) or not _has_host(url):
        raise ConfigError(
            f"{variable} is not a base URL: http or https, a host, and a path at most",
            f"the usual one is {default}; without {variable} it is taken",
        )
    return url.rstrip("/")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return False
