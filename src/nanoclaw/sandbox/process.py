"""Programs that are run for what they say: the sandboxes, and commands.

Each runs in a process group of its own, with pipes for its three streams. Stderr is always drained, so that nobody
blocks on it, and only its end is kept. Stdout is read as fast as it is asked for. Nothing waits for ever, and leaving a
context leaves no process behind.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, cast

import anyio

from nanoclaw.errors import SandboxError, WireError
from nanoclaw.sandbox.pipes import Pipes

GRACE_SECONDS: Final = 2.0
"""From the end of its stdin to SIGTERM: what a runner needs to end its CLI and itself."""

_TERM_SECONDS = 1.0  # from SIGTERM to SIGKILL: only well-behaved programs need it, and they need little
_KILL_SECONDS = 5.0  # a killed process is gone at once, unless the kernel waits for a disk
_DRAIN_SECONDS = 1.0  # what is left in a pipe is read at once
_SEND_SECONDS = 30.0  # a reader that has not emptied a pipe for so long never will
_MAX_OUTPUT = 16 << 20  # no command that we run for its answer has a longer one

Explain = Callable[[int, str], SandboxError | None]
"""From exit status and end of stderr to why the sandbox never started; None when it did start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletedCommand:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str
    """Its last 64 KiB."""


class Process:
    """A started process; it is a `SandboxProcess`."""

    def __init__(self, pipes: Pipes, explain: Explain) -> None:
        self._pipes = pipes
        self._explain = explain
        self._stdin = cast("asyncio.WriteTransport", pipes.transport.get_pipe_transport(0))
        self.killed = False
        """Whether it had to be ended from outside."""

    async def receive(self) -> bytes:
        """What stdout has, waiting for at least a byte; raises `EndOfStream` at its end."""
        data = await self._pipes.read()
        if not data:
            raise anyio.EndOfStream
        return data

    def post(self, data: bytes) -> None:
        """Write to stdin without waiting; nothing happens when it is gone."""
        if not self._stdin.is_closing():
            self._stdin.write(data)

    async def flushed(self) -> None:
        """Return when most of what was posted is read; raises `BrokenResourceError` when that does not come about."""
        with anyio.move_on_after(_SEND_SECONDS) as patience:
            await self._pipes.writable.wait()
        if self._stdin.is_closing() or patience.cancelled_caught:
            raise anyio.BrokenResourceError

    async def send_line(self, line: bytes) -> None:
        """Write one line to stdin.

        Raises:
            SandboxError: it is gone, never started, or has not read for half a minute.
        """
        if not self._stdin.is_closing():
            self._stdin.write(line + b"\n")
            with anyio.move_on_after(_SEND_SECONDS):
                await self._pipes.writable.wait()
        if self._stdin.is_closing() or self._pipes.exited.is_set():
            raise await self._gone()
        if not self._pipes.writable.is_set():
            raise SandboxError("the sandbox does not read its input", retryable=True)

    async def lines(self, limit: int) -> AsyncIterator[bytes]:
        """Stdout line by line, to its end.

        Raises:
            WireError: a line is longer than `limit` bytes.
            SandboxError: it never started.
        """
        silent = True
        rest = bytearray()
        while data := await self._pipes.read():
            silent = False
            first, *others = data.split(b"\n")
            rest += first
            for piece in others:
                if len(rest) > limit:
                    break
                yield bytes(rest)
                rest = bytearray(piece)
            if len(rest) > limit:
                raise WireError(f"a line on stdout is longer than {limit} bytes")
        if rest:
            yield bytes(rest)
        if silent and (error := await self._why_not_started()):
            raise error

    def stderr_tail(self) -> str:
        """The last 64 KiB of stderr so far."""
        return self._pipes.stderr.decode("utf-8", "replace")

    async def close_stdin(self) -> None:
        """Let it see the end of its input, after what was already sent."""
        self._stdin.close()

    async def wait(self) -> int:
        """Exit status; 128 + n when signal n ended it."""
        await self._pipes.exited.wait()
        status = cast("int", self._pipes.transport.get_returncode())
        return status if status >= 0 else 128 - status

    async def drained(self) -> None:
        """Wait, after its end, for what it wrote last; not for what its orphans may still write."""
        with anyio.move_on_after(_DRAIN_SECONDS):
            await self._pipes.finished.wait()

    async def read_all(self, limit: int) -> bytes:
        """Stdout to its end.

        Raises:
            SandboxError: it is longer than `limit` bytes.
        """
        found = bytearray()
        while data := await self._pipes.read():
            found += data
            if len(found) > limit:
                raise SandboxError(f"a command printed more than {limit} bytes")
        return bytes(found)

    def write_all(self, data: bytes) -> None:
        """Give it `data` and then the end of its input."""
        self._stdin.write(data)
        self._stdin.close()

    async def stop(self, grace: float) -> None:
        """End it, gently for `grace` seconds, and free what it held. Bounded; the caller shields it."""
        self._stdin.close()
        await self._exits_within(grace)
        for number, seconds in ((signal.SIGTERM, _TERM_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
            if not self._pipes.exited.is_set():
                self.killed = True
                self._signal_group(number)
                await self._exits_within(seconds)
        if self.killed:
            self._signal_group(signal.SIGKILL)  # whoever of its group outlived it
            self._pipes.discard_stdout()
            await self.drained()  # its pipes end with the last of its descendants
        self._pipes.transport.close()

    async def _exits_within(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._pipes.exited.wait()

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pipes.transport.get_pid(), number)

    async def _gone(self) -> SandboxError:
        with anyio.move_on_after(_KILL_SECONDS):
            if error := await self._why_not_started():
                return error
        return SandboxError("the sandbox ended before it took its input", last_line(self.stderr_tail()), retryable=True)

    async def _why_not_started(self) -> SandboxError | None:
        status = await self.wait()
        await self.drained()
        return self._explain(status, self.stderr_tail())


def last_line(text: str) -> str:
    """The last line that says something, in 500 characters at most."""
    return next((line.strip()[-500:] for line in reversed(text.splitlines()) if line.strip()), "")


def _no_explanation(_status: int, _stderr: str) -> None:
    return None


@asynccontextmanager
async def open_process(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    pass_fds: Sequence[int] = (),
    grace: float = GRACE_SECONDS,
    explain: Explain = _no_explanation,
    merge_stderr: bool = False,
) -> AsyncGenerator[Process]:
    """Run `argv` with exactly `env` for as long as the context lasts, and `grace` seconds more when it ends by itself.

    Args:
        pass_fds: file descriptors that it inherits under the same numbers.
        explain: tells a start that failed from a program that failed.
        merge_stderr: stderr goes where stdout goes.

    Raises:
        SandboxError: the program cannot be executed.
    """
    pipes = Pipes()
    try:
        await asyncio.get_running_loop().subprocess_exec(
            lambda: pipes,
            *argv,
            env=env,
            pass_fds=pass_fds,
            start_new_session=True,
            stderr=asyncio.subprocess.STDOUT if merge_stderr else asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise not_run(argv, error) from error
    process = Process(pipes, explain)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await process.stop(grace)


async def run_command(
    argv: Sequence[str], env: Mapping[str, str], seconds: float, input: bytes | None = None
) -> CompletedCommand:
    """Run a command to its end; any exit status is an answer.

    Raises:
        SandboxError: it cannot be executed, is not done after `seconds`, or prints more than 16 MiB.
    """
    stderr = ""
    with anyio.move_on_after(seconds):
        async with open_process(argv, env, grace=0) as process:
            try:
                process.write_all(input or b"")
                stdout = await process.read_all(_MAX_OUTPUT)
                status = await process.wait()
                await process.drained()
            finally:
                stderr = process.stderr_tail()
        return CompletedCommand(returncode=status, stdout=stdout.decode("utf-8", "replace"), stderr=stderr)
    raise _too_slow(argv, seconds, last_line(stderr))


async def command_lines(argv: Sequence[str], env: Mapping[str, str], seconds: float) -> AsyncGenerator[str]:
    """What a long command prints, stderr too, a line at a time while it runs.

    Raises:
        SandboxError: it cannot be executed, is not done after `seconds`, or fails; the hint is its last line.
    """
    deadline = anyio.current_time() + seconds
    line: bytes | None = None
    status: int | None = None
    last = ""
    async with open_process(argv, env, grace=0, merge_stderr=True) as process:
        process.write_all(b"")
        lines = process.lines(_MAX_OUTPUT)
        while status is None:
            with anyio.CancelScope(deadline=deadline) as scope:
                line = await anext(lines, None)
                status = await process.wait() if line is None else None
            if scope.cancelled_caught:
                raise _too_slow(argv, seconds, last)
            if line is not None:
                text = line.decode("utf-8", "replace").rstrip()
                last = text or last
                yield text
    if status:
        raise SandboxError(f"`{_brief(argv)}` failed with status {status}", last)


def _too_slow(argv: Sequence[str], seconds: float, last: str) -> SandboxError:
    return SandboxError(f"`{_brief(argv)}` was not done after {seconds:g} s", last, retryable=True)


def not_run(argv: Sequence[str], error: OSError) -> SandboxError:
    """What is said of a program that cannot be executed."""
    return SandboxError(f"{argv[0]} cannot be run: {error.strerror}", f"is {argv[0]} installed?")


def _brief(argv: Sequence[str]) -> str:
    return " ".join(argv[:3])
