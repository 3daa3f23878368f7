"""Connections to servers. Those to providers are kept between requests, for all groups: they carry no group's state."""

import select
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from nanoclaw.gateway.bounds import Bounds
from nanoclaw.gateway.decision import Forward, Refused, Tunnel
from nanoclaw.gateway.network import Network
from nanoclaw.gateway.peer import Peer

_Server = tuple[bool, str, int]


class Pool:
    """Opens connections, keeps some, closes all when its context is left."""

    def __init__(self, network: Network, bounds: Bounds) -> None:
        self._network = network
        self._bounds = bounds
        self._kept: dict[_Server, list[tuple[float, Peer]]] = {}
        self._tls = ssl.create_default_context()  # the system's authorities, a company's own among them
        self._tls.set_alpn_protocols(["http/1.1"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.prune(0.0)

    @asynccontextmanager
    async def connection(self, forward: Forward, lookups: anyio.CapacityLimiter) -> AsyncGenerator[Peer]:
        """A connection for one request.

        Args:
            forward: what it is for.
            lookups: how many names its group may have looked up at once.

        Raises:
            Refused: on entering, when there is none to be had.
        """
        server = (forward.tls, forward.host, forward.port)
        to_provider = forward.reach == "provider"
        peer = await self._take(server) if to_provider else None
        if peer is None:
            stream = await (self._connect_provider(forward) if to_provider else self.connect(forward, lookups))
            peer = Peer(stream, h11.CLIENT, self._bounds.head_bytes)
        try:
            yield peer
        finally:
            if not to_provider or not self._keep(server, peer):
                await anyio.aclose_forcefully(peer.stream)

    async def connect(self, to: Forward | Tunnel, lookups: anyio.CapacityLimiter) -> SocketStream:
        """Connect to a host that is not the provider; raises `Refused`."""
        host, port = to.host, to.port
        try:
            with anyio.fail_after(self._bounds.connect_seconds):
                return await self._network.connect(host, port, lookups, private=to.reach == "private")
        except TimeoutError as error:
            raise _no_answer(host, port) from error

    async def prune(self, keep_seconds: float) -> None:
        """Close what has not been used for so long."""
        oldest = anyio.current_time() - keep_seconds
        for kept in list(self._kept.values()):
            over = [entry for entry in kept if entry[0] <= oldest]
            kept[:] = kept[len(over) :]  # the longest unused come first
            with anyio.CancelScope(shield=True):
                for _, peer in over:
                    await anyio.aclose_forcefully(peer.stream)

    async def _connect_provider(self, forward: Forward) -> ByteStream:
        host, port = forward.host, forward.port
        try:
            with anyio.fail_after(self._bounds.connect_seconds):
                if not forward.tls:
                    return await anyio.connect_tcp(host, port)
                return await anyio.connect_tcp(
                    host, port, ssl_context=self._tls, tls_hostname=host, tls_standard_compatible=False
                )
        except TimeoutError as error:
            raise _no_answer(host, port) from error
        except ssl.SSLCertVerificationError as error:
            raise _failed(f"the certificate of {host} is not trusted: {error.verify_message}") from error
        except (ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise _failed(f"{host}:{port} does not speak TLS; check the base URL") from error
        except (socket.gaierror, UnicodeError) as error:
            raise _failed(f"the name {host} does not resolve; check this machine's network") from error
        except OSError as error:
            raise _failed(f"{host}:{port} cannot be reached; check this machine's network, and the base URL") from error

    async def _take(self, server: _Server) -> Peer | None:
        kept = self._kept.get(server, [])
        oldest = anyio.current_time() - self._bounds.keep_seconds
        while kept:
            since, peer = kept.pop()
            if since > oldest and not _is_readable(peer.stream):
                return peer
            await anyio.aclose_forcefully(peer.stream)
        return None

    def _keep(self, server: _Server, peer: Peer) -> bool:
        kept = self._kept.setdefault(server, [])
        said_more = peer.http.trailing_data != (b"", False)  # it would be taken for the next answer
        if not peer.finished or said_more or len(kept) >= self._bounds.keep_connections:
            return False
        peer.http.start_next_cycle()
        kept.append((anyio.current_time(), peer))
        return True


def _is_readable(stream: ByteStream) -> bool:
    """Whether an unused connection has something to say, which can only be that it is over."""
    poll = select.poll()
    poll.register(stream.extra(SocketAttribute.raw_socket).fileno(), select.POLLIN)  # noqa: S610 - no Django
    return bool(poll.poll(0))


def _no_answer(host: str, port: int) -> Refused:
    return _failed(f"{host}:{port} does not answer; check this machine's network")


def _failed(sentence: str) -> Refused:
    return Refused(502, sentence, "unreachable")
