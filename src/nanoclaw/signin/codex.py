"""`codex login`, driven in a private directory: only a login that is complete replaces the one that there may be."""

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from nanoclaw.clock import Clock
from nanoclaw.config import Home, sign_in_environment
from nanoclaw.credentials.accounts import adopt_login, sign_in_directory
from nanoclaw.errors import CredentialError, SandboxError, WireError
from nanoclaw.model import Folder
from nanoclaw.sandbox.process import Process, open_process
from nanoclaw.signin.codex_words import plain, read_failure, read_start
from nanoclaw.signin.events import SignInDone, SignInEvent, SignInFailed, SignInStarted

_BEGIN_SECONDS: Final = 120.0  # until address and code are there: one request, over a bad line
_MARGIN_SECONDS: Final = 30.0  # what codex has beyond the time that it named, to end by itself
_LONGEST_LINE: Final = 64 << 10
_TOO_LATE: Final = SignInFailed(reason="nobody finished the sign-in while it could be done", hint="begin again")


async def sign_in_to_codex(
    home: Home, program: Path, clock: Clock, *, device: bool, issuer: str | None = None, folder: Folder | None = None
) -> AsyncGenerator[SignInEvent]:
    """Run `codex login` and make the login that it ends with the host's, or a group's own. Closing it breaks it off.

    Args:
        home: whose login it will be.
        program: the codex to run.
        clock: tells when it will be too late.
        device: by a code that is entered in a browser anywhere, instead of a browser on this machine.
        issuer: a sign-in service in place of OpenAI's; only with `device`.
        folder: of the group that is to have this login for itself.
    """
    command = _command(program, device, issuer)
    with sign_in_directory(home) as directory:
        environment = sign_in_environment() | {"CODEX_HOME": str(directory)}
        try:
            async with open_process(command, environment, grace=0, merge_stderr=True) as codex:
                dialogue = _Dialogue(codex, clock, device)
                if started := await dialogue.start():
                    yield started
                succeeded = await dialogue.end(started)
        except TimeoutError:
            yield _TOO_LATE
        except (SandboxError, WireError) as error:
            yield SignInFailed(reason=str(error), hint=error.hint)
        else:
            yield await _taken_over(home, directory, folder) if succeeded else read_failure(dialogue.text)


def _command(program: Path, device: bool, issuer: str | None) -> tuple[str, ...]:
    by_code = ("--device-auth", *(("--experimental_issuer", issuer) if issuer else ())) if device else ()
    return (str(program), "login", "-c", 'cli_auth_credentials_store="file"', *by_code)


class _Dialogue:
    """What codex says; nothing is said to it."""

    def __init__(self, codex: Process, clock: Clock, device: bool) -> None:
        self.text = ""
        self._codex = codex
        self._clock = clock
        self._device = device
        self._lines = codex.lines(_LONGEST_LINE)
        codex.write_all(b"")

    async def start(self) -> SignInStarted | None:
        """What the person is to do; None when it ended before. Raises `TimeoutError`."""
        with anyio.fail_after(_BEGIN_SECONDS):
            async for line in self._lines:
                self.text += plain(line) + "\n"
                if started := read_start(self.text, self._clock.now(), device=self._device):
                    return started
        return None

    async def end(self, started: SignInStarted | None) -> bool:
        """Whether it succeeded. Raises `TimeoutError` when the time that `started` names is over."""
        left = (started.expires_at - self._clock.now()).total_seconds() if started else 0.0
        with anyio.fail_after(left + _MARGIN_SECONDS):
            async for line in self._lines:
                self.text += plain(line) + "\n"
            return await self._codex.wait() == 0


async def _taken_over(home: Home, directory: Path, folder: Folder | None) -> SignInEvent:
    """Store it, whatever happens meanwhile: it exists nowhere else."""
    adopt = partial(adopt_login, home, directory / "auth.json", folder)
    try:
        return SignInDone(account=await anyio.to_thread.run_sync(adopt))  # a cancellation waits for a thread
    except CredentialError as error:
        return SignInFailed(reason=str(error), hint=error.hint)
