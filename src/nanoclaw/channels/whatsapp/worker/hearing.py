"""What the server owes us: whether it still answers, and whether it still brings us what is ours. Pure."""

from typing import Final

_DELIVERED: Final = frozenset({"message", "receipt", "notification", "presence", "chatstate", "call"})
"""What others, or the server by itself, send us; a connection can bring answers, and none of these."""


class Hearing:
    """Times are seconds of one clock. Any thread may call it: each call reads or writes one number at a time."""

    def __init__(self, *, quiet: float, silence: float, echo: float, now: float) -> None:
        """After `quiet` without a sign of life the server is to be asked for one. A connection is silent when nothing
        was delivered for `silence`, or for `echo` after a message of ours, for which at least a receipt is due."""
        self._quiet = quiet
        self._silence = silence
        self._echo = echo
        self.connected(now)

    def connected(self, now: float) -> None:
        """A new connection: nothing is owed."""
        self._sign_at = self._delivered_at = now
        self._owed_since: float | None = None

    def heard(self, stanza: str, now: float) -> None:
        """Something came."""
        if stanza != "iq":  # answers to pings are the library's concern
            self._sign_at = now
        if stanza in _DELIVERED:
            self._delivered_at = now
            self._owed_since = None

    def answered(self, now: float) -> None:
        """The server has answered us."""
        self._sign_at = now

    def sent(self, now: float) -> None:
        """A message of ours leaves."""
        if self._owed_since is None:
            self._owed_since = now

    def idle(self, now: float) -> float:
        """For how long there has been no sign of life."""
        return now - self._sign_at

    def is_quiet(self, now: float) -> bool:
        """Whether the server should be asked."""
        return self.idle(now) > self._quiet

    def is_silent(self, now: float) -> bool:
        """Whether something should have come, or nothing has for so long that one had better make sure."""
        owed = self._owed_since
        return now - self._delivered_at > self._silence or (owed is not None and now - owed > self._echo)
