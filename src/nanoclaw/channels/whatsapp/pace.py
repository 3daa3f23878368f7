"""How fast we may write, so that WhatsApp does not take us for a machine that floods. Pure."""

from collections import deque
from typing import Final

_MINUTE: Final = 60.0


class Pace:
    """Remembers when we wrote where. Times are seconds of any clock that does not go back."""

    def __init__(self, pause: float, per_chat_minute: int) -> None:
        """`pause`: seconds between two messages, on average. `per_chat_minute`: to one chat in a minute, at most."""
        self._pause = pause
        self._limit = max(1, per_chat_minute)
        self._last = -_MINUTE
        self._sent: dict[str, deque[float]] = {}

    def wait(self, chat: str, now: float, chance: float) -> float:
        """Seconds to wait before the next message to `chat`: none after a rest. `chance`, 0 ≤ chance < 1, varies the
        pause between a half and one and a half."""
        recent = self._recent(chat, now)
        crowded = recent[0] + _MINUTE - now if len(recent) >= self._limit else 0.0
        return max(0.0, self._last + self._pause * (0.5 + chance) - now, crowded)

    def sent(self, chat: str, now: float) -> None:
        """A message to `chat` has just gone."""
        self._last = now
        self._recent(chat, now).append(now)
        self._sent = {name: times for name, times in self._sent.items() if times and times[-1] > now - _MINUTE}

    def _recent(self, chat: str, now: float) -> deque[float]:
        times = self._sent.setdefault(chat, deque())
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        return times
