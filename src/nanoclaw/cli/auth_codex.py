"""`nanoclaw auth login codex`: shows what a sign-in says, in the terminal."""

import shutil
import sys
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Final

import anyio

from nanoclaw.cli.auth_view import AGAIN, local_time, stopped
from nanoclaw.cli.qr import qr_lines
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, has_screen, load_secrets
from nanoclaw.errors import CredentialError, UsageError
from nanoclaw.model import Folder
from nanoclaw.sandbox.toolkit import build_toolkit
from nanoclaw.signin.codex import sign_in_to_codex
from nanoclaw.signin.events import SignInDone, SignInEvent, SignInFailed, SignInStarted
from nanoclaw.signin.programs import find_program

_ISSUER: Final = "CHATGPT_ISSUER_URL"
_TICK_SECONDS: Final = 1.0
_NO_SCREEN: Final = """\
This machine has no screen that a browser could open on, and a browser elsewhere cannot finish this way of signing in.
Press Ctrl-C and run `nanoclaw auth login codex --device` instead.
"""


def log_in(home: Home, folder: Folder | None, *, device: bool) -> None:
    """Sign in to ChatGPT, by a browser here or by a code.

    Raises:
        CredentialError: it did not come to a login.
        SandboxError: codex could not be fetched.
        UsageError: a sign-in service in place of OpenAI's, without `device`.
    """
    issuer = load_secrets(home).get(_ISSUER)
    if issuer and not device:
        raise UsageError(f"{_ISSUER} is set, and Codex takes it for codes alone", "add --device")
    try:
        anyio.run(_log_in, home, folder, device, issuer)
    except KeyboardInterrupt:
        raise stopped() from None


async def _log_in(home: Home, folder: Folder | None, device: bool, issuer: str | None) -> None:
    codex = await find_program("codex") or await _fetch()
    events = sign_in_to_codex(home, codex, SystemClock(), device=device, issuer=issuer, folder=folder)
    end: SignInEvent | None = None
    async with anyio.create_task_group() as waiting:
        async with aclosing(events):
            async for event in events:
                end = event
                if isinstance(event, SignInStarted):
                    _show(event)
                    waiting.start_soon(_count_down, event.expires_at, name="countdown")
        waiting.cancel_scope.cancel()
    match end:
        case SignInDone():
            return
        case SignInFailed(reason=reason, hint=hint):
            raise CredentialError(reason, hint)
        case _:
            raise CredentialError("codex ended without a word", AGAIN)


async def _fetch() -> Path:
    print("Codex is not on this machine yet; it is fetched once, some 400 MB.", flush=True)
    async for line in build_toolkit():
        print(f"  {line}", flush=True)
    codex = await find_program("codex")
    assert codex is not None
    return codex


def _show(started: SignInStarted) -> None:
    if started.code is None:
        if not has_screen():
            print(_NO_SCREEN)
        print(f"Sign in to ChatGPT in the browser. If none opens, open this yourself:\n\n  {started.url}\n", flush=True)
        return
    print(f"Open this address in a browser, on any machine, and sign in to ChatGPT:\n\n  {started.url}\n")
    for line in qr_lines(started.url, shutil.get_terminal_size().columns - 2) if sys.stdout.isatty() else ():
        print(f"  {line}")
    print(
        f"\nEnter this code there:\n\n  {started.code}\n\nNever enter a code that somebody else gave you.\n", flush=True
    )


async def _count_down(until: datetime) -> None:
    """Say that it goes on, and for how long it can."""
    if not sys.stdout.isatty():
        print(f"Waiting for you, until {local_time(until)}.", flush=True)
        return
    clock = SystemClock()
    try:
        while True:
            left = max(0, int((until - clock.now()).total_seconds()))
            print(f"\rWaiting for you; {left // 60}:{left % 60:02} left. Ctrl-C ends it. ", end="", flush=True)
            await anyio.sleep(_TICK_SECONDS)
    finally:
        print("\r\x1b[K", end="", flush=True)
