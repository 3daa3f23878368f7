"""The way to the public network: names are resolved here, and only checked addresses are connected to."""

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import SocketStream

from nanoclaw.gateway.decision import Refused
from nanoclaw.hosts import Pattern

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to addresses; raises `OSError` when there are none."""
Judge = Callable[[Address], bool]
"""Whether a sandbox may reach an address."""

_ATTEMPT_SECONDS: Final = 5.0  # for one address of several: a dead one must not use up the time of the others
_SPECIAL_V4: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's metadata, at an address that looks public
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # Teredo and others that wrap or stand for something else
        "2001:db8::/32",
        "2002::/16",  # 6to4: wraps an IPv4 address
        "3fff::/20",
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_PRIVATE: Final = tuple(
    ip_network(block)
    for block in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # Tailscale's and others' own networks
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
_METADATA: Final = frozenset(map(ip_address, ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")))
"""Of clouds, where it does not lie at a link-local address."""


def is_public(address: Address) -> bool:
    """Whether an address is one that anybody on the internet could reach; unknown kinds are not.

    The blocks are written out because what `ipaddress` calls global differs between versions of Python.
    """
    address = _unwrapped(address)
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _SPECIAL_V4)
    return address in _GLOBAL_V6 and not any(address in block for block in _SPECIAL_V6)


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:  # how networks without IPv4 reach it
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_own(address: Address) -> bool:
    """Whether an address, public or not, is this machine's: behind it is everything that listens here."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))  # a datagram socket sends nothing; the kernel only picks the way
            return ip_address(probe.getsockname()[0]) == address
    except OSError:
        return False


def is_allowed(address: Address, is_own: Judge = is_own) -> bool:
    """What a sandbox may reach: every public address but this machine's own."""
    return is_public(address) and not is_own(address)


def may_be_private(address: Address) -> bool:
    """What a host that the owner has named as private may have for an address: a private one too, this machine's
    included, but no link-local one and no cloud's metadata."""
    address = _unwrapped(address)
    if address in _METADATA:
        return False
    return is_public(address) or any(address in block for block in _PRIVATE)


async def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, in a thread that nobody waits for: the event loop has few to lend, and a slow name
    would hold up everybody's. Each group has an allowance of lookups."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await anyio.to_thread.run_sync(ask, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Network:
    """Connects to hosts by name."""

    def __init__(
        self, resolve: Resolve = system_resolve, judge: Judge = is_allowed, judge_private: Judge = may_be_private
    ) -> None:
        """The system's network, unless told otherwise.

        Args:
            resolve: how a name is looked up.
            judge: which addresses may be connected to.
            judge_private: likewise, for hosts that may have a private address.
        """
        self._resolve = resolve
        self._judge = judge
        self._judge_private = judge_private

    async def connect(self, host: str, port: int, lookups: anyio.CapacityLimiter, *, private: bool) -> SocketStream:
        """Connect to the first address of a host that answers, all of them having been found allowed.

        Args:
            host: a name or an address.
            port: where it listens.
            lookups: how many names its group may have looked up at once.
            private: whether it may have a private address.

        Raises:
            Refused: one of its addresses is not allowed, or none can be reached.
        """
        try:
            async with lookups:
                found = [ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, UnicodeError) as error:
            what = f"the name {host} does not resolve; check it, and this machine's network"
            raise Refused(502, what, "unreachable") from error
        judge = self._judge_private if private else self._judge
        if not all(judge(address) for address in found):
            raise Refused(403, _inside(host, port, private=private), "address")
        for address in sorted(found, key=lambda address: address.version):  # no route for one family fails at once
            with anyio.move_on_after(_ATTEMPT_SECONDS):
                try:
                    return await anyio.connect_tcp(address, port)
                except OSError:
                    continue
        raise Refused(502, f"{host} cannot be reached on port {port}; it may be down", "unreachable")


def _inside(host: str, port: int, *, private: bool) -> str:
    if private:
        return f"{host} leads to an address that is never open: link-local, or a cloud's metadata"
    return (
        f"{host} leads to a private network or to this machine itself, and only public addresses are open;"
        f" the owner can open it: {Pattern(host, port)} in network.private of nanoclaw.toml"
    )
