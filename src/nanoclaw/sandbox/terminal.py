"""Programs that want to talk to a person, run at a terminal of ours."""

import asyncio
import os
import signal
import termios
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio

from nanoclaw.sandbox.process import not_run

_ROWS: Final = 50  # of a terminal that nobody sees
_AT_ONCE: Final = 1 << 20
_KILL_SECONDS: Final = 5.0  # a killed process is gone at once, unless the kernel waits for a disk


class Terminal:
    """What a program that wants to talk to a person is given for one."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    async def read(self) -> str:
        """What it showed since the last time, with every control sequence; nothing once it has ended."""
        await anyio.wait_readable(self._handle)
        try:
            return os.read(self._handle, _AT_ONCE).decode("utf-8", "replace")
        except OSError:  # Linux: the other side is closed
            return ""

    def write(self, text: str) -> None:
        """Type a line, or less: a terminal always has room for that."""
        os.write(self._handle, text.encode())


@asynccontextmanager
async def open_terminal(argv: Sequence[str], env: Mapping[str, str], columns: int) -> AsyncGenerator[Terminal]:
    """Run `argv` with exactly `env` at a terminal that is `columns` wide, for as long as the context lasts.

    Raises:
        SandboxError: the program cannot be executed.
    """
    handle, side = os.openpty()
    termios.tcsetwinsize(side, (_ROWS, columns))
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env=env, stdin=side, stdout=side, stderr=side, start_new_session=True
        )
    except OSError as error:
        os.close(handle)
        raise not_run(argv, error) from error
    finally:
        os.close(side)
    try:
        yield Terminal(handle)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with anyio.move_on_after(_KILL_SECONDS, shield=True):
            await process.wait()
        os.close(handle)
