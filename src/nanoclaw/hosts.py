"""Hosts by name: what may stand on a list of hosts, and what it matches. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Self

DEFAULT_PORTS: Final = (80, 443)
"""What a pattern without a port means."""
_ANY_PORT: Final = 0

_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_LONGEST_NAME: Final = 253
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that makes a resolver read the whole as an IPv4 address."""
_PORT: Final = re.compile(r"[0-9]{1,5}")
_RIGHT: Final = "a host is written like github.com, *.example.org (all below it), example.org:8443 or [2001:db8::1]:443"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of a list of hosts; `str` is how it is written."""

    host: str
    """As `canonical_host` answers it."""
    port: int | None = None
    below: bool = False
    """All names below the host, at any depth, and not the host itself."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'*.' if self.below else ''}{host}{'' if self.port is None else f':{self.port}'}"


@dataclass(frozen=True, slots=True)
class Rules:
    """Patterns, ready to be asked: a look-up for each label of a name, however many patterns there are."""

    exact: frozenset[tuple[str, int]] = frozenset()
    below: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def allowing(cls, patterns: Iterable[Pattern]) -> Self:
        """A pattern without a port means the usual ports."""
        return cls._of(patterns, DEFAULT_PORTS)

    @classmethod
    def denying(cls, patterns: Iterable[Pattern]) -> Self:
        """A pattern without a port means every port."""
        return cls._of(patterns, (_ANY_PORT,))

    @classmethod
    def _of(cls, patterns: Iterable[Pattern], without_port: tuple[int, ...]) -> Self:
        each = [
            (pattern.below, (pattern.host, port))
            for pattern in patterns
            for port in (without_port if pattern.port is None else (pattern.port,))
        ]
        return cls(
            frozenset(pair for below, pair in each if not below), frozenset(pair for below, pair in each if below)
        )

    def match(self, host: str, port: int) -> bool:
        """Whether a pattern covers this canonical host at this port."""
        if (host, port) in self.exact or (host, _ANY_PORT) in self.exact:
            return True
        while self.below and (dot := host.find(".")) >= 0:
            host = host[dot + 1 :]
            if (host, port) in self.below or (host, _ANY_PORT) in self.below:
                return True
        return False


def canonical_host(text: str) -> str | None:
    """One spelling for one host: lower case, no trailing dot, Punycode, addresses in their shortest form; None: it is
    no host. IPv6 addresses come with or without brackets and are answered without; what a resolver would read as an
    IPv4 address must be one in its usual form."""
    if text.startswith("[") or text.count(":") > 1:
        try:
            return str(IPv6Address(text.removeprefix("[").removesuffix("]"))) if "%" not in text else None
        except ValueError:
            return None
    name = _in_ascii(text).lower().removesuffix(".")
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        return None
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(IPv4Address(name))
        except ValueError:
            return None
    return name


def split_authority(text: str, default_port: int | None = None) -> tuple[str, int] | None:
    """`host[:port]`, an IPv6 address in brackets, as (canonical host, port); None: it is none, or has no port."""
    host, colon, digits = text.rpartition(":")
    if not colon or digits.endswith("]"):
        host, digits = text, str(default_port or "")
    if not _PORT.fullmatch(digits) or not 0 < int(digits) < 1 << 16:
        return None
    if (":" in host) != (host.startswith("[") and host.endswith("]")):
        return None
    canonical = canonical_host(host)
    return None if canonical is None else (canonical, int(digits))


def parse_pattern(text: str) -> Pattern:
    """An entry of a list of hosts. Raises `ValueError`, which says what would be right."""
    below = text.startswith("*.")
    rest = text.removeprefix("*.").strip()
    host, port = (rest, None) if _is_bare_host(rest) else (split_authority(rest) or ("", None))
    canonical = canonical_host(host)
    if canonical is None or (below and (_is_address(canonical) or "." not in canonical)):
        raise ValueError(f"{text!r} is no host; {_RIGHT}")
    return Pattern(canonical, port, below)


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`, nothing else. Raises `ValueError`, which says what would be right."""
    address = split_authority(text.strip())
    if address is None:
        raise ValueError(f"{text!r} is no host with a port; write it like nas.home:8080")
    return address


def _is_bare_host(text: str) -> bool:
    return ":" not in text or text.endswith("]") or (text.count(":") > 1 and not text.startswith("["))


def _is_address(canonical: str) -> bool:
    return ":" in canonical or bool(_NUMBER.fullmatch(canonical.rpartition(".")[2]))


def _in_ascii(text: str) -> str:
    """The name as it goes over the wire; unchanged if it cannot."""
    if text.isascii():
        return text
    import idna  # 3 ms, for the few lists that need it

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError:
        return text
