"""One group at the gateway: where it may go, how much it may do, what it has open, and what it did today."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import anyio

from nanoclaw.clock import Clock
from nanoclaw.config import NetworkSettings
from nanoclaw.gateway.bounds import Bounds
from nanoclaw.gateway.counts import added, counts_of
from nanoclaw.gateway.decision import Forward, Refused, Route, Tunnel
from nanoclaw.gateway.policy import Policy
from nanoclaw.model import Folder, NetworkCounts, NetworkDecision

Note = Callable[[NetworkDecision], None]
"""Told of every decision; must not block."""

_MEGABYTE: Final = 1_000_000
_MINUTE: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """What one group may do, besides talking to its provider."""

    requests_per_minute: int
    upload_bytes: int
    """A day (UTC)."""
    download_bytes: int

    @staticmethod
    def of(settings: NetworkSettings) -> "Quota":
        """As the settings say."""
        return Quota(
            requests_per_minute=settings.requests_per_minute,
            upload_bytes=settings.upload_megabytes_per_day * _MEGABYTE,
            download_bytes=settings.download_megabytes_per_day * _MEGABYTE,
        )


class Allowance:
    """So many at once, and as many again spread evenly over a period."""

    def __init__(self, count: int, seconds: float) -> None:
        self._most = float(count)
        self._per_second = count / seconds
        self._left = self._most
        self._since = anyio.current_time()

    def take(self) -> float:
        """Take one. Answers 0; or, if there is none, takes none and answers the seconds until there is one."""
        now = anyio.current_time()
        self._left = min(self._most, self._left + (now - self._since) * self._per_second)
        self._since = now
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0


class Account:
    """Changes while connections are open: each request is judged by the route and the policy of its moment."""

    def __init__(self, policy: Policy, *, quota: Quota, bounds: Bounds, clock: Clock, note: Note) -> None:
        self.policy = policy
        self.route: Route | None = None
        """None: nobody has opened the group's socket."""
        self.lookups = anyio.CapacityLimiter(bounds.lookups)
        self._quota = quota
        self._clock = clock
        self._note = note
        self._pause = bounds.pause_seconds
        self._requests = Allowance(quota.requests_per_minute, _MINUTE)
        self._provider_requests = Allowance(bounds.provider_requests_per_minute, _MINUTE)
        self._open: dict[anyio.CancelScope, tuple[str, int]] = {}
        self._day: date = clock.now().date()
        self._counts = NetworkCounts()
        self._volume = [0, 0]  # today's bytes up and down, those of open connections included

    def resume(self, day: date, counts: NetworkCounts) -> None:
        """Go on with what was counted earlier that day."""
        self._day = day
        self._counts = counts
        self._volume = [counts.uploaded, counts.downloaded]

    def follow(self, policy: Policy) -> None:
        """Put another policy in force, and close what it does not allow any more."""
        self.policy = policy
        for scope, place in list(self._open.items()):
            if policy.reach(*place) is None:
                scope.cancel()

    @contextmanager
    def passage(self, host: str, port: int) -> Generator[anyio.CancelScope]:
        """What happens inside is cut short when the policy stops to allow the host; the scope tells."""
        with anyio.CancelScope() as scope:
            self._open[scope] = (host, port)
            try:
                yield scope
            finally:
                del self._open[scope]

    async def admit(self, request: Forward | Tunnel | None) -> None:
        """Let a request go on; None is one that leads nowhere.

        Raises:
            Refused: there were too many of them, or too many bytes today.
        """
        self._turn_the_day()
        to_provider = request is not None and request.reach == "provider"
        if (self._provider_requests if to_provider else self._requests).take():
            await anyio.sleep(self._pause)
            raise Refused(429, "too many requests within a minute; wait, and ask for less at once", "rate")
        if request is not None and not to_provider and self.is_spent():
            raise Refused(429, self.spent_sentence(), "volume")

    def uploaded(self, count: int) -> None:
        """Bytes have gone to a host that is not the provider."""
        self._volume[0] += count

    def downloaded(self, count: int) -> None:
        """Bytes have come from one."""
        self._volume[1] += count

    def is_spent(self) -> bool:
        """Whether today's volume is used up."""
        return self._volume[0] >= self._quota.upload_bytes or self._volume[1] >= self._quota.download_bytes

    def spent_sentence(self) -> str:
        """What to say then."""
        way, most = (
            ("upload", self._quota.upload_bytes)
            if self._volume[0] >= self._quota.upload_bytes
            else ("download", self._quota.download_bytes)
        )
        return (
            f"this group's {way} of today, {most // _MEGABYTE} MB, is used up; it begins anew at midnight UTC."
            f" The owner can raise network.{way}_megabytes_per_day in nanoclaw.toml"
        )

    @property
    def folder(self) -> Folder:
        """Whose it is."""
        return self.policy.folder

    def now(self) -> datetime:
        """The time, for what is noted."""
        return self._clock.now()

    def note(self, decision: NetworkDecision) -> None:
        """Count a decision and pass it on."""
        self._turn_the_day()
        self._counts = added(self._counts, counts_of(decision))
        self._note(decision)

    def counts(self) -> NetworkCounts:
        """What was over by now of what was done today."""
        self._turn_the_day()
        return self._counts

    def _turn_the_day(self) -> None:
        today = self._clock.now().date()
        if today != self._day:
            self._day, self._counts, self._volume = today, NetworkCounts(), [0, 0]
