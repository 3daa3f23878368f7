"""How long a connection may bring nothing before it is made anew, to be sure that it is not deaf. Pure."""

from typing import Final

SILENCE_SECONDS: Final = 600.0
"""One that answers and delivers nothing cannot be told from a quiet evening but by connecting again: then the server
sends what it has kept back. Ten minutes, then twice as long each time that nothing had been kept back."""
ECHO_SECONDS: Final = 60.0
"""A message of ours brings receipts, within seconds if anybody's phone is on. With the time of a look and of a new
connection well below two minutes."""
_LONGEST_SECONDS: Final = 3600.0


class Silence:
    """Patience that grows while it proves right."""

    def __init__(self, seconds: float, echo: float) -> None:
        """Seconds without anything delivered; seconds without it after a message of ours."""
        self._first = seconds
        self._first_echo = echo
        self._seconds = seconds
        self.renewed_at: float | None = None

    @property
    def seconds(self) -> float:
        """How long nothing may come."""
        return self._seconds

    @property
    def echo(self) -> float:
        """How long nothing may come after a message of ours: nobody's phone may be on, so one try is enough."""
        return self._first_echo if self._seconds == self._first else self._seconds

    def renewed(self, at: float) -> None:
        """The connection is made anew, as it brought nothing; `at`: seconds since 1970."""
        self._seconds = max(self._first, min(_LONGEST_SECONDS, 2 * self._seconds))
        self.renewed_at = at

    def broken(self) -> None:
        """Something came."""
        self._seconds = self._first
