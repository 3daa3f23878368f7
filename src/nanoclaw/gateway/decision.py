"""What becomes of a request: pure. A group's network policy will be one more argument of `decide`."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

import h11

from nanoclaw.providers import PROVIDERS, ProviderName
from nanoclaw.wire import RELAY_PORT

Headers = list[tuple[bytes, bytes]]

PORTS: Final = {"http": 80, "https": 443}
"""The ports that are open outside, by scheme."""

_CHATGPT_API: Final = "chatgpt"
_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade".split()
)
_WRITTEN_ANEW: Final = frozenset((b"host", b"content-length", b"expect"))
_CREDENTIALS: Final = frozenset((b"authorization", b"x-api-key", b"chatgpt-account-id"))
_OWN_ADDRESS: Final = re.compile(rf"\Ahttp://(127\.0\.0\.1|localhost):{RELAY_PORT}(?=/)", re.IGNORECASE)
_HOST_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_METHODS: Final = frozenset(b"DELETE GET HEAD OPTIONS PATCH POST PUT".split())
"""What may be asked of a provider; TRACE would send the credential back."""
_PORT: Final = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Route:
    """What one group may reach, decided anew for each run."""

    provider: ProviderName
    base_url: str
    """Where the provider's API is; the only kind of address that may be a private one."""
    headers: Mapping[str, str]
    """Credential headers to add, names in lower case; empty: the client's own pass through."""
    chatgpt_base_url: str | None
    """Where the ChatGPT backend is, for a ChatGPT login."""

    def __repr__(self) -> str:
        return f"Route({self.provider}, {self.base_url}, headers={sorted(self.headers)}, {self.chatgpt_base_url})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """Send `head` and what follows it to `host`, and stream the answer back."""

    to: str
    """For the log: the API's name, or the host's."""
    tls: bool
    host: str
    port: int
    public: bool
    """Whether the host must have a public address."""
    head: h11.Request = field(repr=False)

    @property
    def body_bytes(self) -> int | None:
        """How long the body says it is; None: it comes in chunks."""
        headers = dict(self.head.headers)
        return None if b"transfer-encoding" in headers else int(headers.get(b"content-length", b"0"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tunnel:
    """Connect to `host`, which must have a public address, and pass bytes both ways."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this status, and a sentence that says what happened and what to do."""

    status: int
    sentence: str
    to: str = ""
    """For the log: the host that was asked for, if it is one."""


Decision = Forward | Tunnel | Refuse


