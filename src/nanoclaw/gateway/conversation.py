"""One connection from a sandbox: requests, one after the other."""

import json
from collections.abc import Callable

import anyio
import anyio.lowlevel
import h11
import structlog
from anyio.abc import ByteStream

from nanoclaw.gateway.bounds import Bounds
from nanoclaw.gateway.decision import Forward, Refuse, Refused, Route, Tunnel, decide
from nanoclaw.gateway.exchange import Aborted, Exchange, Record, too_large
from nanoclaw.gateway.peer import Peer
from nanoclaw.gateway.pool import Pool
from nanoclaw.gateway.tunnel import splice
from nanoclaw.model import Folder

log = structlog.stdlib.get_logger()


class Conversation:
    """Answers the requests of one connection until either side ends it."""

    def __init__(
        self, stream: ByteStream, *, group: Folder, route: Callable[[], Route], pool: Pool, bounds: Bounds
    ) -> None:
        self._client = Peer(stream, h11.SERVER, bounds.head_bytes)
        self._group = group
        self._route = route
        self._pool = pool
        self._bounds = bounds

    async def hold(self) -> None:
        """Serve the connection to its end; each request is judged by the route of its moment."""
        async with self._client:
            while (head := await self._next_head()) is not None:
                if not await self._answer(head):
                    return

    async def turn_away(self, refuse: Refuse) -> None:
        """Refuse before anything was asked."""
        async with self._client:
            await self._refuse(refuse)

    async def _next_head(self) -> h11.Request | None:
        try:
            with anyio.fail_after(self._bounds.idle_seconds):
                event = await self._client.next_event()
        except TimeoutError:
            return None
        except h11.RemoteProtocolError as error:
            await self._refuse(Refuse(error.error_status_hint, "this is no HTTP/1.1 request, or its head is too large"))
            return None
        return event if isinstance(event, h11.Request) else None

    async def _answer(self, head: h11.Request) -> bool:
        """Whether the connection can take another request."""
        record, started = Record(), anyio.current_time()
        try:
            await self._carry_out(head, record)
        except Refused as refused:
            record.status = refused.refuse.status
            await self._refuse(refused.refuse, with_body=head.method != b"HEAD")
        except Aborted as aborted:
            record.cut = str(aborted)
            return False
        finally:
            self._log(record, anyio.current_time() - started)
        return await self._is_ready_again()

    async def _carry_out(self, head: h11.Request, record: Record) -> None:
        match decide(head, self._route()):
            case Refuse() as refuse:
                record.to = refuse.to
                raise Refused(refuse.status, refuse.sentence)
            case Tunnel() as tunnel:
                await self._tunnel(tunnel, record)
            case Forward() as forward:
                await self._forward(forward, record)

    async def _forward(self, forward: Forward, record: Record) -> None:
        record.to = forward.to
        if (forward.body_bytes or 0) > self._bounds.body_bytes:
            raise too_large(self._bounds)
        async with self._pool.connection(forward) as server:
            if self._client.http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            await Exchange(self._client, server, record, self._bounds).carry_out(forward.head)

    async def _tunnel(self, tunnel: Tunnel, record: Record) -> None:
        record.to = tunnel.host
        async with await self._pool.connect_public(tunnel.host, tunnel.port) as server:
            record.status = 200
            await self._send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
            early, _ = self._client.http.trailing_data
            await splice(self._client.stream, server, early, record, self._bounds.idle_seconds)

    async def _refuse(self, refuse: Refuse, *, with_body: bool = True) -> None:
        """Say no, in the shape in which both providers report errors, and in the status line, which is all that some
        clients show of a refused CONNECT. Once an answer has begun there is nothing left to say."""
        if self._client.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        message = f"NanoClaw gateway: {refuse.sentence}"
        body = json.dumps({"type": "error", "error": {"type": "gateway_error", "message": message}}).encode() + b"\n"
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        head = h11.Response(status_code=refuse.status, headers=headers, reason=message.encode("ascii", "replace"))
        try:
            await self._send(head, *([h11.Data(data=body)] if with_body else []), h11.EndOfMessage())
        except Aborted:
            return  # whoever asked has gone; the state of the connection says so

    async def _send(self, *events: h11.Event) -> None:
        try:
            with anyio.fail_after(self._bounds.idle_seconds):
                await self._client.send(*events)
        except (TimeoutError, anyio.BrokenResourceError) as error:
            raise Aborted("client") from error

    async def _is_ready_again(self) -> bool:
        """Whether another request can come; what is left of this one's body is read and dropped first."""
        try:
            with anyio.move_on_after(self._bounds.drain_seconds):
                while self._client.http.their_state is h11.SEND_BODY:
                    await self._client.next_events()
                    await anyio.lowlevel.checkpoint()
        except h11.RemoteProtocolError:
            return False
        if self._client.finished:
            self._client.http.start_next_cycle()
            return True
        return False

    def _log(self, record: Record, seconds: float) -> None:
        """No path, no query, no header: only who asked whom, and what came of it."""
        write = log.debug if record.status < 400 and not record.cut else log.info
        write(
            "gateway.request",
            group=self._group,
            to=record.to,
            status=record.status,
            ms=round(seconds * 1000),
            received=record.received,
            sent=record.sent,
            **({"cut": record.cut} if record.cut else {}),
        )
