"""One request and its answer, streamed both ways at once; nothing is kept but the piece on its way."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import anyio
import h11

from nanoclaw.gateway.account import Account
from nanoclaw.gateway.bounds import Bounds
from nanoclaw.gateway.decision import Refused, passed_back
from nanoclaw.gateway.peer import Peer
from nanoclaw.model import NetworkReason, NetworkVerdict


class Watcher(Protocol):
    """Looks at an answer as it passes; what it is shown has gone on already."""

    def begin(self, answer: h11.Response) -> None:
        """The head has come."""
        ...

    def feed(self, data: bytes) -> None:
        """A piece of the body has come."""
        ...


@dataclass(slots=True)
class Record:
    """What is known of a request when it is over."""

    to: str = ""
    """The API's name, or the host's."""
    host: str = ""
    port: int = 0
    verdict: NetworkVerdict = "allowed"
    reason: NetworkReason = "request"
    status: int = 0
    uploaded: int = 0
    """Bytes from the sandbox, without heads."""
    downloaded: int = 0
    """Bytes to the sandbox, without heads."""
    cut: str = ""
    """Who broke it off, if anybody did: `client`, `server`, `idle`, or the limit that did."""
    account: Account | None = None
    """Whose volume of today it takes from; None: nobody's, as it goes to the provider."""

    def upload(self, count: int) -> bool:
        """So many bytes have come from the sandbox. Answers whether more may."""
        self.uploaded += count
        if self.account is None:
            return True
        self.account.uploaded(count)
        return not self.account.is_spent()

    def download(self, count: int) -> bool:
        """So many bytes have gone to the sandbox. Answers whether more may."""
        self.downloaded += count
        if self.account is None:
            return True
        self.account.downloaded(count)
        return not self.account.is_spent()


class Aborted(Exception):
    """It cannot be ended in an orderly way any more; `str` says whose doing it was."""


class Exchange:
    """Carries one request from a client to a server."""

    def __init__(self, client: Peer, server: Peer, record: Record, bounds: Bounds, watcher: Watcher | None) -> None:
        self._client = client
        self._server = server
        self._record = record
        self._bounds = bounds
        self._watcher = watcher
        self._waiting = anyio.CancelScope()
        self._problem: Refused | Aborted | None = None

    async def carry_out(self, head: h11.Request) -> None:
        """Return once the answer has been passed on whole.

        Raises:
            Refused: nothing has been answered yet.
            Aborted: either end broke off.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._upload, head, tasks.cancel_scope)
            try:
                await self._download()
            except (Refused, Aborted) as problem:
                self._problem = problem
            tasks.cancel_scope.cancel()
        if self._problem is not None:
            raise self._problem

    async def _upload(self, head: h11.Request, exchange: anyio.CancelScope) -> None:
        try:
            pieces = [head, *self._counted(self._client.parsed())]
            while not await self._pass_on(pieces):
                pieces = self._counted(await self._next_pieces())
            if await self._client.receive():
                return  # the next request is here already
            self._problem = Aborted("client")
        except h11.RemoteProtocolError as error:
            self._problem = Refused(error.error_status_hint, "the request's body is broken; send it again")
        except (Refused, Aborted) as problem:
            self._problem = problem
        exchange.cancel()

    async def _next_pieces(self) -> list[h11.Event]:
        self._waiting.deadline = float("inf")  # the server's time runs while it has something to answer
        try:
            with anyio.fail_after(self._bounds.idle_seconds):
                return await self._client.next_events()
        except TimeoutError as error:
            raise Refused(408, "the rest of the request did not come; send it again") from error

    def _counted(self, pieces: list[h11.Event]) -> list[h11.Event]:
        if not self._record.upload(_size(pieces)):
            raise Aborted("volume")
        if self._record.uploaded > self._bounds.body_bytes:
            raise too_large(self._bounds)
        return [_without_trailers(piece) for piece in pieces]

    async def _pass_on(self, pieces: list[h11.Event]) -> bool:
        """Whether that was all of it."""
        self._waiting.deadline = anyio.current_time() + self._bounds.header_seconds
        with suppress(anyio.BrokenResourceError):  # the server's answer may be here all the same
            await self._server.send(*pieces)
        return isinstance(pieces[-1], h11.EndOfMessage)

    async def _download(self) -> None:
        pieces = await self._begin_of_answer()
        try:
            while True:
                with anyio.fail_after(self._bounds.idle_seconds):
                    await self._client.send(*map(_without_trailers, pieces))
                    self._look_at(pieces)
                    if isinstance(pieces[-1], h11.EndOfMessage):
                        return
                    pieces = await self._server.next_events()
        except TimeoutError as error:
            raise Aborted("idle") from error
        except anyio.BrokenResourceError as error:
            raise Aborted("client") from error
        except h11.ProtocolError as error:
            raise Aborted("server") from error

    def _look_at(self, pieces: list[h11.Event]) -> None:
        if self._watcher:
            for piece in pieces:
                if isinstance(piece, h11.Data):
                    self._watcher.feed(piece.data)
        if not self._record.download(_size(pieces)):
            raise Aborted("volume")

    async def _begin_of_answer(self) -> list[h11.Event]:
        pieces: list[h11.Event] = []
        with self._waiting:
            try:
                while not pieces:  # 100 and the like concern this hop
                    events = await self._server.next_events()
                    pieces = [event for event in events if not isinstance(event, h11.InformationalResponse)]
            except h11.RemoteProtocolError as error:
                raise Refused(
                    502, "the server broke the connection off before it answered; try again", "unreachable"
                ) from error
        if not pieces:
            seconds = f"{self._bounds.header_seconds:g}"
            raise Refused(504, f"the server did not begin to answer within {seconds} s; try again", "unreachable")
        head, *rest = pieces
        assert isinstance(head, h11.Response), "a server's first event is its answer's head"
        self._record.status = head.status_code
        if self._watcher:
            self._watcher.begin(head)
        return [h11.Response(status_code=head.status_code, headers=passed_back(head), reason=head.reason), *rest]


def _size(pieces: list[h11.Event]) -> int:
    return sum(len(piece.data) for piece in pieces if isinstance(piece, h11.Data))


def _without_trailers(piece: h11.Event) -> h11.Event:
    return h11.EndOfMessage() if isinstance(piece, h11.EndOfMessage) else piece


def too_large(bounds: Bounds) -> Refused:
    """The refusal of a body beyond the limit."""
    return Refused(413, f"the body is larger than {bounds.body_bytes >> 20} MiB; send less at once")
