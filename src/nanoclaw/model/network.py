"""What sandboxes ask of the network."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from nanoclaw.model.names import Folder
from nanoclaw.model.run import TokenUsage

NetworkVerdict = Literal["allowed", "refused", "failed"]
NetworkReason = Literal[
    "provider",  # the group's own
    "listed",  # a list allows the host
    "open",  # every public host is allowed
    "private",  # a list allows it, and the settings let it have a private address
    "policy",  # no list allows the host, or one denies it; also of a connection that was closed for that
    "address",  # its address is a private one, or this machine's
    "rate",  # too many requests
    "volume",  # too many bytes today
    "request",  # it was no request that can be carried out
    "unreachable",  # it was allowed, and could not be reached
]
"""The first four allow, the last is a failure, the others refuse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkDecision:
    """What became of one request, or one connection, from a sandbox. No path, no query, no header."""

    at: datetime
    """When it was over."""
    folder: Folder
    host: str
    """Empty where none could be made out."""
    port: int
    verdict: NetworkVerdict
    reason: NetworkReason
    uploaded: int = 0
    """Bytes from the sandbox."""
    downloaded: int = 0
    ms: int = 0
    status: int = 0
    """HTTP's; 0: there was none."""
    usage: TokenUsage | None = None
    """Where the provider has said what it cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCounts:
    """What a group did within a day (UTC)."""

    requests: int = 0
    """To any host but the provider."""
    refused: int = 0
    """Of these."""
    uploaded: int = 0
    """Bytes, to any host but the provider."""
    downloaded: int = 0
    provider_requests: int = 0
    provider_uploaded: int = 0
    provider_downloaded: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    """Of the input tokens."""
    output_tokens: int = 0
