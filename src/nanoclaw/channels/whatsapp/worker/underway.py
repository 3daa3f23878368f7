"""Messages that the library is decrypting or has decrypted, and that are not on the disk yet."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from typing import Final

_REMEMBERED: Final = 2048  # after a long absence the server sends hundreds at once
_STORE_SECONDS: Final = 3.0  # what has not come to the disk by then does not hold up what we send
_NAPS: Final = 40  # until the next millisecond: what one message changes and the next are not of the same
_NAP_SECONDS: Final = 0.000_1
_ENCRYPT_SECONDS: Final = 5.0  # what we send does not hold up for longer what comes


class Underway:
    """Knows since when what has changed the library's keys may not be on the disk yet. Any thread may call it.

    While such a message is under way nothing is encrypted, and the other way round: the keys of one person serve both
    directions, and could not be taken back for one alone.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        """`now`: the time by which the journal dates changes of the keys, in ms since 1970."""
        self._now = now
        self._changed = threading.Condition()
        self._heard: OrderedDict[str, str] = OrderedDict()
        self._begun: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._over: set[str] = set()
        self._sending = False
        self._nameless = count()

    def heard(self, attributes: dict[str, str]) -> None:
        """The server has sent a message with these attributes."""
        with self._changed:
            self._heard[attributes["id"]] = attributes.get("participant", attributes.get("from", ""))
            while len(self._heard) > _REMEMBERED:
                self._heard.popitem(last=False)

    def begins(self, sender: str) -> None:
        """The library will decrypt a message of this sender's when this returns: the next that was heard."""
        with self._changed:
            self._changed.wait_for(lambda: not self._sending, _ENCRYPT_SECONDS)
            mark = self._after_all()
            self._begun[self._next_of(sender)] = (mark, time.monotonic())
            while len(self._begun) > _REMEMBERED:
                self._begun.popitem(last=False)
            for _ in range(_NAPS):
                if self._now() >= mark:
                    break
                time.sleep(_NAP_SECONDS)

    def _after_all(self) -> int:
        """When nothing had changed yet that changes from now on."""
        return self._now() + 1

    def _next_of(self, sender: str) -> str:
        """They are decrypted in the order in which they came, but not every one is."""
        if sender not in self._heard.values():
            return f"?{next(self._nameless)}"
        while True:
            ext_id, by = self._heard.popitem(last=False)
            if by == sender:
                return ext_id

    def safe_with(self, ext_id: str) -> int:
        """All that changed keys before this moment (ms since 1970) is on the disk once this message is."""
        with self._changed:
            begun = list(self._begun)
            later = begun[begun.index(ext_id) + 1 :] if ext_id in self._begun else begun
            return self._begun[later[0]][0] if later else self._after_all()

    def stored(self, ext_id: str) -> None:
        """It is on the disk, and with it all that came before and will ever come."""
        with self._changed:
            if ext_id in self._begun:
                while self._begun.popitem(last=False)[0] != ext_id:
                    pass
            self._over &= self._begun.keys()
            self._changed.notify_all()

    def over(self, ext_id: str) -> int | None:
        """It will not be handed over, or had nothing to keep. Answers what `safe_with` does, if it is another now."""
        with self._changed:
            if ext_id not in self._begun:
                return None
            self._over.add(ext_id)
            first = next(iter(self._begun))
            while self._begun and next(iter(self._begun)) in self._over:
                self._over.discard(self._begun.popitem(last=False)[0])
            self._changed.notify_all()
            if first in self._begun:
                return None
            return next(iter(self._begun.values()))[0] if self._begun else self._after_all()

    @contextmanager
    def sending(self) -> Generator[Callable[[], None]]:
        """While something is encrypted: until the context ends, or what it gives is called."""
        with self._changed:
            self._changed.wait_for(self._is_idle, _STORE_SECONDS)
            self._sending = True
        try:
            yield self._sent
        finally:
            self._sent()

    def _is_idle(self) -> bool:
        recent = time.monotonic() - _STORE_SECONDS
        return all(at < recent or ext_id in self._over for ext_id, (_, at) in self._begun.items())

    def _sent(self) -> None:
        with self._changed:
            self._sending = False
            self._changed.notify_all()
