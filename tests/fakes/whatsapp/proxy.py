"""The HTTP proxy that clients go through: it takes WhatsApp's hosts to the fake's own ports, others nowhere."""

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.fakes.whatsapp.records import Records

_HEAD_LIMIT = 1 << 16  # bytes
_GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead)


class Proxy:
    """Answers CONNECT; while it is `closed`, every connection is cut at once."""

    def __init__(self, ports: dict[str, int], records: Records) -> None:
        self.closed = False
        self._ports, self._records = ports, records

    async def serve(self, client: ByteStream) -> None:
        """One connection."""
        try:
            if not self.closed:
                await self._connect(client)
        except* _GONE:
            pass
        finally:
            await anyio.aclose_forcefully(client)

    async def _connect(self, client: ByteStream) -> None:
        head = await BufferedByteReceiveStream(client).receive_until(b"\r\n\r\n", _HEAD_LIMIT)
        host = head.split()[1].decode().rpartition(":")[0]
        if host not in self._ports:
            self._records.unknown.append(f"host {host}")
            await client.send(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        async with await anyio.connect_tcp("127.0.0.1", self._ports[host]) as server:
            await client.send(b"HTTP/1.1 200 OK\r\n\r\n")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_pipe, server, client, tasks.cancel_scope)
                tasks.start_soon(_pipe, client, server, tasks.cancel_scope)


async def _pipe(source: ByteReceiveStream, sink: ByteSendStream, both: anyio.CancelScope) -> None:
    """Carry bytes one way; when that ends, so does the other."""
    try:
        async for data in source:
            await sink.send(data)
    except _GONE:
        pass
    both.cancel()
