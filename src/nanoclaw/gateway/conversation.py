"""One connection from a sandbox: requests, one after the other."""

import json
from typing import Final

import anyio
import anyio.lowlevel
import h11
import structlog
from anyio.abc import ByteStream

from nanoclaw.gateway.account import Account
from nanoclaw.gateway.bounds import Bounds
from nanoclaw.gateway.decision import Forward, Refuse, Refused, Tunnel, decide
from nanoclaw.gateway.exchange import Aborted, Exchange, Record, too_large
from nanoclaw.gateway.peer import Peer
from nanoclaw.gateway.pool import Pool
from nanoclaw.gateway.tunnel import splice
from nanoclaw.gateway.usage import UsageReader
from nanoclaw.model import NetworkDecision

_LAST: Final = frozenset((400, 431, 501))
"""Refusals of what is no request that can be understood."""

log = structlog.stdlib.get_logger()


class Conversation:
    """Answers the requests of one connection until either side ends it."""

    def __init__(self, stream: ByteStream, account: Account, pool: Pool, bounds: Bounds) -> None:
        self._client = Peer(stream, h11.SERVER, bounds.head_bytes)
        self._account = account
        self._pool = pool
        self._bounds = bounds

    async def hold(self) -> None:
        """Serve the connection to its end; each request is judged by the route and the policy of its moment."""
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
            with anyio.fail_after(self._bounds.idle_seconds) as patience:
                if not self._client.http.trailing_data[0]:
                    await self._client.receive()
                patience.deadline = min(patience.deadline, anyio.current_time() + self._bounds.head_seconds)
                event = await self._client.next_event()
        except TimeoutError:
            return None
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            await self._refuse(Refuse(status, "this is no HTTP/1.1 request, or its head is too large"))
            self._note(Record(verdict="refused", status=status), UsageReader(), 0.0)
            return None
        return event if isinstance(event, h11.Request) else None

    async def _answer(self, head: h11.Request) -> bool:
        """Whether the connection can take another request."""
        record, reader, started = Record(), UsageReader(), anyio.current_time()
        try:
            await self._carry_out(head, record, reader)
        except Refused as refused:
            refuse = refused.refuse
            record.status = refuse.status
            record.verdict = "failed" if refuse.reason == "unreachable" else "refused"
            if record.reason != "provider" or refuse.reason == "rate":
                record.reason = refuse.reason
            await self._refuse(refuse, with_body=head.method != b"HEAD")
        except Aborted as aborted:
            record.cut = str(aborted)
            return False
        finally:
            self._note(record, reader, anyio.current_time() - started)
        return await self._is_ready_again()

    async def _carry_out(self, head: h11.Request, record: Record, reader: UsageReader) -> None:
        route = self._account.route
        assert route is not None, "a socket that listens leads somewhere"
        decision = decide(head, route, self._account.policy)
        record.host, record.port = decision.host, decision.port
        if isinstance(decision, Refuse):
            record.to = decision.host
            await self._account.admit(None)
            raise Refused(decision.status, decision.sentence, decision.reason)
        record.to = decision.to if isinstance(decision, Forward) else decision.host
        record.reason = decision.reach
        await self._account.admit(decision)
        if isinstance(decision, Forward) and decision.reach == "provider":
            await self._forward(decision, record, reader)
            return
        record.account = self._account
        with self._account.passage(decision.host, decision.port) as passage:
            if isinstance(decision, Tunnel):
                await self._tunnel(decision, record)
            else:
                await self._forward(decision, record, None)
        if passage.cancelled_caught:
            raise Aborted("policy")

    async def _forward(self, forward: Forward, record: Record, reader: UsageReader | None) -> None:
        if (forward.body_bytes or 0) > self._bounds.body_bytes:
            raise too_large(self._bounds)
        async with self._pool.connection(forward, self._account.lookups) as server:
            if self._client.http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            await Exchange(self._client, server, record, self._bounds, reader).carry_out(forward.head)

    async def _tunnel(self, tunnel: Tunnel, record: Record) -> None:
        async with await self._pool.connect(tunnel, self._account.lookups) as server:
            record.status = 200
            await self._send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
            early, _ = self._client.http.trailing_data
            await splice(self._client.stream, server, early, record, self._bounds.idle_seconds)

    async def _refuse(self, refuse: Refuse, *, with_body: bool = True) -> None:
        """Say no, in the shape in which both providers report errors, and in the status line, which is all that some
        clients show of a refused CONNECT. Once an answer has begun there is nothing left to say.

        Where the next request begins is anybody's guess after one that is malformed: such a connection ends with it.
        """
        if self._client.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        message = f"NanoClaw gateway: {refuse.sentence}"
        body = json.dumps({"type": "error", "error": {"type": "gateway_error", "message": message}}).encode() + b"\n"
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        if refuse.status in _LAST:
            headers.append(("connection", "close"))
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

    def _note(self, record: Record, reader: UsageReader, seconds: float) -> None:
        """No path, no query, no header: only who asked whom, and what came of it."""
        if record.cut in ("policy", "volume"):
            record.verdict, record.reason = "refused", record.cut
        ms = round(seconds * 1000)
        self._account.note(
            NetworkDecision(
                at=self._account.now(),
                folder=self._account.folder,
                host=record.host,
                port=record.port,
                verdict=record.verdict,
                reason=record.reason,
                uploaded=record.uploaded,
                downloaded=record.downloaded,
                ms=ms,
                status=record.status,
                usage=reader.usage(),
            )
        )
        broken = record.reason == "provider" and record.verdict == "failed"
        write = log.info if broken else log.debug  # the rest can be had by the thousand, and is in the network log
        write(
            "gateway.request",
            group=self._account.folder,
            to=record.to,
            status=record.status,
            ms=ms,
            uploaded=record.uploaded,
            downloaded=record.downloaded,
            **({"cut": record.cut} if record.cut else {}),
        )
