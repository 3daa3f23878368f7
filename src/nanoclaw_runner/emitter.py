"""Events on their way to the host."""

import json
import os
import threading
from typing import Final

from nanoclaw.wire import Done, Failed, RunnerEvent

MAX_TEXT_CHARACTERS: Final = 150_000
"""Longer texts are cut: six bytes a character at worst keeps the line below `wire.MAX_EVENT_BYTES`."""
_CUT_NOTE = "\n[cut: the text was too long]"


class Emitter:
    """Writes events to the host, a line each, from any thread. A run has exactly one end: the first to claim it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._writing = threading.Lock()
        self._end = threading.Lock()

    def __call__(self, event: RunnerEvent) -> None:
        """Emit what happens during the run; dropped once its end is claimed."""
        with self._writing:
            if not self._end.locked():
                self._write(event)

    def claim_end(self) -> bool:
        """Whether the caller is the first to end the run; only it may then call `end`."""
        return self._end.acquire(blocking=False)

    def end(self, event: Done | Failed) -> None:
        """Emit the run's last event."""
        with self._writing:
            self._write(event)

    def _write(self, event: RunnerEvent) -> None:
        shown = dict(event)
        text = shown.get("text")
        if isinstance(text, str) and len(text) > MAX_TEXT_CHARACTERS:
            shown["text"] = text[:MAX_TEXT_CHARACTERS] + _CUT_NOTE
        line = json.dumps(shown, ensure_ascii=False) + "\n"
        rest = memoryview(line.encode("utf-8", "replace"))  # a lone surrogate is no text
        while rest:
            rest = rest[os.write(self._fd, rest) :]
