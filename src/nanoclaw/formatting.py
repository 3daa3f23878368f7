"""From what an agent said to what a chat is shown. Pure."""

import re
import unicodedata
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

_INTERNAL = re.compile(r"<internal>.*?(?:</internal>|\Z)", re.DOTALL | re.IGNORECASE)
_KEPT_CONTROLS = "\n\t"
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidirectional embeddings, overrides and isolates; the marks that languages need are no part of them."""
_FENCE: Final = "```"
_LANGUAGE = re.compile(r"```([\w+-]{1,16})\n")
_CLOSED: Final = f"\n{_FENCE}"
_LONGEST_CHARACTER = 32  # code points of one visible character, beyond which it may be cut
_BORDERS = (r"\n\s*\n", r"\n", r"\s")  # where a text is cut best: between paragraphs, lines, words
_SMALLEST_SHARE = 4  # a part is no shorter than this fraction of the limit for the sake of a better border


def reply_text(output: str) -> str:
    """The part of an agent's text that is for the chat: no `<internal>` parts, no control characters, trimmed.

    An `<internal>` that is never closed hides the rest: what was meant to stay inside stays inside.
    """
    shown = _INTERNAL.sub("", printable(output))
    return _INTERNAL.split(shown, maxsplit=1)[0].strip()  # what is left may make up another one, which ends it


def printable(text: str) -> str:
    """Without what a terminal or a reader would be led astray by: control characters (line ends and tabs excepted),
    what turns the direction of a text around, and lone surrogates."""
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in normal if c in _KEPT_CONTROLS or _is_harmless(c))


def _is_harmless(character: str) -> bool:
    return character not in _TURNING and unicodedata.category(character) not in ("Cc", "Cs")


def shorten(text: str, limit: int) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def spoken_time(instant: datetime, zone: ZoneInfo, *, seconds: bool = False) -> str:
    """A moment as people say it, with the zone by which it is told: `Mon 23 Nov, 09:00 (Europe/Berlin)`."""
    clock = "%H:%M:%S" if seconds else "%H:%M"
    return f"{instant.astimezone(zone):%a %d %b, {clock}} ({zone.key})"


def split_text(text: str, limit: int) -> list[str]:
    """A text as parts of at most `limit` characters (at least 64), cut between paragraphs if possible, else between
    lines, else between words. Code that is cut through is closed at the end of a part and opened again in the next."""
    parts: list[str] = []
    opening = ""
    while len(opening) + len(text) + (len(_CLOSED) if parts else 0) > limit:
        part, text = _cut(text, limit - len(opening) - len(_CLOSED))
        part = opening + part
        opening = _open_fence(part)
        parts.append(part + _CLOSED if opening else part)
    last = opening + text
    if parts and _open_fence(last):
        last += _CLOSED
    return [*parts, last] if last.strip("` \n") or not parts else parts


def _cut(text: str, most: int) -> tuple[str, str]:
    """The part of at most `most` characters that a longer text begins with, and the rest."""
    for border in _BORDERS:
        found = [match for match in re.finditer(border, text[: most + 1]) if match.start() >= most // _SMALLEST_SHARE]
        if found:
            return text[: found[-1].start()], text[found[-1].end() :]
    at = next((at for at in range(most, most - _LONGEST_CHARACTER, -1) if _may_cut(text, at)), most)
    return text[:at], text[at:]


def _may_cut(text: str, at: int) -> bool:
    """Whether no visible character and no fence goes across this place."""
    before, after = text[at - 1], text[at]
    if before == after == "`":
        return False
    joiner = "\u200d"
    if joiner in (before, after) or unicodedata.combining(after) or unicodedata.category(after).startswith("M"):
        return False
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # skin tones, subdivision flags
        return False
    return not (_is_flag_half(after) and _flag_halves_before(text, at) % 2)


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flag_halves_before(text: str, at: int) -> int:
    start = at
    while start and _is_flag_half(text[start - 1]):
        start -= 1
    return at - start


def _open_fence(part: str) -> str:
    """What opens again the code that is open at the end of this part; empty when none is."""
    if part.count(_FENCE) % 2 == 0:
        return ""
    language = _LANGUAGE.match(part, part.rindex(_FENCE))
    return language[0] if language else f"{_FENCE}\n"
