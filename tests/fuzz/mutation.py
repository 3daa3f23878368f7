"""Spoiling inputs: bytes flipped, cut, doubled and crossed, and JSON with other values in it."""

import json
import random
from collections.abc import Sequence
from typing import Any, Final, cast

_BYTES: Final = (
    *(b"", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\r\n", b"\n", b"\x1b[2J", b"'", b'"', b"\\", b"{", b"[", b"<", b"%"),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 1 << 31, 1 << 53, 1 << 63, -(1 << 63), 10**30, 0.5, 1e308, float("nan")),
    *(float("inf"), "", " ", "\0", "\ud800", "\u202e", "a" * 300, "../../etc", "/", "~", "2026-01-31T12:00:00Z"),
    *("9999-12-31T23:59:59+14:00", [], {}, [[]], {"a": {"b": {}}}, ["x"] * 50, {"": ""}, "NaN", "-0", "1e5", "@"),
    *("main", "global", "*", "*.com", "a:b:c"),
)
_LONGEST: Final = 4000


def mutated(randomly: random.Random, pool: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One new input out of those in `pool`."""
    data = randomly.choice(pool)
    if randomly.random() < 0.4 and (changed := _other_json(randomly, data)) is not None:
        return changed if randomly.random() < 0.8 else _spoiled(randomly, changed, pool, words)
    return _spoiled(randomly, data, pool, words)


def _spoiled(randomly: random.Random, data: bytes, pool: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(randomly.choice((1, 1, 2, 3, 8))):
        at = randomly.randrange(len(out) + 1)
        match randomly.randrange(8):
            case 0 if out:
                out[min(at, len(out) - 1)] ^= 1 << randomly.randrange(8)
            case 1 if out:
                out[min(at, len(out) - 1)] = randomly.randrange(256)
            case 2:
                del out[at : at + randomly.choice((1, 2, 10, 100))]
            case 3:
                out[at:at] = randomly.choice((*_BYTES, *words) or _BYTES)
            case 4:
                out[at:at] = out[at : at + randomly.randrange(1, 50)] * randomly.choice((1, 2, 20))
            case 5:
                other = randomly.choice(pool)
                cut = randomly.randrange(len(other) + 1)
                out[at:] = other[cut:]
            case 6:
                out[at:at] = randomly.randbytes(randomly.randrange(1, 10))
            case _:
                out[at:at] = bytes([randomly.choice(out or b"x")]) * randomly.choice((3, 30, 300, 2000))
    return bytes(out[:_LONGEST])


def _other_json(randomly: random.Random, data: bytes) -> bytes | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(randomly.choice((1, 1, 2, 4))):
        value = _changed(randomly, value)
    return json.dumps(value, ensure_ascii=randomly.random() < 0.5).encode("utf-8", "surrogatepass")


def _changed(randomly: random.Random, value: Any) -> Any:  # noqa: ANN401  # JSON
    """One place of it is another."""
    deeper = randomly.random() < 0.85
    if isinstance(value, dict) and value and deeper:
        return _changed_object(randomly, cast("dict[str, Any]", value))
    if isinstance(value, list) and value and deeper:
        items = cast("list[Any]", value)
        at = randomly.randrange(len(items))
        return [*items[:at], _changed(randomly, items[at]), *items[at + randomly.randrange(2) :]]
    if isinstance(value, str) and value and randomly.random() < 0.5:
        at = randomly.randrange(len(value))
        return value[:at] + str(randomly.choice(_VALUES)) + value[at + randomly.randrange(2) :]
    return randomly.choice(_VALUES)


def _changed_object(randomly: random.Random, value: dict[str, Any]) -> dict[str, Any]:
    key = randomly.choice(list(value))
    match randomly.randrange(6):
        case 0:
            return {other: inner for other, inner in value.items() if other != key}
        case 1:
            return {**value, str(randomly.choice(_VALUES)): value[key]}
        case _:
            return {**value, key: _changed(randomly, value[key])}
