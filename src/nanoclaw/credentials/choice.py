"""Which way of signing in a run takes: a pure decision over what is there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from nanoclaw.config import CredentialMode, Home
from nanoclaw.credentials.keys import KEY_NAMES, group_env
from nanoclaw.credentials.login import Login
from nanoclaw.credentials.store import HOST, Place
from nanoclaw.errors import ConfigError, CredentialError
from nanoclaw.gateway import Route
from nanoclaw.model import RegisteredGroup
from nanoclaw.providers import PROVIDERS
from nanoclaw.wire import CredentialMethod

_OAUTH_VARIABLE: Final = "CLAUDE_CODE_OAUTH_TOKEN"
_CHATGPT_VARIABLE: Final = "CHATGPT_BASE_URL"
_CHATGPT_BASE_URL: Final = "https://chatgpt.com/backend-api"
_CHATGPT_MODELS_URL: Final = f"{_CHATGPT_BASE_URL}/codex"
_ISSUER_VARIABLE: Final = "CHATGPT_ISSUER_URL"
_ISSUER_URL: Final = "https://auth.openai.com"
_SECRET: Final = re.compile(r"[!-~]+")
_BASE_URL: Final = re.compile(r"https?://[a-z0-9._:\[\]-]+(/[a-z0-9._~/%-]*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoginOffer:
    """A ChatGPT login that is there."""

    place: Place
    login: Login
    problem: str = ""
    """Why it cannot be renewed any more; empty when it can."""

    def is_dead(self, now: datetime) -> bool:
        """Whether nothing can be done with it."""
        return bool(self.problem) and self.login.is_over(now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offers:
    """Everything that a group could sign in with."""

    secrets: Mapping[str, str] = field(repr=False)
    """By name: the home's, with the group's own over them."""
    own_names: frozenset[str] = frozenset()
    """Which of them are the group's own."""
    own_login: LoginOffer | None = None
    host_login: LoginOffer | None = None
    other_file: bool = False
    """Whether the group's `.codex` has an `auth.json` that is no login."""

    @property
    def logins(self) -> tuple[LoginOffer, ...]:
        """The group's own goes before the host's."""
        return tuple(offer for offer in (self.own_login, self.host_login) if offer is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """How one run signs in."""

    method: CredentialMethod
    where: str
    """Whose it is: `host`, or the group's folder."""
    route: Route
    """What its gateway socket leads to."""
    at_gateway: bool = True
    """Whether the gateway adds it, and the CLI has a placeholder."""
    secret: str | None = field(default=None, repr=False)
    """What the CLI itself must have: only for an `oauth_token` that the gateway does not add."""
    login: LoginOffer | None = None
    """For `chatgpt`."""
    note: str = ""
    """For the log and for `auth status`: that what was asked for is not what is taken, and why."""


def choose(group: RegisteredGroup, offers: Offers, mode: CredentialMode, home: Home, now: datetime) -> Credential:
    """Decide by the group's wish and what is there.

    Args:
        group: the group.
        offers: what there is to sign in with.
        mode: whether a subscription may enter the sandbox.
        home: for the hints.
        now: the present.

    Raises:
        CredentialError: nobody is signed in, or what is there cannot be used; the hint names the command.
        ConfigError: a base URL in `.env` is none.
    """
    if group.provider == "codex":
        return _codex(group, offers, mode, home, now)
    return _claude(group, offers, mode, home)


def token_url(secrets: Mapping[str, str]) -> str:
    """Where ChatGPT logins are renewed. What an `auth.json` says of it counts for nothing: whoever wrote that file must
    not choose where a refresh token goes. Raises `ConfigError`."""
    return f"{_base_url(_ISSUER_VARIABLE, secrets, _ISSUER_URL)}/oauth/token"


def _claude(group: RegisteredGroup, offers: Offers, mode: CredentialMode, home: Home) -> Credential:
    entry = PROVIDERS["claude"]
    base_url = _base_url(entry.base_url_variable, offers.secrets, entry.default_base_url)

    def route(headers: Mapping[str, str]) -> Route:
        return Route(provider="claude", base_url=base_url, headers=headers, chatgpt_base_url=None)

    if key := _secret(entry.key_variable, group, offers, home):
        where = _where(group, entry.key_variable, offers)
        return Credential(method="api_key", where=where, route=route({"x-api-key": key}))
    if token := _secret(_OAUTH_VARIABLE, group, offers, home):
        where = _where(group, _OAUTH_VARIABLE, offers)
        if mode == "gateway":
            return Credential(method="oauth_token", where=where, route=route({"authorization": f"Bearer {token}"}))
        return Credential(method="oauth_token", where=where, route=route({}), at_gateway=False, secret=token)
    raise _nobody(group, home)


def _codex(group: RegisteredGroup, offers: Offers, mode: CredentialMode, home: Home, now: datetime) -> Credential:
    wish = group.codex.auth_method
    own_key = KEY_NAMES["codex"][0] in offers.own_names
    if wish != "api_key":
        alive = [offer for offer in offers.logins if not offer.is_dead(now)]
        # A key of the group's own says more about what is wanted than the login that all groups share.
        if alive and (wish == "chatgpt" or alive[0].place.folder is not None or not own_key):
            return _chatgpt(alive[0], offers.secrets, mode)
    if credential := _api_key(group, offers, home):
        return credential
    if wish == "api_key":
        what = f"{group.name} is to sign in with an API key, and there is none"
        hint = f"run `{home.program} auth login codex --api-key`, or put OPENAI_API_KEY into {home.env}"
        raise CredentialError(what, hint)
    if offers.logins:
        raise CredentialError(offers.logins[0].problem, f"to sign in anew, {_command(group, home)}")
    raise _nobody(group, home)


def _chatgpt(offer: LoginOffer, secrets: Mapping[str, str], mode: CredentialMode) -> Credential:
    inside = mode == "mounted"
    route = Route(
        provider="codex",
        base_url=_base_url(PROVIDERS["codex"].base_url_variable, secrets, _CHATGPT_MODELS_URL),
        headers={} if inside else chatgpt_headers(offer.login),
        chatgpt_base_url=_base_url(_CHATGPT_VARIABLE, secrets, _CHATGPT_BASE_URL) if inside else None,
    )
    where, note = offer.place.where, offer.problem and f"{offer.problem}; until it ends it is used"
    return Credential(method="chatgpt", where=where, route=route, at_gateway=not inside, login=offer, note=note)


def chatgpt_headers(login: Login) -> dict[str, str]:
    """What the ChatGPT backend wants to see of a login."""
    account = {"chatgpt-account-id": login.account_id} if login.account_id else {}
    return {"authorization": f"Bearer {login.access_token}", **account}


def _api_key(group: RegisteredGroup, offers: Offers, home: Home) -> Credential | None:
    entry = PROVIDERS["codex"]
    key = _secret(entry.key_variable, group, offers, home)
    if not key:
        return None
    route = Route(
        provider="codex",
        base_url=_base_url(entry.base_url_variable, offers.secrets, entry.default_base_url),
        headers={"authorization": f"Bearer {key}"},
        chatgpt_base_url=None,
    )
    where = _where(group, entry.key_variable, offers)
    return Credential(method="api_key", where=where, route=route, note=_key_note(group, offers, where))


def _key_note(group: RegisteredGroup, offers: Offers, where: str) -> str:
    """Why the key is taken although it is not what was asked for."""
    if group.codex.auth_method == "api_key" or (group.codex.auth_method is None and where != HOST):
        return ""
    if offers.logins:
        return f"{offers.logins[0].problem}; OPENAI_API_KEY is used"
    if offers.other_file:
        return f"the auth.json of {group.folder} is no ChatGPT login; OPENAI_API_KEY is used"
    if group.codex.auth_method == "chatgpt":
        return f"{group.folder} asks for a ChatGPT login and has none; OPENAI_API_KEY is used"
    return ""


def _nobody(group: RegisteredGroup, home: Home) -> CredentialError:
    title = PROVIDERS[group.provider].title
    return CredentialError(f"nobody is signed in to {title} for {group.name}", f"to sign in, {_command(group, home)}")


def _command(group: RegisteredGroup, home: Home) -> str:
    return PROVIDERS[group.provider].sign_in.format(nanoclaw=home.program, home=home.root)


def _where(group: RegisteredGroup, name: str, offers: Offers) -> str:
    return group.folder if name in offers.own_names else HOST


def _secret(name: str, group: RegisteredGroup, offers: Offers, home: Home) -> str | None:
    value = offers.secrets.get(name)
    if value is not None and not _SECRET.fullmatch(value):
        path = group_env(home, group.folder) if name in offers.own_names else home.env
        raise CredentialError(f"{name} is no key: it has a character that no key has", f"correct {name} in {path}")
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
