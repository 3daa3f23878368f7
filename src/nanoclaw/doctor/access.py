"""Who is signed in, and whether the providers can be reached."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

from nanoclaw.config import load_secrets
from nanoclaw.credentials import resolve
from nanoclaw.credentials.accounts import Account, describe
from nanoclaw.credentials.store import HOST
from nanoclaw.doctor.findings import Finding, fine, problem
from nanoclaw.doctor.scene import Scene
from nanoclaw.errors import NanoclawError

_REACH_SECONDS: Final = 5.0
_MOST_OFF: Final = timedelta(minutes=2)  # tokens and certificates bear as much


def sign_ins(scene: Scene) -> Iterator[Finding]:
    """What `nanoclaw auth status` shows."""
    try:
        found = describe(scene.home)
    except NanoclawError as error:
        yield problem("unreadable", "sign-ins", str(error), error.hint)
        return
    for group in found.groups:
        check = f"sign-in of {group.folder}"
        if group.problem:
            yield problem("sign-in-missing", check, group.problem, group.hint)
        else:
            yield fine(check, f"{group.provider} by {group.method}" + (f" ({group.note})" if group.note else ""))
    for account in found.accounts:
        yield from _account(account)
    for refused in found.refused:
        what = f"a login appeared while its agent was at work: {refused.path.name}"
        yield problem("login-refused", f"sign-in of {refused.folder}", what, refused.hint)


def _account(account: Account) -> Iterator[Finding]:
    whose = "all groups" if account.where == HOST else account.where
    check = f"login of {whose}"
    if account.problem:
        yield problem("login-broken", check, account.problem, account.hint)
    elif account.expires_at:
        yield fine(check, f"its token ends {account.expires_at:%Y-%m-%d %H:%M} UTC; the host renews it before")


async def providers(scene: Scene) -> AsyncIterator[Finding]:
    """Every server that a group's provider is asked at answers; what it answers does not matter."""
    if not scene.online:
        return
    users = _base_urls(scene)
    answers: dict[str, Finding] = {}
    context = await anyio.to_thread.run_sync(ssl.create_default_context)
    async with httpx.AsyncClient(timeout=_REACH_SECONDS, verify=context, trust_env=False) as client:

        async def ask(url: str) -> None:
            answers[url] = await _ask(client, url, users[url], scene.machine.now)

        async with anyio.create_task_group() as asking:
            for url in users:
                asking.start_soon(ask, url)
    for url in users:
        yield answers[url]


def _base_urls(scene: Scene) -> dict[str, list[str]]:
    """Where the groups' providers are asked, and which groups do so. Who is not signed in asks nobody."""
    users: dict[str, list[str]] = {}
    with suppress(NanoclawError):  # told of by others
        secrets = load_secrets(scene.home)
        for group in scene.groups.values():
            with suppress(NanoclawError):
                url = resolve(group, secrets, scene.home, scene.settings.credentials).route.base_url
                users.setdefault(url, []).append(group.folder)
    return users


async def _ask(client: httpx.AsyncClient, url: str, groups: list[str], now: datetime) -> Finding:
    host = urlsplit(url).netloc
    check = f"way to {host}"
    try:
        with anyio.fail_after(_REACH_SECONDS):
            async with client.stream("GET", url) as answer:
                said = answer.headers.get("date", "")
    except (httpx.HTTPError, ssl.SSLError, TimeoutError) as error:
        what = f"it cannot be reached: {error or type(error).__name__}; asked for by {', '.join(groups)}"
        return problem(
            "provider-unreachable", check, what, f"curl -v {url}: the network, a firewall, or a name in .env"
        )
    off = _off(said, now)
    if off is not None and off > _MOST_OFF:
        what = f"its clock and this machine's differ by {off}"
        return problem("clock-off", check, what, "set this machine's clock: timedatectl set-ntp true")
    return fine(check, "it answers")


def _off(said: str, now: datetime) -> timedelta | None:
    try:
        told = parsedate_to_datetime(said)
    except ValueError:
        return None
    return timedelta(seconds=round(abs((told - now).total_seconds())))
