"""How much one sandbox may ask of the gateway, and how long anything may take."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Limits of one group's socket; tests pass smaller ones."""

    connections: int = 64
    """At once. A CLI uses a handful, a browser some thirty."""
    connections_per_second: int = 100
    """New ones; more wait. A connection that asks nothing costs the host a tenth of a millisecond, too."""
    provider_requests_per_minute: int = 1200
    """To the group's own provider; a CLI makes some ten."""
    lookups: int = 4
    """Names looked up at once: each is a thread, and may hang for as long as the system's resolver likes."""
    pause_seconds: float = 1.0
    """Before a request that comes too soon is answered, so that repeating it at once costs the host nothing."""
    head_bytes: int = 64 << 10
    """A request's or an answer's head; a sign-in token alone is several KiB."""
    body_bytes: int = 64 << 20
    """A request's body: the providers themselves take half as much."""
    connect_seconds: float = 15.0
    """Name, connection and TLS together, on a slow line."""
    head_seconds: float = 30.0
    """From a request's first byte to the end of its head: it comes from the same machine."""
    header_seconds: float = 120.0
    """From the last byte of a request to the head of its answer: a model may think before it streams."""
    idle_seconds: float = 300.0
    """Without a byte either way, also between requests; providers send signs of life far more often."""
    drain_seconds: float = 5.0
    """For the rest of a body nobody wants, so that the connection can go on."""
    keep_seconds: float = 60.0
    """An unused connection to a provider: the next run begins without a TLS handshake; servers keep them longer."""
    keep_connections: int = 8
    """Unused connections kept to one provider: several runs at once."""
