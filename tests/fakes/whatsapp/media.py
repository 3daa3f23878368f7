"""The media host: keeps what is uploaded (encrypted by the client) and gives it back."""

import json
import secrets

import anyio
import h11
from anyio.abc import ByteStream

from tests.fakes.whatsapp.tls import MEDIA_HOST

_OK, _MISSING = 200, 404
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, h11.ProtocolError)


class Media:
    """Blobs by their path, and the faults of the next requests."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self._resets = self._misses = 0

    def reset(self, count: int = 1) -> None:
        """The connections of the next requests are cut without an answer."""
        self._resets = count

    def missing(self, count: int = 1) -> None:
        """The next requests are answered with 404."""
        self._misses = count

    async def serve(self, client: ByteStream) -> None:
        """One connection, with any number of requests."""
        http = h11.Connection(h11.SERVER)
        try:
            while (request := await _request(http, client)) is not None:
                method, path, body = request
                self.requests.append(f"{method} {path}")
                if self._resets:
                    self._resets -= 1
                    break
                await client.send(_response(http, *self._answer(method, path, body)))
                http.start_next_cycle()
        except _GONE:
            pass
        finally:
            await anyio.aclose_forcefully(client)

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self._misses:
            self._misses -= 1
            return _MISSING, b""
        if method in ("POST", "PUT"):
            place = f"/v/{secrets.token_hex(8)}"
            self.blobs[place] = body
            known = {"url": f"https://{MEDIA_HOST}{place}", "direct_path": place, "handle": secrets.token_hex(8)}
            return _OK, json.dumps(known).encode()
        place = path.partition("?")[0].partition("&")[0]
        return (_OK, self.blobs[place]) if place in self.blobs else (_MISSING, b"")


async def _request(http: h11.Connection, client: ByteStream) -> tuple[str, str, bytes] | None:
    """The next request: method, path, body; None when there are no more."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await client.receive())
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return head.method.decode(), head.target.decode(), bytes(body)
        else:
            return None


def _response(http: h11.Connection, status: int, body: bytes) -> bytes:
    head = h11.Response(status_code=status, headers=[("Content-Length", str(len(body)))])
    return b"".join(http.send(event) or b"" for event in (head, h11.Data(data=body), h11.EndOfMessage()))
