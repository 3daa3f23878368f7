"""`nanoclaw auth login claude`: leads through `claude setup-token`."""

import shutil
import sys
from pathlib import Path

import anyio

from nanoclaw.cli.auth_view import stopped
from nanoclaw.cli.qr import qr_lines
from nanoclaw.config import Home
from nanoclaw.credentials.accounts import sign_in_directory
from nanoclaw.signin.claude import make_claude_token
from nanoclaw.signin.programs import find_program


def subscription_token(home: Home) -> str | None:
    """A new token of the person's Claude subscription; None when there is no claude on this machine to make it.

    Raises:
        CredentialError: it did not come to a token.
    """
    claude = anyio.run(find_program, "claude")
    if claude is None:
        return None
    try:
        token = anyio.run(_make, home, claude)
    except KeyboardInterrupt:
        token = None
    if token is None:
        raise stopped()
    return token


async def _make(home: Home, claude: Path) -> str | None:
    with sign_in_directory(home) as directory:
        return await make_claude_token(claude, directory, _show, _ask)


def _show(address: str) -> None:
    print(f"Open this address in a browser, and sign in to Claude:\n\n  {address}\n")
    for line in qr_lines(address, shutil.get_terminal_size().columns - 2):
        print(f"  {line}")
    print("\nThe browser then shows a code, with a # in its middle.\n", flush=True)


async def _ask() -> str | None:
    while True:
        print("Code: ", end="", flush=True)
        await anyio.wait_readable(sys.stdin)  # a whole line, as a terminal gives it
        line = sys.stdin.readline()
        if "#" in line or not line:
            return line.strip() or None
        print("That is not the whole code: copy all of it, including the # in its middle.")
