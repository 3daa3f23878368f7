"""The only door to time. All instants are aware UTC `datetime`s; durations are seconds."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the host learns what time it is; a test brings its own."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return datetime.now(UTC)


def iso(instant: datetime) -> str:
    """Shape of every instant in the database and in JSON: `2026-01-31T12:00:00.000000Z`, which sorts as text."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_iso(text: str) -> datetime:
    """Read an ISO 8601 instant; one without an offset is taken as UTC."""
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
