"""What a provider says that an answer cost, read off the stream as it passes: no I/O, and nothing is changed."""

import json
import re
from typing import Final, Literal, cast

import h11

from nanoclaw.model import TokenUsage

_LONGEST: Final = 512 << 10  # of an event or a whole answer, which takes some 5 ms; OpenAI's last event repeats it all
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_MOST_TOKENS: Final = 1 << 40
_EVENTS: Final = b"text/event-stream"
_WHOLE: Final = b"application/json"


class UsageReader:
    """Reads one answer: OpenAI's Responses and Anthropic's Messages, streamed or whole.

    Whatever is not understood, too long or compressed counts as nothing.
    """

    def __init__(self) -> None:
        self._kind: Literal["events", "whole"] | None = None
        self._pending = bytearray()
        self._too_long = False
        self._found: dict[str, int] = {}

    def begin(self, answer: h11.Response) -> None:
        """The answer's head."""
        headers = dict(answer.headers)
        if answer.status_code != 200 or headers.get(b"content-encoding", b"identity").lower() != b"identity":
            return
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        self._kind = "events" if kind == _EVENTS else "whole" if kind == _WHOLE else None

    def feed(self, data: bytes) -> None:
        """The next piece of its body."""
        if self._kind is None:
            return
        start = 0
        if self._kind == "events":
            while (end := data.find(b"\n", start)) >= 0:
                self._keep(data[start:end])
                self._read()
                start = end + 1
        self._keep(data[start:])

    def usage(self) -> TokenUsage | None:
        """What it cost; None if nothing was said about it. To be asked when the answer is over."""
        self._read()
        if not self._found:
            return None
        found = self._found.get
        if "cache_read_input_tokens" in self._found or "cache_creation_input_tokens" in self._found:
            cached = found("cache_read_input_tokens", 0)  # Anthropic counts these beside the input tokens
            taken = found("input_tokens", 0) + cached + found("cache_creation_input_tokens", 0)
        else:
            cached, taken = found("cached_tokens", 0), found("input_tokens", 0)
        return TokenUsage(input_tokens=taken, cached_input_tokens=cached, output_tokens=found("output_tokens", 0))

    def _keep(self, piece: bytes) -> None:
        if len(self._pending) + len(piece) > _LONGEST:
            self._too_long = True
            self._pending.clear()
        elif not self._too_long:
            self._pending += piece

    def _read(self) -> None:
        text = b"" if self._too_long else bytes(self._pending)
        self._pending.clear()
        self._too_long = False
        if self._kind == "events":
            if not text.startswith(b"data:"):
                return
            text = text.removeprefix(b"data:")
        if not _USAGE.search(text):
            return
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return
        self._look_into(value)

    def _look_into(self, value: object) -> None:
        """Both APIs have `usage` at the top, or one step below; what comes later repeats what came before, or more."""
        for at in (value, _inner(value, "message"), _inner(value, "response")):
            usage = _inner(at, "usage")
            for key, number in {**usage, **_inner(usage, "input_tokens_details")}.items():
                if type(number) is int and 0 <= number < _MOST_TOKENS:
                    self._found[key] = max(number, self._found.get(key, 0))


def _inner(value: object, key: str) -> dict[str, object]:
    """The object under this key; an empty one if there is none."""
    inner = cast("dict[str, object]", value).get(key) if isinstance(value, dict) else None
    return cast("dict[str, object]", inner) if isinstance(inner, dict) else {}
