"""Images for a model that is sent them in its prompt."""

import os
import stat
from collections.abc import Sequence
from typing import Any, Final

_BEGINNINGS: Final = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
_MOST_BYTES: Final = 5 << 20
"""More is refused by the provider, with the whole prompt."""


def image_blocks(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Content blocks for those of the files that are images by what they hold; what a file is called proves nothing."""
    return [block for path in paths if (block := _block(path))]


def _block(path: str) -> dict[str, Any] | None:
    data = _read(path)
    kind = next((kind for beginning, kind in _BEGINNINGS.items() if data.startswith(beginning)), None)
    if kind is None or (kind == "image/webp" and data[8:12] != b"WEBP"):
        return None
    from base64 import b64encode  # here, as most prompts have no image

    encoded = b64encode(data).decode("ascii")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": encoded}}


def _read(path: str) -> bytes:
    """The file's content; empty when there is none, or more than can be shown."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        return file.read() if stat.S_ISREG(status.st_mode) and status.st_size <= _MOST_BYTES else b""
