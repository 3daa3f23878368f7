"""Getting a new access token with the refresh token, which works once: kill -9 at any step leaves the old login or the
new one usable, or leaves a note that the server's answer was lost."""

import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, cast

import anyio
import anyio.to_thread
import httpx
import structlog

from nanoclaw.clock import Clock
from nanoclaw.credentials.login import Login
from nanoclaw.credentials.spent import find_spent, mark_spent, note_refusal, unmark
from nanoclaw.credentials.store import Locked, Place
from nanoclaw.errors import CredentialError

CLIENT_ID: Final = "app_EMoamEEZ73f0CkXaXp7hrann"
"""As whom Codex asks for tokens."""

_CONNECT_SECONDS: Final = 15.0  # name, connection and TLS, on a slow line
_ANSWER_SECONDS: Final = 30.0  # the CLI's own limit is of that order; then the answer counts as lost
_MOST_BYTES: Final = 256 << 10  # an answer has some 6 KiB
_LEAVES: Final = "http11.send_request_headers.started"

_REFUSALS: Final = (400, 401)
_UNKNOWN: Final = (408, 502, 504)  # somebody between us and the server spoke, who does not know either

log = structlog.stdlib.get_logger()


@dataclass(slots=True)
class _Exchange:
    """How far one request has come."""

    sent: bool = False
    status: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


async def renew(place: Place, known: Login, token_url: str, clock: Clock) -> Login:
    """A login with a newer access token than `known`, saved for good before this returns.

    Once it asks it runs to its end, also when cancelled: an answer that nobody saves would be a lost login.

    Args:
        place: whose login.
        known: the login that is not good enough; if it was renewed meanwhile, that is the answer.
        token_url: where to ask.
        clock: for the dates that are noted.

    Raises:
        CredentialError: not now, if `retryable`; else never again, and only a new login helps.
    """
    async with place.locked() as locked:
        login = locked.read()
        if login is None:
            raise CredentialError(f"there is no ChatGPT login of {place.where} any more", sign_in_hint(place))
        if login.access_token != known.access_token:
            return login
        if problem := why_ended(place, login):
            raise CredentialError(problem, sign_in_hint(place))
        return await _renew(place, locked, login, token_url, clock)


async def _renew(place: Place, locked: Locked, login: Login, token_url: str, clock: Clock) -> Login:
    locked.make_room()
    exchange = await _ask(place, login, token_url, clock)
    renewed = _judge(place, login, exchange, clock)
    locked.save(renewed)
    if renewed.refresh_token == login.refresh_token:
        unmark(place.home, login)
    log.info("login.renewed", where=place.where, ends=str(renewed.expires_at))
    return renewed


def why_ended(place: Place, login: Login) -> str:
    """Why a login cannot be renewed any more, in a sentence; empty when it can."""
    if not login.refresh_token:
        return f"the ChatGPT login of {place.where} has no refresh token"
    spent = find_spent(place.home, login)
    if spent is None:
        return ""
    if spent.refusal:
        return f"OpenAI has ended the ChatGPT login of {place.where} ({spent.refusal})"
    when = f"{spent.at:%Y-%m-%d %H:%M} UTC"
    return f"the answer to a renewal of the ChatGPT login of {place.where}, at {when}, was lost"


def sign_in_hint(place: Place) -> str:
    """The command that makes a new login there."""
    return f"run `{place.home.program} auth login codex" + (f" --group {place.folder}`" if place.folder else "`")


async def _ask(place: Place, login: Login, url: str, clock: Clock) -> _Exchange:
    """Send the refresh token, once; what went wrong after it left shows in the answer's being empty. Not cancelled."""
    exchange = _Exchange()

    async def trace(event: str, _info: object) -> None:
        if event == _LEAVES:
            mark_spent(place.home, login, clock.now())
            exchange.sent = True

    body = {
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_reason": "proactive_expiry",
        "refresh_token": login.refresh_token,
    }
    try:
        with anyio.fail_after(_CONNECT_SECONDS + _ANSWER_SECONDS, shield=True):
            async with _client() as client, client.stream("POST", url, json=body, extensions={"trace": trace}) as got:
                content = await _content(got)
                exchange.status = got.status_code
                exchange.answer = _object(content)
    except (httpx.HTTPError, TimeoutError, ssl.SSLError) as error:
        if not exchange.sent:
            raise _later(place, "cannot be reached") from error
    return exchange


@asynccontextmanager
async def _client() -> AsyncGenerator[httpx.AsyncClient]:
    """For one request on a fresh connection: on a used one, it would be unknown whether the server has seen it."""
    timeout = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
    context = await anyio.to_thread.run_sync(authorities)
    async with httpx.AsyncClient(timeout=timeout, verify=context, trust_env=False) as client:
        yield client


@cache
def authorities() -> ssl.SSLContext:
    """Whom we trust to say who a server is: the system's own, as the gateway does. Takes tens of milliseconds."""
    return ssl.create_default_context()


async def _content(response: httpx.Response) -> bytes:
    content = b""
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > _MOST_BYTES:
            return b""
    return content


def _judge(place: Place, login: Login, exchange: _Exchange, clock: Clock) -> Login:
    """What the server's answer makes of the login; see `renew` for what it raises."""
    if exchange.status == 200:
        try:
            return login.renewed(exchange.answer, clock.now())
        except ValueError:
            log.error("login.answer_unreadable", where=place.where)  # noqa: TRY400  # there is no more to say of it
    if exchange.status in _REFUSALS:
        note_refusal(place.home, login, _why(exchange.answer) or f"status {exchange.status}", clock.now())
    elif exchange.status >= 300 and exchange.status not in _UNKNOWN:
        unmark(place.home, login)
        raise _later(place, f"answers with status {exchange.status}")
    raise CredentialError(why_ended(place, login), sign_in_hint(place))


def _why(answer: Mapping[str, Any]) -> str:
    """The server's code for a refusal: OpenAI's way to say it, or OAuth's."""
    error = answer.get("error")
    code = cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else error
    return code if isinstance(code, str) and code.isidentifier() and len(code) < 60 else ""


def _object(content: bytes) -> dict[str, Any]:
    try:
        value: Any = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _later(place: Place, what: str) -> CredentialError:
    return CredentialError(
        f"the ChatGPT login of {place.where} could not be renewed: OpenAI's sign-in {what}",
        "it is tried again by itself",
        retryable=True,
    )
