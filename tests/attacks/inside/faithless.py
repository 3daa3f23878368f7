"""In the runner's place: says to the host whatever it likes. What a speech is about comes with the run's prompt."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

FORGED: Final = "said by a faithless runner"
_MEGABYTE: Final = 1 << 20
_BLOCK: Final = b"x" * _MEGABYTE


def _line(**event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _huge(before: bytes, after: bytes) -> Iterator[bytes]:
    yield before
    for _ in range(100):
        yield _BLOCK
    yield after


def _one(*lines: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter(lines)


_USAGE: Final[dict[str, Any]] = {"type": "usage", "inputTokens": 1, "cachedInputTokens": 0, "outputTokens": 1}
_DONE: Final = _line(type="done")

SPEECHES: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "a done of a hundred megabytes": lambda: _huge(b'{"type":"done","sessionId":"', b'"}\n'),
    "a line of a hundred megabytes without an end": lambda: _huge(b"", b""),
    "outputs of a hundred megabytes": lambda: iter([_line(type="output", text="x" * 900_000)] * 115),
    "a line that is no JSON": _one(b"done\n"),
    "JSON that is no event": _one(_line(type="reply", text=FORGED)),
    "half an event": _one(b'{"type":"output","text":"'),
    "lists a hundred thousand deep": _one(b"[" * 100_000 + b"\n"),
    "bytes that are no text": _one(b'{"type":"output","text":"\xff\xfe"}\n'),
    "zero bytes": _one(b"\0" * 4096 + b"\n"),
    "an output that is no text": _one(_line(type="output", text={"a": 1}), _DONE),
    "tokens without measure": _one(_line(**{**_USAGE, "inputTokens": 10**40}), _DONE),
    "less than no cost": _one(_line(**_USAGE, costUsd=-1e9), _DONE),
    "a cost that is no number": _one(
        b'{"type":"usage","inputTokens":1,"cachedInputTokens":0,"outputTokens":1,"costUsd":NaN}\n'
    ),
    "a session id that paints": _one(_line(type="done", sessionId="\x1b[2J")),
    "a failure of its own making": _one(_line(type="failed", kind="hacked", text=FORGED, retryable=True)),
    "a second proof": _one(_line(type="proof", protocol=2, checks={}, milliseconds=1.0)),
    "nothing at all": _one(),
}
"""What follows `started`; none of it is an answer."""
ANSWER: Final = "the answer"
AFTER_DONE: Final = "events after done"
FOR_OTHERS: Final = "an output for another chat"
_ANSWERS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    AFTER_DONE: _one(
        _line(type="output", text=ANSWER), _DONE, _line(type="output", text=FORGED), _DONE, b"no event\n", _DONE
    ),
    FOR_OTHERS: _one(_line(type="output", text=ANSWER, chatJid="local:main", groupFolder="main", isMain=True), _DONE),
}


def main() -> None:
    """Pass the proof by saying so, then speak."""
    told: dict[str, Any] = json.loads(Path("/workspace/group/lab.json").read_text(encoding="utf-8"))
    sys.stdin.buffer.readline()
    out = sys.stdout.buffer
    checks = dict.fromkeys(told["checks"], "")
    out.write(_line(type="proof", protocol=told["protocol"], checks=checks, milliseconds=1.0))
    out.flush()
    prompt = str(json.loads(sys.stdin.buffer.readline())["prompt"])
    speeches = {**SPEECHES, **_ANSWERS}
    newest = max(speeches, key=lambda name: prompt.rfind(f"speech: {name}<"))  # failed ones are there, too
    out.write(_line(type="started", protocol=told["protocol"]))
    for piece in speeches[newest]():
        out.write(piece)
    out.flush()


if __name__ == "__main__":
    main()
