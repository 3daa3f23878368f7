"""The way to the public network: names are resolved here, and only checked addresses are connected to."""

import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import anyio
from anyio.abc import SocketStream

from nanoclaw.gateway.decision import Refused

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


def is_public(address: Address) -> bool:
    """Whether an address is one that anybody on the internet could reach; unknown kinds are not.

    The blocks are written out because what `ipaddress` calls global differs between versions of Python.
    """
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _SPECIAL_V4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:  # how networks without IPv4 reach it
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_V6 and not any(address in block for block in _SPECIAL_V6)


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


async def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Network:
    """Connects to public hosts."""

    def __init__(self, resolve: Resolve = system_resolve, judge: Judge = is_allowed) -> None:
        self._resolve = resolve
        self._judge = judge

    async def connect(self, host: str, port: int) -> SocketStream:
        """Connect to the first address of a host that answers, all of them having been found allowed.

        Raises:
            Refused: one of its addresses is not allowed, or none can be reached.
        """
        try:
            found = [ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, UnicodeError) as error:
            raise Refused(502, f"the name {host} does not resolve; check it, and this machine's network") from error
        if not all(self._judge(address) for address in found):
            raise Refused(
                403, f"{host} is an address of a private network or of this machine; only public ones are open"
            )
        for address in sorted(found, key=lambda address: address.version):  # no route for one family fails at once
            with anyio.move_on_after(_ATTEMPT_SECONDS):
                try:
                    return await anyio.connect_tcp(address, port)
                except OSError:
                    continue
        raise Refused(502, f"{host} cannot be reached on port {port}; it may be down")
