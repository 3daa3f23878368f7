"""A command as a person runs it: in a terminal, reading what it shows, typing, pressing Ctrl-C."""

import os
import re
import select
import subprocess
import termios
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

_SECONDS: Final = 60.0  # until a text appears: everything here takes a second or two, a busy machine takes its time
_CONTROL: Final = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;?<>=]*[A-Za-z]|\x1b.")


class AtTerminal:
    """A program that runs in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], handle: int) -> None:
        self.process = process
        self.shown = ""
        """Everything so far, with its control sequences."""
        self._handle = handle

    @property
    def text(self) -> str:
        """Everything so far, as a person reads it."""
        return _CONTROL.sub("", self.shown)

    def read_until(self, pattern: str) -> re.Match[str]:
        """Wait until this is shown."""
        deadline = time.monotonic() + _SECONDS
        while not (match := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"{pattern!r} did not appear in:\n{self.text}"
            assert self._read(deadline), f"it ended without {pattern!r}:\n{self.text}"
        return match

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._handle, text.encode())

    def end(self) -> int:
        """Wait for its end, reading on; its exit code."""
        deadline = time.monotonic() + _SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(_SECONDS)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._handle], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._handle, 1 << 16) if ready else b""
        except OSError:  # nobody is at the other side any more
            data = b""
        self.shown += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def at_terminal(argv: Sequence[str], env: Mapping[str, str], columns: int = 120) -> Generator[AtTerminal]:
    """Run a program in a terminal of so many columns; it is ended with the context."""
    handle, side = os.openpty()
    termios.tcsetwinsize(side, (50, columns))
    # setsid makes the terminal the program's own, so that Ctrl-C reaches it
    process = subprocess.Popen(("setsid", "--ctty", *argv), stdin=side, stdout=side, stderr=side, env=dict(env))
    os.close(side)
    try:
        yield AtTerminal(process, handle)
    finally:
        process.kill()
        process.wait()
        os.close(handle)
