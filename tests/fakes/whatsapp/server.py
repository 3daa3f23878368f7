"""The fake server as a whole: its ports, its life, and what tests say to it."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener
from websockets.asyncio.server import ServerConnection, serve

from tests.fakes.whatsapp import linking, queries, routing
from tests.fakes.whatsapp.accounts import Account, Device
from tests.fakes.whatsapp.connection import Connection
from tests.fakes.whatsapp.groups import Group
from tests.fakes.whatsapp.media import Media
from tests.fakes.whatsapp.noise import ROOT_PUBLIC_KEY, ServerKeys
from tests.fakes.whatsapp.peer import Peer
from tests.fakes.whatsapp.proxy import Proxy
from tests.fakes.whatsapp.records import PATIENCE, Named, WireChatstate, WireMessage, WireReceipt
from tests.fakes.whatsapp.sessions import Session
from tests.fakes.whatsapp.stanza import AttrValue, Node
from tests.fakes.whatsapp.tls import MEDIA_HOST, WEB_HOST, server_context
from tests.fakes.whatsapp.world import World

_LAUNCHER = Path(__file__).with_name("launch.py")
_LOOPBACK = "127.0.0.1"
Stream = TypeVar("Stream")
_ROUTES: dict[str, Callable[[World, Device, Node], None]] = {
    "message": routing.message,
    "receipt": routing.receipt,
    "chatstate": routing.chatstate,
    "presence": routing.presence,
    "ack": routing.ack,
    "ib": routing.nothing,
}


class FakeWhatsApp:
    """WhatsApp on loopback: `async with FakeWhatsApp(directory) as wa`.

    Runs in the event loop of the test. Leaving it ends every peer, and raises an AssertionError if a client asked what
    the fake does not know (see `expect_unknown`). `world` has its state, which outlives `stop` and `start`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.world = World()
        self.media = Media()
        self.peers: list[Peer] = []
        self._keys = ServerKeys()
        self._connections: set[Connection] = set()
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        context, self._authority = server_context(self.directory)
        self._tasks = await self._resources.enter_async_context(anyio.create_task_group())
        web = serve(self._serve, _LOOPBACK, 0, ssl=context, compression=None, max_size=None, ping_interval=None)
        web_server = await self._resources.enter_async_context(web)
        web_port = next(iter(web_server.sockets)).getsockname()[1]
        media, media_port = await _listen()
        self._tasks.start_soon(_serve, TLSListener(media, context, standard_compatible=False), self.media.serve)
        self._proxy = Proxy({WEB_HOST: web_port, MEDIA_HOST: media_port}, self.world.records)
        proxy, proxy_port = await _listen()
        self._tasks.start_soon(_serve, proxy, self._proxy.serve)
        self._proxy_url = f"http://{_LOOPBACK}:{proxy_port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            for peer in self.peers:
                await peer.kill()
            await self.stop()
        self._tasks.cancel_scope.cancel()
        await self._resources.aclose()
        if kind is None:
            self.world.records.check()

    async def _serve(self, socket: ServerConnection) -> None:
        connection = Connection(socket, self.world)
        self._connections.add(connection)
        try:
            await connection.run(self._keys, self._handle)
        except Exception:  # noqa: BLE001 (whatever it is, it is told at the end)
            self.world.records.failure(f"in the connection of {connection.address}")
        finally:
            self._connections.discard(connection)
            self.world.records.notify()

    def _handle(self, connection: Connection, stanza: Node) -> None:
        route = _ROUTES.get(stanza.tag)
        if stanza.tag == "iq":
            queries.answer(self.world, connection, stanza)
        elif route is not None and connection.device is not None:
            route(self.world, connection.device, stanza)
        elif route is None:
            self.world.records.unknown.append(stanza.tag)

    # how clients get here

    @property
    def launcher(self) -> list[str]:
        """What to put before a module's name and arguments to run it against this server, by the test's interpreter."""
        return [sys.executable, "-P", str(_LAUNCHER), self._proxy_url, str(self._authority), ROOT_PUBLIC_KEY.hex()]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that `launcher` sets by itself: the proxy, and whom to trust."""
        return {"HTTPS_PROXY": self._proxy_url, "SSL_CERT_FILE": str(self._authority)}

    # people, and what they do on their phones

    def account(self, phone: str, name: str = "") -> Account:
        """The account with this number, made if it is new."""
        return self.world.account(phone, name)

    async def peer(self, account: Account) -> Peer:
        """A person with this account at a client of their own, linked and online."""
        peer = self.unlinked_peer(account)
        await peer.start()
        code = await peer.next_event("qr")
        peer.device = await self.scan(code["code"], account)
        await peer.next_event("connected")
        return peer

    def unlinked_peer(self, account: Account) -> Peer:
        """A client for this account that is neither started nor linked."""
        directory = self.directory / f"peer-{len(self.peers) + 1}"
        peer = Peer(account, self.launcher, directory, self.world.groups, self._tasks)
        self.peers.append(peer)
        return peer

    async def link_session(self, account: Account) -> Session:
        """Link a client and keep its session, to be adopted any number of times, by this server or another."""
        peer = await self.peer(account)
        await peer.kill()
        return Session.of(account, peer.database)

    def adopt(self, session: Session, database: Path) -> Device:
        """Put a linked session where a client looks for it, so that it need not link; the device that it will be."""
        return session.adopt(self.world, database)

    async def scan(self, code: str, account: Account) -> Device:
        """The phone of that account scans a QR code; the device that is linked thereby.

        Raises:
            linking.ExpiredCode: no client shows this code any more.
        """
        device = linking.scan(self.world, code, account)
        await device.wait_online()
        return device

    async def enter_code(self, code: str, account: Account) -> Device:
        """The phone of that account is given a pair code; the device that is linked thereby.

        Raises:
            linking.ExpiredCode: no client waits with a code for this number.
        """
        before = len(account.devices)
        linking.enter_code(self.world, code, account)
        await self.until(lambda: len(account.devices) > before, f"{account.phone} is linked by {code}")
        await account.devices[-1].wait_online()
        return account.devices[-1]

    def expire_codes(self) -> None:
        """Turn away every client that waits to be linked, as the server does after a while."""
        linking.expire_codes(self.world)

    def create_group(self, subject: str, by: Account, members: Sequence[Account] = ()) -> Group:
        """Make a group, on somebody's phone."""
        group = Group(subject, by, members)
        self.world.groups[group.jid] = group
        group.announce(by)
        return group

    # what happened

    async def until(self, condition: Callable[[], object], what: str, within: float = PATIENCE) -> None:
        """Wait until the condition holds; it is looked at after every stanza and every coming and going.

        Raises:
            TimeoutError: it never did.
        """
        await self.world.records.until(condition, what, within)

    @property
    def messages(self) -> list[WireMessage]:
        """Every message by its id, in the order of first arrival."""
        return self.world.records.messages

    @property
    def receipts(self) -> list[WireReceipt]:
        """Every receipt."""
        return self.world.records.receipts

    @property
    def chatstates(self) -> list[WireChatstate]:
        """Every typing notice."""
        return self.world.records.chatstates

    @property
    def presences(self) -> list[tuple[Named, str]]:
        """Who said that they are `available` or `unavailable`, every time."""
        return self.world.records.presences

    def message(self, id: str) -> WireMessage:
        """The message with this id.

        Raises:
            KeyError: nobody sent it.
        """
        return self.world.records.message(id)

    def sent_by(self, sender: Account | Device, to: Group | Account | None = None) -> list[WireMessage]:
        """The messages of a device, or of any device of an account; only to that chat if one is named."""
        devices = sender.devices if isinstance(sender, Account) else [sender]
        chats = {to.jid} if isinstance(to, Group) else {to.pn, to.lid} if to is not None else set[str]()
        return [m for m in self.messages if m.sender in devices and (not chats or m.to in chats)]

    @property
    def unknown(self) -> list[str]:
        """What clients said that the fake does not know."""
        return self.world.records.unknown

    def expect_unknown(self, what: str) -> None:
        """That question (`xmlns/child`), stanza (its tag) or host (`host name`) is meant to be unknown."""
        self.world.records.expect_unknown(what)

    def transcript(self) -> str:
        """The last stanzas, one a line."""
        return self.world.records.transcript()

    # faults of the whole server

    async def stop(self) -> None:
        """The server is down: connections are cut, new ones too; what it knows is kept."""
        self._proxy.closed = True
        for connection in list(self._connections):
            connection.abort()
        await self.until(lambda: not self._connections, "every connection has ended")

    async def start(self) -> None:
        """The server is up again, at the same address."""
        self._proxy.closed = False

    async def restart(self) -> None:
        """Down and up."""
        await self.stop()
        await self.start()

    @asynccontextmanager
    async def refusing(self) -> AsyncGenerator[None]:
        """Within, the server is down."""
        await self.stop()
        try:
            yield
        finally:
            await self.start()

    def fail_connections(self, reason: int, times: int = 1, **attrs: AttrValue) -> None:
        """The next connections of anybody, linked or not, fail with this reason."""
        self.world.failures += [{"reason": str(reason), "location": "test", **attrs}] * times


async def _listen() -> tuple[Listener[SocketStream], int]:
    (listener,) = (await anyio.create_tcp_listener(local_host=_LOOPBACK)).listeners
    return listener, listener.extra(SocketAttribute.local_port)


async def _serve(listener: Listener[Stream], handler: Callable[[Stream], Awaitable[None]]) -> None:
    async with listener:
        await listener.serve(handler)
