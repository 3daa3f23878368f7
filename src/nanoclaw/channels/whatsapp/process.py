"""A worker process and the socket to it: started here, ended for certain here."""

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

import anyio
from anyio.abc import Process, SocketStream

from nanoclaw.channels.whatsapp.protocol import VERSION, Frame, ProtocolError, Start, Unpacker, pack
from nanoclaw.errors import ChannelUnavailable

WORKER: Final = "nanoclaw.channels.whatsapp.worker"
DEFAULT_COMMAND: Final = (sys.executable, "-m")
"""What the worker's module is given to."""
SAY_SECONDS: Final = 10.0
"""A worker that does not read for so long hangs."""

_PASSED: Final = (
    "PATH", "HOME", "TMPDIR", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
"""Of the host's environment; nothing secret."""
_GRACE_SECONDS: Final = 1.0  # to end by itself, once its socket has ended
_KILL_SECONDS: Final = 5.0  # a killed process is gone at once, unless the kernel waits for a disk
_CHUNK: Final = 1 << 16
_LARGEST_LOG: Final = 4 << 20  # bytes; the library writes where it likes, and little


class WorkerGone(Exception):
    """It has ended, or is not heard any more."""


class Worker:
    """A running worker: frames both ways."""

    def __init__(self, process: Process, stream: SocketStream) -> None:
        self._process = process
        self._stream = stream
        self._unpacker = Unpacker()
        self._speaking = anyio.Lock()

    @property
    def pid(self) -> int:
        """Its process, which leads a group of its own."""
        return self._process.pid

    async def say(self, what: str, **fields: object) -> None:
        """Tell it to do something.

        Raises:
            WorkerGone: it cannot be told.
        """
        data = pack({"v": VERSION, "do": what, **fields})
        try:
            with anyio.fail_after(SAY_SECONDS, shield=True):  # half a frame would end the protocol
                async with self._speaking:
                    await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError) as error:
            raise WorkerGone from error

    async def listen(self, silence: float) -> list[Frame]:
        """What it says next: nothing once it has ended.

        Raises:
            WorkerGone: it has said nothing for `silence` seconds.
            ProtocolError: what it says makes no sense.
        """
        frames: list[Frame] = []
        while not frames:
            try:
                with anyio.fail_after(silence):
                    data = await self._stream.receive(_CHUNK)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return []
            except TimeoutError as error:
                raise WorkerGone from error
            frames = list(self._unpacker.feed(data))
        if any(frame.get("v") != VERSION for frame in frames):
            raise ProtocolError(f"it speaks version {frames[0].get('v')!r}")
        return frames

    async def status(self) -> int | None:
        """How it ended, once its socket has; None if it did not within its grace."""
        with anyio.move_on_after(_GRACE_SECONDS):
            return await self._process.wait()
        return None

    def kill(self) -> None:
        """End it now; whoever waits for it sees its socket end."""
        _kill(self._process)


@asynccontextmanager
async def open_worker(
    directory: Path, log: Path, start: Start, environment: Mapping[str, str], command: Sequence[str] = DEFAULT_COMMAND
) -> AsyncGenerator[Worker]:
    """Run a worker on the session in `directory` for as long as the context lasts.

    Args:
        directory: private; holds the session and the spool.
        log: takes what the worker and its library print.
        start: its first orders.
        environment: the host's; only what a network connection needs is passed on.
        command: what the module's name is appended to.

    Raises:
        ChannelUnavailable: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, _opened(log) as output:
        arguments = ["--directory", os.fspath(directory), "--fd", str(theirs.fileno())]
        try:
            process = await anyio.open_process(
                [*command, WORKER, *arguments],
                stdin=-3,
                stdout=output,
                stderr=output,
                env=_environment(environment),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            raise ChannelUnavailable(f"the WhatsApp worker cannot be started: {error}") from error
        theirs.close()
        stream: SocketStream | None = None
        try:
            stream = await SocketStream.from_socket(ours)
            worker = Worker(process, stream)
            with suppress(WorkerGone):  # the first look at its frames tells
                await worker.say("start", **asdict(start))
            yield worker
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process, stream)


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    passed = {name: environment[name] for name in _PASSED if name in environment}
    return {**passed, "NEONIZE_BOT_TAG": "off"}  # without it every message says that a bot sent it


def _opened(log: Path) -> IO[Any]:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = "ab" if not log.exists() or log.stat().st_size < _LARGEST_LOG else "wb"
    file = log.open(mode)
    log.chmod(0o600)
    return file


async def _end(process: Process, stream: SocketStream | None) -> None:
    """The end of its socket ends it; if not, it is killed."""
    if stream is not None:
        with suppress(OSError):
            await stream.aclose()
    with anyio.move_on_after(_GRACE_SECONDS):
        await process.wait()
    _kill(process)
    with anyio.move_on_after(_KILL_SECONDS):
        await process.wait()


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
