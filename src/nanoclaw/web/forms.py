"""What a form of the page has sent."""

import re
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from nanoclaw.errors import UsageError

_MOST_BYTES: Final = 1 << 20  # a message of 65,536 characters that are all emoji takes 786,432
_MOST_FIELDS: Final = 64
_NUMBER: Final = re.compile(r"\d{1,12}(\.\d{1,6})?")


async def read_form(request: Request) -> dict[str, str]:
    """The fields as they were sent; of one that was sent twice, the last.

    Raises:
        UsageError: it is too much.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise UsageError("that is more than a form can send", "send less at once")
    try:
        pairs = parse_qsl(
            body.decode("ascii", "replace"), keep_blank_values=True, errors="replace", max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:
        raise UsageError("that has more fields than any form of this page") from error
    return dict(pairs)


def lines(text: str) -> list[str]:
    """The entries of a field with one on each line, or with commas between them."""
    return [entry for entry in (part.strip() for part in re.split(r"[\n\r,]", text)) if entry]


def number(text: str, what: str) -> float | None:
    """A number, or None where nothing was entered.

    Raises:
        UsageError: it is none.
    """
    text = text.strip()
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise UsageError(f"{what} is {text[:40]!r}", "write a number, like 100 or 0.5, or nothing")
    return float(text)
