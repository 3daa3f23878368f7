"""Sign-ins: who is signed in, until when and for whom; signing in and out. No secret is ever shown."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any, Final, cast, get_args

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.config import load_secrets
from nanoclaw.credentials.accounts import Account, describe, save_key
from nanoclaw.credentials.store import HOST
from nanoclaw.errors import CredentialError, UsageError
from nanoclaw.groups import find_group
from nanoclaw.model import Folder
from nanoclaw.providers import PROVIDERS, ProviderName
from nanoclaw.signin.codex import sign_in_to_codex
from nanoclaw.signin.events import SignInDone, SignInEvent, SignInFailed, SignInStarted
from nanoclaw.signin.programs import find_program
from nanoclaw.signin.revocation import sign_out
from nanoclaw.web.context import Context, rendered, see
from nanoclaw.web.errands import EndedBadly
from nanoclaw.web.forms import read_form

_METHODS: Final = {"api_key": "API key", "chatgpt": "ChatGPT login", "oauth_token": "subscription token"}
_KEYS: Final = (
    ("ANTHROPIC_API_KEY", "API key of Anthropic"),
    ("CLAUDE_CODE_OAUTH_TOKEN", "token of a Claude subscription"),
    ("OPENAI_API_KEY", "API key of OpenAI"),
)
_ISSUER: Final = "CHATGPT_ISSUER_URL"


def sign_in_routes(context: Context) -> list[Route]:
    """`/signins` and what can be done there."""
    pages = _SignIns(context)
    return [
        Route("/signins", pages.show),
        Route("/signins/chatgpt", pages.begin, methods=["POST"]),
        Route("/signins/chatgpt/stop", pages.stop, methods=["POST"]),
        Route("/signins/key", pages.key, methods=["POST"]),
        Route("/signins/out", pages.out, methods=["POST"]),
    ]


class _SignIns:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._home = context.services.home

    async def show(self, request: Request) -> Response:
        found = await anyio.to_thread.run_sync(describe, self._home)
        groups = list(self._context.services.groups.groups.values())
        values = {
            "accounts": [(account, method_title(account)) for account in found.accounts],
            "signed": found.groups,
            "refused": found.refused,
            "methods": _METHODS,
            "host": HOST,
            "groups": groups,
            "keys": _KEYS,
            "errand": self._context.sign_in,
            "step": _step(self._context.sign_in.events),
            "zone": self._context.zone,
        }
        return rendered(request, "signins.html", values)

    async def begin(self, request: Request) -> Response:
        """Sign in to ChatGPT by a code."""
        folder = self._folder((await read_form(request)).get("group", ""))
        make = partial(_chatgpt, self._context, folder)
        self._context.sign_in.start(folder or HOST, make)
        return see("/signins")

    async def stop(self, _request: Request) -> Response:
        self._context.sign_in.stop()
        return see("/signins")

    async def key(self, request: Request) -> Response:
        """Keep an API key or a token; it comes in the body, and is nowhere else."""
        form = await read_form(request)
        folder = self._folder(form.get("group", ""))
        save = partial(save_key, self._home, form.get("name", ""), form.get("key", "").strip(), folder)
        await anyio.to_thread.run_sync(save)
        self._context.sign_in.changed.fire()
        return see("/signins")

    async def out(self, request: Request) -> Response:
        form = await read_form(request)
        provider = form.get("provider", "")
        if provider not in get_args(ProviderName):
            raise UsageError(f"{provider[:40]!r} is no provider", f"there are {', '.join(PROVIDERS)}")
        folder = self._folder(form.get("group", ""))
        left = await anyio.to_thread.run_sync(sign_out, self._home, cast("ProviderName", provider), folder)
        self._context.sign_in.changed.fire()
        if left.problem:
            raise CredentialError(
                f"signed out here; OpenAI could not be told ({left.problem}): who has a copy of the login can use it",
                "end the session of Codex in the security settings of ChatGPT",
            )
        return see("/signins")

    def _folder(self, name: str) -> Folder | None:
        """The group that it is for; None: all of them."""
        return find_group(self._context.services.groups.groups, name).folder if name and name != HOST else None


def method_title(account: Account) -> str:
    """`ChatGPT login of ann@example.org (Plus)`, `API key`"""
    who = f" of {account.who}" if account.who else ""
    plan = f" ({account.plan.capitalize()})" if account.plan else ""
    return f"{_METHODS[account.method]}{who}{plan}"


def qr_picture(text: str) -> str:
    """A QR code as an address that a picture can have; dark on light in every colour scheme."""
    import segno  # few pages show a code

    return segno.make(text, error="l", micro=False).svg_data_uri(scale=5, border=4, dark="#000", light="#fff")


async def _chatgpt(context: Context, folder: Folder | None) -> AsyncGenerator[SignInEvent]:
    home = context.services.home
    codex = await find_program("codex")
    if codex is None:
        yield SignInFailed(reason="Codex is not on this machine yet", hint="nanoclaw image build --engine bubblewrap")
        return
    issuer = load_secrets(home).get(_ISSUER)
    events = sign_in_to_codex(home, codex, context.services.clock, device=True, issuer=issuer, folder=folder)
    async with aclosing(events):
        async for event in events:
            yield event


def _step(events: list[SignInEvent | EndedBadly]) -> dict[str, Any]:
    """How far a sign-in is, for the template."""
    match events[-1] if events else None:
        case SignInStarted() as started:
            return {"is": "started", "told": started, "picture": qr_picture(started.url)}
        case SignInDone(account=account):
            return {"is": "done", "title": method_title(account)}
        case SignInFailed(reason=reason, hint=hint) | EndedBadly(reason=reason, hint=hint):
            return {"is": "failed", "reason": reason, "hint": hint}
        case _:
            return {"is": "beginning"}
