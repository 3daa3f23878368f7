"""Takes secrets out of texts that are kept or shown."""

from collections.abc import Mapping
from typing import Final

_SHORTEST: Final = 8  # anything shorter is no secret, and would tear holes into ordinary words
_REPLACEMENT: Final = "[secret]"


def redact(text: str, secrets: Mapping[str, str]) -> str:
    """The text with every known secret replaced.

    Args:
        text: a log line, an error.
        secrets: the values by name; addresses among them are no secrets.
    """
    values = {value for name, value in secrets.items() if not name.endswith("_URL") and len(value) >= _SHORTEST}
    for value in sorted(values, key=len, reverse=True):  # one may begin with another
        text = text.replace(value, _REPLACEMENT)
    return text