class Refused(Exception):
    """A refusal that is found only while a request is carried out."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.refuse = Refuse(status, sentence)


def decide(head: h11.Request, route: Route) -> Decision:
    """What becomes of a request from a group's sandbox.

    Args:
        head: what the sandbox asks for; hostile.
        route: what its group may reach.
    """
    target = _OWN_ADDRESS.sub("", head.target.decode("ascii"))
    headers = {name: value.lower() for name, value in head.headers}
    if b"content-length" in headers and b"transfer-encoding" in headers:
        return Refuse(400, "the request states its length twice; send Content-Length or Transfer-Encoding, not both")
    if head.method == b"CONNECT":
        return _tunnel(target, headers)
    if headers.get(b"upgrade") == b"websocket":
        return Refuse(426, "web sockets cannot pass here; use plain HTTP requests, or CONNECT")
    if "#" in target:
        return Refuse(400, "the address contains a fragment; leave away what begins with #")
    if target.startswith("/"):
        return _to_provider(head, target, route)
    return _to_public(head, target)


def passed_back(response: h11.Response) -> Headers:
    """The headers of an answer that go on to the client."""
    drop = _HOP_BY_HOP | _named_by_connection(response.headers)
    if any(name == b"transfer-encoding" for name, _ in response.headers):
        drop |= {b"content-length"}
    return [(name, value) for name, value in response.headers if name not in drop]


def _tunnel(target: str, headers: Mapping[bytes, bytes]) -> Tunnel | Refuse:
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        return Refuse(400, "CONNECT takes no body; send the bytes after the answer")
    address = _authority(target, default_port=None)
    if address is None:
        return Refuse(400, "CONNECT needs host:port, for example example.com:443")
    host, port = address
    return _refused_port(host, port) or Tunnel(host=host, port=port)


def _to_provider(head: h11.Request, target: str, route: Route) -> Forward | Refuse:
    path, mark, query = target.partition("?")
    api, _, rest = path[1:].partition("/")
    bases = {PROVIDERS[route.provider].api: route.base_url}
    if route.chatgpt_base_url is not None:
        bases[_CHATGPT_API] = route.chatgpt_base_url
    if api not in bases:
        known = " and ".join(f"/{name}/" for name in bases)
        return Refuse(404, f"this group's provider is {route.provider}: only addresses below {known} lead anywhere")
    if head.method not in _METHODS:
        return Refuse(405, "this method leads nowhere; use GET or POST")
    if not {".", ".."}.isdisjoint(unquote(rest).replace("\\", "/").split("/")):
        return Refuse(400, "the path contains . or .. segments; write it out")
    base = urlsplit(bases[api])
    path = f"{base.path.rstrip('/')}/{rest}" if rest else base.path or "/"
    drop = _CREDENTIALS if route.headers else frozenset[bytes]()
    return Forward(
        to=api,
        tls=base.scheme == "https",
        host=base.hostname or "",
        port=base.port or PORTS[base.scheme],
        public=False,
        head=_rewritten(head, path + mark + query, host=base.netloc, drop=drop, add=route.headers),
    )


def _to_public(head: h11.Request, target: str) -> Forward | Refuse:
    if not target.lower().startswith("http://"):
        return Refuse(400, "the gateway takes /<api>/... for a provider, http://... for a page, and CONNECT for https")
    authority = re.split("[/?]", target[len("http://") :], maxsplit=1)[0]
    address = _authority(authority, default_port=PORTS["http"])
    if address is None:
        return Refuse(400, "the address names no host that can be")
    host, port = address
    path = target[len("http://") + len(authority) :]
    return _refused_port(host, port) or Forward(
        to=host,
        tls=False,
        host=host,
        port=port,
        public=True,
        head=_rewritten(head, path if path.startswith("/") else f"/{path}", host=authority, drop=frozenset(), add={}),
    )


def _refused_port(host: str, port: int) -> Refuse | None:
    if port in PORTS.values():
        return None
    return Refuse(403, f"port {port} of {host} is not open from here; only 443 and 80 are", to=host)


def _authority(text: str, *, default_port: int | None) -> tuple[str, int] | None:
    """`host[:port]` as (host in lower case, port); None if it is none. Names, IPv4, and IPv6 in brackets."""
    host, colon, digits = text.lower().rpartition(":")
    if not colon or digits.endswith("]"):
        host, digits = text.lower(), str(default_port or "")
    if not _PORT.fullmatch(digits) or not 0 < int(digits) < 1 << 16:
        return None
    if host.startswith("[") and host.endswith("]") and "%" not in host:
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(digits)
        except ValueError:
            return None
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        return None
    return host.rstrip("."), int(digits)


def _rewritten(
    head: h11.Request, target: str, *, host: str, drop: AbstractSet[bytes], add: Mapping[str, str]
) -> h11.Request:
    """The request as it leaves: nothing that was meant for this hop, framing and Host written anew."""
    added: Headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in add.items()]
    drop = _HOP_BY_HOP | _WRITTEN_ANEW | _named_by_connection(head.headers) | drop | {name for name, _ in added}
    kept = [(name, value) for name, value in head.headers if name not in drop]
    framing = [(name, value) for name, value in head.headers if name in (b"content-length", b"transfer-encoding")]
    headers = [(b"host", host.encode("ascii")), *kept, *framing, *added]
    return h11.Request(method=head.method, target=target, headers=headers)


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    values = (value.lower() for name, value in headers if name == b"connection")
    return {token.strip() for value in values for token in value.split(b",")}
