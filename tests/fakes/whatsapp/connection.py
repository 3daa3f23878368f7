"""One client's connection: frames, encryption, linking or login, and the faults that happen on the line."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.fakes.whatsapp import protobuf
from tests.fakes.whatsapp.accounts import LOGGED_OUT, Cut, Device
from tests.fakes.whatsapp.linking import offer_codes
from tests.fakes.whatsapp.noise import PROLOGUE, Cipher, Handshake, ServerKeys
from tests.fakes.whatsapp.stanza import SERVER, AttrValue, Node, decode, encode, node, now

if TYPE_CHECKING:
    from tests.fakes.whatsapp.world import World

_LENGTH = 3  # bytes before each frame
_LINGER = 0.2  # seconds for a client to act on our last stanza and leave, before we do; a close at once may overtake it
_ANSWERS = frozenset({"iq", "ack"})
_REGISTRATION, _USERNAME, _DEVICE = 19, 1, 18  # fields of what a client says of itself


class Connection:
    """A connection; `device` is set while it is logged in."""

    def __init__(self, socket: ServerConnection, world: "World") -> None:
        self._socket, self._world = socket, world
        self._received = b""
        self._outgoing: asyncio.Queue[Node | bytes | None] = asyncio.Queue()
        self._reader = self._writer = Cipher(bytes(32))  # replaced by the handshake
        self._hears = True
        self._says: frozenset[str] | None = None  # the only tags that are sent; None for all
        self.device: Device | None = None
        self.registration: protobuf.Fields = {}  # of a client that wants to be linked

    async def run(self, keys: ServerKeys, handle: Callable[["Connection", Node], None]) -> None:
        """Serve the client until either side ends it."""
        try:
            payload = await self._shake_hands(keys)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                if _REGISTRATION in payload:
                    self._register(payload)
                else:
                    self._log_in(payload)
                await self._read(handle)
                tasks.cancel_scope.cancel()
        except* ConnectionClosed:
            pass
        finally:
            self._forget()

    def send(self, stanza: Node | bytes) -> None:
        """Queue a stanza (or bytes in the place of one) for the client, in order."""
        self._outgoing.put_nowait(stanza)

    def close(self) -> None:
        """End it when everything queued has been sent."""
        self._outgoing.put_nowait(None)

    def abort(self) -> None:
        """End it now, without a word."""
        self._forget()
        self._socket.transport.abort()

    def deafen(self, *, answer_pings: bool) -> None:
        """Let nothing through any more, or only answers."""
        self._hears, self._says = answer_pings, _ANSWERS if answer_pings else frozenset()

    @property
    def address(self) -> str:
        """The device's, or what stands for one that is not linked."""
        return self.device.address if self.device is not None else "(unlinked)"

    def _forget(self) -> None:
        if self.device is not None and self.device.connection is self:
            self.device.connection = None
        for ref in [ref for ref, connection in self._world.unlinked.items() if connection is self]:
            del self._world.unlinked[ref]
        self._world.records.notify()

    # frames

    async def _frame(self) -> bytes:
        header = await self._take(_LENGTH)
        return await self._take(int.from_bytes(header, "big"))

    async def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            data = await self._socket.recv(decode=False)
            self._received += data
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    async def _send_frame(self, body: bytes) -> None:
        await self._socket.send(_framed(body))

    async def _shake_hands(self, keys: ServerKeys) -> protobuf.Fields:
        prologue = await self._take(len(PROLOGUE))
        assert prologue == PROLOGUE, f"a client of another protocol or dictionary version: {prologue!r}"
        handshake = Handshake(keys)
        await self._send_frame(handshake.answer(await self._frame()))
        payload, self._reader, self._writer = handshake.finish(await self._frame())
        return protobuf.parse(payload)

    # linking and login

    def _register(self, payload: protobuf.Fields) -> None:
        if self._fails(self._world.failures):
            return
        self.registration = protobuf.parse(protobuf.blob(payload, _REGISTRATION))
        offer_codes(self._world, self)

    def _log_in(self, payload: protobuf.Fields) -> None:
        device = self._world.device(str(payload[_USERNAME]), protobuf.integer(payload, _DEVICE))
        if device is None:
            self._fail({"reason": str(LOGGED_OUT), "location": "test"})
        elif not self._fails(device.faults.failures) and not self._fails(self._world.failures):
            device.replace()
            self._welcome(device)

    def _welcome(self, device: Device) -> None:
        self.device, device.connection = device, self
        device.logins += 1
        self.send(node("success", {"t": now(), "lid": device.jid("lid")}))
        waiting = device.waiting
        counts: dict[str, AttrValue] = {
            tag: sum(stanza.tag == tag for stanza in waiting) for tag in ("message", "notification", "receipt")
        }
        preview = node("offline_preview", {"count": len(waiting), "appdata": 0, **counts})
        self.send(node("ib", {"from": SERVER}, [preview]))
        for number, stanza in enumerate(waiting):
            self.send(node(stanza.tag, {**stanza.attrs, "offline": number}, stanza.content))
        self.send(node("ib", {"from": SERVER}, [node("offline", {"count": len(waiting)})]))
        self._world.records.notify()

    def _fails(self, failures: list[dict[str, AttrValue]]) -> bool:
        if not failures:
            return False
        self._fail(failures.pop(0))
        return True

    def _fail(self, attrs: dict[str, AttrValue]) -> None:
        self.send(node("failure", attrs))
        self.close()

    # stanzas

    async def _read(self, handle: Callable[["Connection", Node], None]) -> None:
        while True:
            stanza = decode(self._reader.decrypt(await self._frame()))
            if not self._hears:
                continue
            self._world.records.saw("<-", self.address, stanza)
            cut = self._is_cut("received", stanza)
            if cut is None:
                handle(self, stanza)
                self._world.records.notify()
                continue
            if not cut.mid_frame:
                self._says = frozenset()
                handle(self, stanza)
            self.abort()
            return

    async def _write(self) -> None:
        while (stanza := await self._outgoing.get()) is not None:
            if isinstance(stanza, bytes):
                await self._send_frame(self._writer.encrypt(stanza))
                continue
            if self.device is not None and self.device.faults.delay:
                await anyio.sleep(self.device.faults.delay)
            for _ in range(self._copies(stanza)):
                await self._write_one(stanza)
        with anyio.move_on_after(_LINGER):
            await self._socket.wait_closed()
        self._socket.transport.close()

    async def _write_one(self, stanza: Node) -> None:
        if self._says is not None and stanza.tag not in self._says:
            return
        body = self._writer.encrypt(encode(stanza))
        cut = self._is_cut("sent", stanza)
        if cut is not None and cut.mid_frame:
            frame = _framed(body)
            await self._socket.send(frame[: len(frame) // 2])
        else:
            await self._send_frame(body)
            self._wrote(stanza)
        if cut is not None:
            self._forget()
            self._socket.transport.close()  # what was written arrives, and then no closing frame

    def _wrote(self, stanza: Node) -> None:
        records = self._world.records
        records.saw("->", self.address, stanza)
        if self.device is not None:
            records.wrote(self.device, stanza)
        records.notify()

    def _copies(self, stanza: Node) -> int:
        if stanza.tag != "message" or self.device is None or not self.device.faults.twice:
            return 1
        self.device.faults.twice -= 1
        return 2

    def _is_cut(self, direction: str, stanza: Node) -> Cut | None:
        """The cut that is due at this stanza, if there is one."""
        if self.device is None:
            return None
        cut = self.device.faults.cut
        if cut is None or not cut.is_due(direction, stanza):
            return None
        self.device.faults.cut = None
        return cut


def _framed(body: bytes) -> bytes:
    return len(body).to_bytes(_LENGTH, "big") + body
