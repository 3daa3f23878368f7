"""For commands and the page: who is signed in where and how, taking a login or a key over, and removing it.

Nothing here answers or prints a secret. A host that runs takes notice with its next run.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from nanoclaw.clock import SystemClock, iso
from nanoclaw.config import CredentialMode, Home, load_secrets, load_settings
from nanoclaw.credentials.choice import LoginOffer, choose
from nanoclaw.credentials.files import private_directory
from nanoclaw.credentials.given import import_hint, refused_logins, remove_found
from nanoclaw.credentials.keys import KEY_NAMES, check_key, group_env, load_group_secrets, write_keys
from nanoclaw.credentials.login import MAX_BYTES, Login, parse_login
from nanoclaw.credentials.offers import offers, own_offer, stored_offer
from nanoclaw.credentials.renewal import sign_in_hint
from nanoclaw.credentials.spent import find_spent
from nanoclaw.credentials.store import HOST, Place
from nanoclaw.errors import ConfigError, CredentialError
from nanoclaw.groups import load_groups
from nanoclaw.model import Folder, RegisteredGroup
from nanoclaw.providers import ProviderName
from nanoclaw.wire import CredentialMethod

_SIGN_IN: Final = "sign-in-"
_FORGOTTEN_SECONDS: Final = 3600.0  # a sign-in ends after a quarter of that, unless it was killed


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One thing that somebody can be signed in with."""

    provider: ProviderName
    where: str
    """`host`, or a group's folder."""
    method: CredentialMethod
    who: str = ""
    """E-mail address of a ChatGPT login."""
    plan: str = ""
    """Of a ChatGPT login, e.g. `plus`."""
    expires_at: datetime | None = None
    """When a ChatGPT login's access token ends. The host renews it before, unless there is a `problem`."""
    last_refresh: datetime | None = None
    problem: str = ""
    """What is wrong; empty: nothing."""
    hint: str = ""
    """What to do about it."""
    groups: tuple[str, ...] = ()
    """Folders of the groups whose next run uses it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSignIn:
    """How one registered group's next run signs in."""

    folder: str
    name: str
    provider: ProviderName
    method: CredentialMethod | None = None
    """None: it cannot; `problem` says why."""
    where: str = ""
    """`host`, or the folder."""
    note: str = ""
    """That what was asked for is not what is taken, and why."""
    problem: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """An `auth.json` that appeared while an agent was at work: not believed, kept for a person to look at."""

    folder: str
    path: Path
    at: datetime
    hint: str
    """The command that would take it over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SignIns:
    """Everything about signing in."""

    mode: CredentialMode
    accounts: tuple[Account, ...]
    groups: tuple[GroupSignIn, ...]
    refused: tuple[Refused, ...]


def describe(home: Home) -> SignIns:
    """Who is signed in where, how, until when, and which groups use it.

    Raises:
        ConfigError: settings, groups or a `.env` are broken.
        CredentialError: `credentials/` cannot be read.
    """
    mode = load_settings(home).credentials
    groups = list(load_groups(home.registered_groups).values())
    secrets = load_secrets(home)
    signed = [_sign_in_of(group, secrets, home, mode) for group in groups]
    accounts = [*_accounts(home, None, secrets)]
    for group in groups:
        accounts += _accounts(home, group.folder, load_group_secrets(home, group.folder))
    refused = [
        Refused(folder=group.folder, path=path, at=at, hint=import_hint(home, group.folder, path.name))
        for group in groups
        for path, at in refused_logins(home, group.folder)
    ]
    used = [replace(account, groups=_users(account, signed)) for account in accounts]
    return SignIns(mode=mode, accounts=tuple(used), groups=tuple(signed), refused=tuple(refused))


def as_json(sign_ins: SignIns) -> dict[str, Any]:
    """The same for programs: instants and paths as text."""
    return json.loads(json.dumps(asdict(sign_ins), default=_as_text))


def adopt_login(home: Home, source: Path | bytes, folder: Folder | None = None) -> Account:
    """Make an `auth.json` the host's login, or a group's own. The source stays as it is: nobody may use it any more.

    Raises:
        CredentialError: it is no ChatGPT login, has no refresh token, or was used up here already.
    """
    named = source if isinstance(source, Path) else "this login"
    try:
        login = parse_login(source if isinstance(source, bytes) else _content(source))
    except CredentialError as error:
        raise CredentialError(f"{named} cannot be taken over: {error}", error.hint) from None
    place = Place(home, folder)
    if not login.refresh_token:
        raise CredentialError(f"{named} has no refresh token: it would end by itself", sign_in_hint(place))
    with place.locked_here() as locked:
        known = locked.read()
        if find_spent(home, login):
            raise CredentialError(f"{named} is a copy of a login that was renewed or refused here", sign_in_hint(place))
        if known is None or known.refresh_token != login.refresh_token:
            locked.save(login)
        if folder is not None:
            remove_found(home, folder)
    return _login_account(LoginOffer(place=place, login=login))


@contextmanager
def sign_in_directory(home: Home) -> Generator[Path]:
    """A fresh private directory, as CODEX_HOME of one `codex login`; removed at the end with all that is in it.

    Take over its `auth.json` by `adopt_login` inside the context. A sign-in that is broken off harms no login, and no
    second copy of a refresh token is left.
    """
    with private_directory(home, "credentials"):
        for left in home.credentials.glob(f"{_SIGN_IN}*"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _FORGOTTEN_SECONDS:
                    shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=_SIGN_IN, dir=home.credentials) as directory:
            yield Path(directory)


def save_key(home: Home, name: str, value: str, folder: Folder | None = None) -> Path:
    """Put an API key or a token into the home's `.env`, or the group's own. Answers the file.

    Args:
        name: one of `KEY_NAMES`.
        value: the key.
        folder: of the group that is to have it for itself.

    Raises:
        CredentialError: it can be no such key, or the file cannot be written.
    """
    if not any(name in names for names in KEY_NAMES.values()):
        raise CredentialError(f"{name} is no key of a provider", "it is ANTHROPIC_API_KEY, OPENAI_API_KEY, …")
    check_key(name, value)
    write_keys(home, folder, {name: value})
    return group_env(home, folder) if folder else home.env


def log_out(home: Home, provider: ProviderName, folder: Folder | None = None) -> tuple[str, ...]:
    """Remove login, keys and tokens of a provider from the host, or from a group. Answers what was there, in words.

    Raises:
        CredentialError: something cannot be removed.
    """
    removed: list[str] = []
    if provider == "codex" and _forget_login(Place(home, folder)):
        removed.append("the ChatGPT login")
    path = group_env(home, folder) if folder else home.env
    if path.exists():
        names = write_keys(home, folder, dict.fromkeys(KEY_NAMES[provider]))
        removed += [f"{name} in {path}" for name in names]
    return tuple(removed)


def _forget_login(place: Place) -> bool:
    with place.locked_here() as locked:
        kept = locked.remove()
        found = place.folder is not None and remove_found(place.home, place.folder)
    return kept or found


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise CredentialError(f"it cannot be read ({error.strerror})", "give the path of an auth.json") from error


def _sign_in_of(group: RegisteredGroup, secrets: Mapping[str, str], home: Home, mode: CredentialMode) -> GroupSignIn:
    plain = GroupSignIn(folder=group.folder, name=group.name, provider=group.provider)
    try:
        credential = choose(group, offers(group, secrets, home), mode, home, SystemClock().now())
    except (CredentialError, ConfigError) as error:
        return replace(plain, problem=str(error), hint=error.hint)
    return replace(plain, method=credential.method, where=credential.where, note=credential.note)


def _accounts(home: Home, folder: Folder | None, secrets: Mapping[str, str]) -> Generator[Account]:
    place = Place(home, folder)
    offer = own_offer(home, folder) if folder else stored_offer(place)
    if offer is not None:
        yield _login_account(offer)
    elif problem := _why_unreadable(place):
        yield Account(provider="codex", where=place.where, method="chatgpt", problem=problem, hint=sign_in_hint(place))
    for provider, names in KEY_NAMES.items():
        for name in names:
            if name in secrets:
                method: CredentialMethod = "oauth_token" if name == "CLAUDE_CODE_OAUTH_TOKEN" else "api_key"
                yield Account(provider=provider, where=folder or HOST, method=method)


def _why_unreadable(place: Place) -> str:
    """What is wrong with the login that lies there; empty: nothing, or there is none."""
    try:
        place.read()
    except CredentialError as error:
        return str(error)
    return ""


def _login_account(offer: LoginOffer) -> Account:
    login: Login = offer.login
    return Account(
        provider="codex",
        where=offer.place.where,
        method="chatgpt",
        who=login.email,
        plan=login.plan,
        expires_at=login.expires_at,
        last_refresh=login.last_refresh,
        problem=offer.problem,
        hint=sign_in_hint(offer.place) if offer.problem else "",
    )


def _users(account: Account, signed: Iterable[GroupSignIn]) -> tuple[str, ...]:
    same = (account.provider, account.where, account.method)
    return tuple(group.folder for group in signed if (group.provider, group.where, group.method) == same)


def _as_text(value: object) -> str:
    return iso(value) if isinstance(value, datetime) else str(value)
