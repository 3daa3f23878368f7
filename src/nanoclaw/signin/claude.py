"""`claude setup-token`, driven at a terminal of its own: at the person's it could not be left with Ctrl-C."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio

from nanoclaw.config import sign_in_environment
from nanoclaw.errors import CredentialError
from nanoclaw.sandbox.terminal import Terminal, open_terminal

_COLUMNS: Final = 1000  # so that no address and no token is broken into lines
_BEGIN_SECONDS: Final = 60.0  # until the address is shown: the program's start on a busy machine
_ANSWER_SECONDS: Final = 900.0  # a person looks for a password, reads mail, confirms
_AGAIN: Final = "run the command again"
_SETTINGS: Final = {
    "TERM": "xterm-256color",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
}

_CONTROL: Final = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;?<>=]*[A-Za-z]|\x1b.")
_ADDRESS: Final = re.compile(r"(https://\S+/oauth/authorize\?\S+)(?=\s)")
_END: Final = re.compile(r"(?P<token>sk-ant-oat\d\d-[\w-]{20,})(?=\s)|✘ (?:OAuth error: )?(?P<error>.+?\.)(?=\s)")

Show = Callable[[str], None]
Ask = Callable[[], Awaitable[str | None]]


async def make_claude_token(program: Path, directory: Path, show: Show, ask: Ask) -> str | None:
    """Have `claude setup-token` make a long-lived token of a subscription.

    Args:
        program: the claude to run.
        directory: a private one for its state; nothing of the person's own is touched.
        show: is given the address that the person must open.
        ask: answers the code that the person is shown there, or None to stop; a browser on this machine may make the
            code needless, and then it is cancelled.

    Returns:
        The token; None when the person stopped.

    Raises:
        CredentialError: it did not come to a token.
        SandboxError: the program cannot be run.
    """
    environment = sign_in_environment() | _SETTINGS | {"CLAUDE_CONFIG_DIR": str(directory)}
    token: str | None = None
    async with open_terminal((str(program), "setup-token"), environment, _COLUMNS) as terminal:
        screen = _Screen(terminal)
        show((await screen.wait_for(_ADDRESS, _BEGIN_SECONDS))[1])
        async with anyio.create_task_group() as asking:
            asking.start_soon(_enter, terminal, ask, asking.cancel_scope, name="code")
            end = await screen.wait_for(_END, _ANSWER_SECONDS)
            if end["error"]:
                raise CredentialError(f"claude did not sign in: {end['error']}", _AGAIN)
            token = end["token"]
            asking.cancel_scope.cancel()
    return token


async def _enter(terminal: Terminal, ask: Ask, everything: anyio.CancelScope) -> None:
    code = await ask()
    if code is None:
        everything.cancel()
    else:
        terminal.write(f"{code}\r")


class _Screen:
    """All that a program has shown, as words."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._shown = ""

    async def wait_for(self, pattern: re.Pattern[str], seconds: float) -> re.Match[str]:
        """The first match.

        Raises:
            CredentialError: the program ended before, or takes longer.
        """
        with anyio.move_on_after(seconds):
            while more := await self._terminal.read():
                self._shown += more
                if match := pattern.search(_CONTROL.sub(" ", self._shown)):
                    return match
        raise CredentialError("`claude setup-token` did not come to a token", _AGAIN)
