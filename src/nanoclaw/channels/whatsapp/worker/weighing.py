# pyright: reportMissingTypeStubs=false
"""How large a file on the platform's servers is, before anything loads it: what its sender says of that may be untrue.

The library loads whatever is there into memory, and from wherever the sender says. So it is given only a path on
WhatsApp's own server, and only of a file that was weighed.
"""

import base64
from typing import Any, Final

import httpx
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message

from nanoclaw.channels.whatsapp.worker.content import media_field

_SERVER: Final = "https://mmg.whatsapp.net"
_HEADERS: Final = {
    "Origin": "https://web.whatsapp.com",
    "Referer": "https://web.whatsapp.com/",
    "Accept-Encoding": "identity",
}
_SECONDS: Final = 20.0  # until a connection is there, and between two pieces of an answer
_KINDS: Final = {"imageMessage": "image", "stickerMessage": "image", "documentMessage": "document",
                 "audioMessage": "audio", "videoMessage": "video", "ptvMessage": "video"}  # fmt: skip
_OK: Final = 200
_ENCRYPTION: Final = 32  # bytes at most that it adds: padding and a checksum


class WeighingError(Exception):
    """The server does not give this file, or nobody says where it is; `str` says why."""


class TooLargeError(Exception):
    """It is larger than what is allowed."""


def check(message: Message, limit: int) -> None:
    """Let the library load the file of a message: from WhatsApp's server alone, and if it has at most `limit` bytes.

    Raises:
        WeighingError: it cannot be had.
        TooLargeError: it is larger.
    """
    name = media_field(message)
    part: Any = getattr(message, name)
    if not part.directPath.startswith("/") or part.directPath.startswith("//"):
        raise WeighingError("it does not say where it is")
    part.URL = ""
    # as the library asks for it afterwards
    digest = base64.urlsafe_b64encode(part.fileEncSHA256).decode()
    url = f"{_SERVER}{part.directPath}&hash={digest}&mms-type={_KINDS[name]}&__wa-mms="
    try:
        size = _weigh(url, limit + _ENCRYPTION)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise WeighingError(str(error) or type(error).__name__) from error
    if size > limit + _ENCRYPTION:
        raise TooLargeError


def _weigh(url: str, limit: int) -> int:
    """Bytes that are there; counted up to a little more than `limit` where the server does not say."""
    with (
        httpx.Client(timeout=_SECONDS, follow_redirects=True, headers=_HEADERS) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != _OK:
            raise WeighingError(f"status code {response.status_code}")
        if "Content-Length" in response.headers:
            return int(response.headers["Content-Length"])
        size = 0
        for piece in response.iter_raw():
            size += len(piece)
            if size > limit:
                break
        return size
