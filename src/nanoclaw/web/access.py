"""Who may look: whoever holds the token, from a browser that really means this address.

Loopback is not private: other users of the machine reach it, and so does every web site that the owner visits. So each
request needs the token (a cookie, once the printed address was opened), the right Host (else another name could be made
to point here) and, to change anything, the right Origin (else another site's form could be sent here).
"""

import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nanoclaw.atomic import replace_file
from nanoclaw.clock import Clock

KEPT: Final = 50
"""Requests that were turned away and are remembered."""
_OPEN: Final = frozenset({"/healthz"})
_SAFE: Final = frozenset({"GET", "HEAD"})
_YEAR_SECONDS: Final = 31_536_000
_MOST_SHOWN: Final = 100
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with less a browser would send forms with the origin `null`
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

log = structlog.stdlib.get_logger()


def page_token(path: Path) -> str:
    """The secret of the printed address, made at first use; readable by the owner alone."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = secrets.token_urlsafe(32)
        replace_file(path, token + "\n")
        return token


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is known of a request before anything is done for it."""

    method: str
    path: str
    host: str
    origin: str
    tokens: tuple[str, ...]
    """Whatever it offers as the token."""


def refusal(asked: Asked, token: str, hosts: frozenset[str]) -> str:
    """Why the request is turned away, as a sentence; empty: it is not. Pure."""
    if asked.host.lower() not in hosts:
        return "This address is not the one that NanoClaw printed."
    if asked.path in _OPEN:
        return ""
    if not any(secrets.compare_digest(offered.encode(), token.encode()) for offered in asked.tokens):
        return "This page needs its key. `nanoclaw page` prints the whole address."
    if asked.method not in _SAFE and asked.origin.lower() not in {f"http://{host}" for host in hosts}:
        return "This request came from another site and was not carried out."
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnedAway:
    """A request that was not let in. Nothing of what it offered is kept."""

    at: datetime
    method: str
    path: str
    why: str


class Guard:
    """ASGI middleware: carries out `refusal`, turns a token in the address into a cookie, and sets the headers that
    keep other sites out."""

    def __init__(
        self, application: ASGIApp, *, token: str, port: int, clock: Clock, turned_away: deque[TurnedAway]
    ) -> None:
        """See the class.

        Args:
            application: for those who are let in.
            token: see `page_token`.
            port: on which the page is served.
            clock: the time.
            turned_away: is given those who are not let in.
        """
        self._application = application
        self._token = token
        self._hosts = own_hosts(port)
        self._cookie = cookie_name(port)
        self._clock = clock
        self._turned_away = turned_away

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        offered = query.pop("token", "")
        asked = _asked(scope, headers, self._cookie, offered)
        why = refusal(asked, self._token, self._hosts)
        guarded = _with_headers(send)
        if why:
            self._note(asked, why)
            await PlainTextResponse(f"{why}\n", status_code=403)(scope, receive, guarded)
        elif offered and scope["method"] in _SAFE:
            await self._let_in(scope["path"], query)(scope, receive, guarded)
        else:
            await self._application(scope, receive, guarded)

    def _note(self, asked: Asked, why: str) -> None:
        method, path = asked.method[:_MOST_SHOWN], asked.path[:_MOST_SHOWN]
        if len(self._turned_away) < KEPT:  # whoever knocks for ever must not wash everything else out of the log
            log.warning("page.turned_away", method=method, path=path, why=why)
        self._turned_away.append(TurnedAway(at=self._clock.now(), method=method, path=path, why=why))

    def _let_in(self, path: str, query: Mapping[str, str]) -> Response:
        """Go to the same address without the token, which is a cookie from then on: it stays out of the history."""
        to = "/" + path.lstrip("/")  # `//host` would be another site
        response = RedirectResponse(to + (f"?{urlencode(query)}" if query else ""), status_code=303)
        response.set_cookie(self._cookie, self._token, max_age=_YEAR_SECONDS, httponly=True, samesite="strict")
        return response


def _asked(scope: Scope, headers: Headers, name: str, offered: str) -> Asked:
    cookie = cookie_parser(headers.get("cookie", "")).get(name, "")
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    return Asked(
        method=scope["method"],
        path=scope["path"],
        host=headers.get("host", ""),
        origin=headers.get("origin", ""),
        tokens=(cookie, bearer if kind.lower() == "bearer" else "", offered),
    )


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return guarded


def cookie_name(port: int) -> str:
    """Browsers give a cookie to every port of a machine: two homes must not take each other's."""
    return f"nanoclaw-{port}"


def own_hosts(port: int) -> frozenset[str]:
    """How a browser on this machine may call this address."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def address(port: int, token: str) -> str:
    """What is printed for the owner to open."""
    return f"http://127.0.0.1:{port}/?{urlencode({'token': token})}"
