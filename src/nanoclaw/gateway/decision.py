"""What becomes of a request: pure."""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

import h11

from nanoclaw.gateway.policy import Policy, Reach
from nanoclaw.hosts import split_authority
from nanoclaw.model import NetworkReason
from nanoclaw.providers import PROVIDERS, ProviderName
from nanoclaw.wire import RELAY_PORT

Headers = list[tuple[bytes, bytes]]

PORTS: Final = {"http": 80, "https": 443}
"""The usual ports, by scheme."""

_CHATGPT_API: Final = "chatgpt"
_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade".split()
)
_WRITTEN_ANEW: Final = frozenset((b"host", b"content-length", b"expect"))
_READABLE: Final = {"accept-encoding": "identity"}  # what a provider answers is read for what it cost
_CREDENTIALS: Final = frozenset((b"authorization", b"x-api-key", b"chatgpt-account-id"))
_OWN_ADDRESS: Final = re.compile(rf"\Ahttp://(127\.0\.0\.1|localhost):{RELAY_PORT}(?=/)", re.IGNORECASE)
_METHODS: Final = frozenset(b"DELETE GET HEAD OPTIONS PATCH POST PUT".split())
"""What may be asked of a provider; TRACE would send the credential back."""


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
    reach: Reach | Literal["provider"]
    """Why it may be reached."""
    head: h11.Request = field(repr=False)

    @property
    def body_bytes(self) -> int | None:
        """How long the body says it is; None: it comes in chunks."""
        headers = dict(self.head.headers)
        return None if b"transfer-encoding" in headers else int(headers.get(b"content-length", b"0"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tunnel:
    """Connect to `host` and pass bytes both ways."""

    host: str
    port: int
    reach: Reach
    """Why it may be reached."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this status, and a sentence that says what happened and what to do."""

    status: int
    sentence: str
    reason: NetworkReason = "request"
    host: str = ""
    """The host that was asked for, if it is one."""
    port: int = 0


Decision = Forward | Tunnel | Refuse


class Refused(Exception):
    """A refusal that is found only while a request is carried out."""

    def __init__(self, status: int, sentence: str, reason: NetworkReason = "request") -> None:
        super().__init__(sentence)
        self.refuse = Refuse(status, sentence, reason)


def decide(head: h11.Request, route: Route, policy: Policy) -> Decision:
    """What becomes of a request from a group's sandbox.

    Args:
        head: what the sandbox asks for; hostile.
        route: the way to its group's provider.
        policy: what its group may reach besides.
    """
    target = _OWN_ADDRESS.sub("", head.target.decode("ascii"))
    headers = {name: value.lower() for name, value in head.headers}
    if b"content-length" in headers and b"transfer-encoding" in headers:
        return Refuse(400, "the request states its length twice; send Content-Length or Transfer-Encoding, not both")
    if head.method == b"CONNECT":
        return _tunnel(target, headers, policy)
    if headers.get(b"upgrade") == b"websocket":
        return Refuse(426, "web sockets cannot pass here; use plain HTTP requests, or CONNECT")
    if "#" in target:
        return Refuse(400, "the address contains a fragment; leave away what begins with #")
    if target.startswith("/"):
        return _to_provider(head, target, route)
    return _to_host(head, target, policy)


def passed_back(response: h11.Response) -> Headers:
    """The headers of an answer that go on to the client."""
    drop = _HOP_BY_HOP | _named_by_connection(response.headers)
    if any(name == b"transfer-encoding" for name, _ in response.headers):
        drop |= {b"content-length"}
    return [(name, value) for name, value in response.headers if name not in drop]


def _tunnel(target: str, headers: Mapping[bytes, bytes], policy: Policy) -> Tunnel | Refuse:
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        return Refuse(400, "CONNECT takes no body; send the bytes after the answer")
    address = split_authority(target)
    if address is None:
        return Refuse(400, "CONNECT needs host:port, for example example.com:443")
    host, port = address
    reach = policy.reach(host, port)
    return Tunnel(host=host, port=port, reach=reach) if reach else _off_limits(policy, host, port)


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
        reach="provider",
        head=_rewritten(head, path + mark + query, host=base.netloc, drop=drop, add={**route.headers, **_READABLE}),
    )


def _to_host(head: h11.Request, target: str, policy: Policy) -> Forward | Refuse:
    if not target.lower().startswith("http://"):
        return Refuse(400, "the gateway takes /<api>/... for a provider, http://... for a page, and CONNECT for https")
    authority = re.split("[/?]", target[len("http://") :], maxsplit=1)[0]
    address = split_authority(authority, PORTS["http"])
    if address is None:
        return Refuse(400, "the address names no host that can be")
    host, port = address
    reach = policy.reach(host, port)
    if reach is None:
        return _off_limits(policy, host, port)
    path = target[len("http://") + len(authority) :]
    return Forward(
        to=host,
        tls=False,
        host=host,
        port=port,
        reach=reach,
        head=_rewritten(head, path if path.startswith("/") else f"/{path}", host=authority, drop=frozenset(), add={}),
    )


def _off_limits(policy: Policy, host: str, port: int) -> Refuse:
    return Refuse(403, policy.refusal(host, port), "policy", host, port)


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
