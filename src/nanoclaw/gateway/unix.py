"""Unix sockets that others connect to.

anyio's own unix streams report an error to the event loop when a wait for data is cancelled in the moment in which data
comes (4.16; its TCP streams do not), and here that is how every request ends. These wait by `anyio.wait_readable`.
"""

import os
import resource
import socket
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from nanoclaw.errors import SandboxError
from nanoclaw.wire import AGENT_UID

_BACKLOG: Final = 128
_OPEN_FILES: Final = 8192  # 64 connections of 60 groups, two files each


class UnixStream(ByteStream):
    """One accepted connection."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes, at most so many; raises `EndOfStream` when the other end has closed."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while True:
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                waited = True
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                if not waited:  # a flood must not keep everybody else waiting; what was read must not be lost
                    await anyio.lowlevel.cancel_shielded_checkpoint()
                if data:
                    return data
                raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        """Return when the system has taken all of it."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(item)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """Say that no more will come."""
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close; nobody may be waiting on it."""
        self._socket.close()


def listen(path: Path) -> socket.socket:
    """Listen on a socket that only the agent's user can connect to; a stale one is replaced.

    The directory lets everybody through, the socket decides: its mode is 0600, and its owner is whoever agents run as.
    That is our own user; when we are root, agents are not, so it is given to theirs.

    Raises:
        SandboxError: the socket cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        _prepare(path.parent)
        path.unlink(missing_ok=True)
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(path, AGENT_UID, -1)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SandboxError(f"the gateway's socket {path} cannot be made: {error.strerror or error}") from error
    except SandboxError:
        listener.close()
        raise
    return listener


async def accept(listener: socket.socket) -> UnixStream:
    """The next connection. Raises `OSError` when the system has no room for it."""
    await anyio.lowlevel.checkpoint()  # a flood must not keep everybody else waiting
    while True:
        try:
            connected, _ = listener.accept()
        except BlockingIOError:
            await anyio.wait_readable(listener)
        else:
            return UnixStream(connected)


def make_room() -> None:
    """Let this process have as many open files as the gateways of many groups need, where the system permits it: the
    usual limit of 1,024 is a small one for a service, and is there for programs that use `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _prepare(directory: Path) -> None:
    """Make `<sockets>/gateway/<folder>` our own, and refuse `<sockets>` if somebody else prepared it: it may lie in
    /tmp. Whoever owns one of these could put a socket, or a link, of their own there."""
    sockets = directory.parent.parent
    sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {sockets.lstat().st_uid, sockets.stat().st_uid} != {os.geteuid()}:
        raise SandboxError(f"{sockets} belongs to another user", "remove it, or run the host as its owner")
    directory.mkdir(parents=True, exist_ok=True)
    os.chown(directory, os.geteuid(), -1)
    directory.chmod(0o711)
