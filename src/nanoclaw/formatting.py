"""From what an agent said to what a chat is shown. Pure."""

import re
import unicodedata

_INTERNAL = re.compile(r"<internal>.*?(?:</internal>|\Z)", re.DOTALL | re.IGNORECASE)
_KEPT_CONTROLS = "\n\t"


def reply_text(output: str) -> str:
    """The part of an agent's text that is for the chat: no `<internal>` parts, no control characters, trimmed.

    An `<internal>` that is never closed hides the rest: what was meant to stay inside stays inside.
    """
    return printable(_INTERNAL.sub("", output)).strip()


def printable(text: str) -> str:
    """Without control characters (terminal sequences among them), line ends and tabs excepted, and lone surrogates."""
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in normal if c in _KEPT_CONTROLS or unicodedata.category(c) not in ("Cc", "Cs"))


def shorten(text: str, limit: int) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
