"""The provider's CLI as a process: started in a group of its own, its output read, ended for certain."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

TERM_PATIENCE: Final = 1.0
"""Seconds that a CLI has to save its state after SIGTERM; the host waits two until it ends the runner itself."""
KILL_PATIENCE: Final = 0.5
"""Seconds for the kernel to end what was killed; only a process that is stuck in a device takes longer."""
_POLL: Final = 0.005
_MAX_LINE_BYTES: Final = 16 << 20
"""A longer line comes in pieces, which are no JSON and are ignored: a CLI that runs wild cannot fill the memory."""
_STDERR_TAIL_BYTES: Final = 8 << 10
_STDERR_PATIENCE: Final = 0.5
"""Seconds to wait for the end of stderr: something that the CLI left behind may hold it open."""

_running: "set[Cli]" = set()
"""What a stop has to find, whatever the provider is doing at that moment."""


class Cli:
    """One started CLI. By `os.posix_spawn`: the `subprocess` module costs more to import than the start itself."""

    def __init__(self, argv: list[str], environment: dict[str, str], stdin: bytes | None = None) -> None:
        """Start it; descriptors that were made inheritable are handed down.

        Args:
            argv: its first word is looked up on the runner's own PATH.
            environment: the whole of it.
            stdin: what it reads; None: a pipe, whose other end is the attribute `stdin`.

        Raises:
            FileNotFoundError: there is no such CLI.
        """
        self.stdin = -1
        if stdin is None:
            child_in, self.stdin = os.pipe()
        else:
            child_in = _as_file(stdin)
        self.stdout, child_out = os.pipe()
        stderr, child_err = os.pipe()
        streams = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((child_in, child_out, child_err))]
        self.pid = os.posix_spawnp(
            argv[0],
            argv,
            environment,
            file_actions=streams,
            setpgroup=0,
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores them, and a child inherits that
        )
        for fd in (child_in, child_out, child_err):
            os.close(fd)
        _running.add(self)
        self._status = 0
        self._stderr_tail = b""
        self._stderr = threading.Thread(target=self._copy_stderr, args=(stderr,), name="stderr", daemon=True)
        self._stderr.start()

    def lines(self) -> Iterator[bytes]:
        """Its stdout line by line, as they come, to its end."""
        file = os.fdopen(self.stdout, "rb", closefd=False)  # a CLI whose reader goes away dies before it has saved
        while line := file.readline(_MAX_LINE_BYTES):
            yield line

    def wait(self, patience: float) -> int:
        """Its exit status (negative: the signal that ended it), after at most `patience` seconds, when it is killed."""
        if self in _running:
            if not self._wait(patience):
                self.kill()
            _running.discard(self)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def kill(self) -> None:
        """End its process group: ask, and after a while insist. What is gone already is no error."""
        self._signal(signal.SIGTERM)
        self._wait(TERM_PATIENCE)
        self._signal(signal.SIGKILL)
        self._wait(KILL_PATIENCE)

    def stderr_tail(self) -> str:
        """The last of what it wrote to stderr; to be asked once it has ended."""
        self._stderr.join(_STDERR_PATIENCE)
        return self._stderr_tail.decode("utf-8", "replace").strip()

    def _wait(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while True:
            try:
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    return True
            except ChildProcessError:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _copy_stderr(self, fd: int) -> None:
        while chunk := os.read(fd, 1 << 16):
            os.write(2, chunk)
            self._stderr_tail = (self._stderr_tail + chunk)[-_STDERR_TAIL_BYTES:]


def kill_running() -> None:
    """End every CLI that runs."""
    for cli in tuple(_running):
        cli.kill()


def _as_file(data: bytes) -> int:
    """An open file with `data`: unlike a pipe, it can be filled before there is a reader."""
    fd = os.memfd_create("stdin")
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
