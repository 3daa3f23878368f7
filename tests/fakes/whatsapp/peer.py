"""A scripted human: a real client in a child process of its own, told what to do by a test."""

import asyncio
import base64
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from tests.fakes.whatsapp.accounts import Account, Device
from tests.fakes.whatsapp.groups import Group
from tests.fakes.whatsapp.records import PATIENCE

_DRIVER = "tests.fakes.whatsapp.driver"
_ROOT = Path(__file__).parents[3]  # of the checkout, for the driver's imports
_LINE_LIMIT = 1 << 26  # bytes: media go over the line
# options of the session database: linking writes 812 keys, each in a transaction, which takes seconds where a disk is
# waited for; the library appends its own options, hence the last one, which eats them
_FAST = "?_foreign_keys=on&_synchronous=OFF&_eats="
_SEND_PATIENCE = 90.0  # seconds: the library itself gives up on an acknowledgement after 75

T = TypeVar("T")
Content = dict[str, Any]  # the JSON form of a waE2E.Message, or a part of it

_KINDS = {
    "conversation": "text",
    "extendedTextMessage": "text",
    "imageMessage": "image",
    "documentMessage": "document",
    "audioMessage": "voice",
    "videoMessage": "video",
    "stickerMessage": "sticker",
    "reactionMessage": "reaction",
}
_PROTOCOL_KINDS = {"MESSAGE_EDIT": "edit", "REVOKE": "revoke"}  # protobuf leaves out REVOKE: it is 0


class PeerError(Exception):
    """The client could not do what it was told; its own words."""


@dataclass(eq=False)
class HeardMessage:
    """A message as its reader's client gives it."""

    id: str
    chat: str
    sender: str
    sender_alt: str
    from_me: bool
    is_group: bool
    time: int  # seconds since 1970
    name: str  # the sender's, as they chose it
    content: Content
    kind: str = "other"  # text image document voice video sticker reaction edit revoke other
    text: str = ""  # or caption, or emoji
    target: str = ""  # the id of the message that is reacted to, edited or revoked
    quoted_id: str = ""
    quoted_text: str = ""
    mentions: list[str] = field(default_factory=list[str])
    filename: str = ""
    mime: str = ""
    size: int = 0
    expiration: int = 0  # seconds


def _understand(line: dict[str, Any]) -> HeardMessage:
    content: Content = line.pop("message")
    heard = HeardMessage(**line, content=content)
    if "protocolMessage" in content:
        protocol = content["protocolMessage"]
        heard.kind = _PROTOCOL_KINDS.get(protocol.get("type", "REVOKE"), "other")
        heard.target = protocol.get("key", {}).get("ID", "")
        content = protocol.get("editedMessage", {})
    part: Content = {}
    for name, kind in _KINDS.items():
        if name in content:
            heard.kind = kind if heard.kind == "other" else heard.kind
            part = content[name] if isinstance(content[name], dict) else {"text": content[name]}
    context: Content = part.get("contextInfo", {})
    quoted: Content = context.get("quotedMessage", {})
    heard.text = part.get("text") or part.get("caption") or ""
    heard.target = heard.target or part.get("key", {}).get("ID", "")
    heard.quoted_id = context.get("stanzaID", "")
    heard.quoted_text = quoted.get("conversation") or quoted.get("extendedTextMessage", {}).get("text", "")
    heard.mentions = context.get("mentionedJID", [])
    heard.filename, heard.mime = part.get("fileName", ""), part.get("mimetype", "")
    heard.size, heard.expiration = int(part.get("fileLength", 0)), context.get("expiration", 0)
    return heard


Chat = str | Account | Group | HeardMessage


def _address(chat: Chat) -> str:
    if isinstance(chat, Account):
        return chat.pn
    if isinstance(chat, Group):
        return chat.jid
    return chat.chat if isinstance(chat, HeardMessage) else chat


class Peer:
    """A person with a client. All waits are bounded by `PATIENCE`; what fails raises `PeerError`."""

    def __init__(
        self, account: Account, launcher: Sequence[str], directory: Path, groups: dict[str, Group], tasks: TaskGroup
    ) -> None:
        self.account = account
        self.heard: list[HeardMessage] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.device: Device | None = None
        self._launcher, self._directory, self._groups, self._tasks = launcher, directory, groups, tasks
        self._calls = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._unread: list[HeardMessage] = []
        self._untold: list[tuple[str, dict[str, Any]]] = []
        self._news = anyio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ended = anyio.Event()

    # life

    async def start(self) -> None:
        """Start the client; it connects by itself."""
        ours, theirs = socket.socketpair()
        self._directory.mkdir(parents=True, exist_ok=True)
        with theirs, self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 (takes a millisecond, and no reading of its pipes)
                [*self._launcher, _DRIVER, str(theirs.fileno()), f"{self.database}{_FAST}"],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT)},
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LINE_LIMIT)
        self._ended = anyio.Event()
        self._tasks.start_soon(self._read, reader, self._ended)

    async def stop(self) -> None:
        """Let the client leave."""
        if self._writer is not None:
            self._writer.close()
        await self._reap()

    async def kill(self) -> None:
        """End the client without a word."""
        if self._process is not None:
            self._process.kill()
        await self._reap()

    async def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None or self._writer is None:
            return
        with anyio.fail_after(PATIENCE):
            await self._ended.wait()  # our end of the socket ends with the process
        process.wait()
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def wait_ended(self) -> None:
        """Wait until the client's process has ended by itself.

        Raises:
            TimeoutError: it lives.
        """
        with anyio.fail_after(PATIENCE):
            await self._ended.wait()

    async def wait_online(self) -> None:
        """Wait until the client knows that it is logged in, after its connection was cut: it says nothing before.

        Raises:
            TimeoutError: it does not come.
        """
        assert self.device is not None, "the peer is not linked"
        await self.device.wait_online()
        with anyio.fail_after(PATIENCE):
            while sum(name == "connected" for name, _ in self.events) < self.device.logins:
                await self._news.wait()

    @property
    def database(self) -> Path:
        """The client's session, as the library keeps it."""
        return self._directory / "session.db"

    @property
    def log(self) -> str:
        """What the client and its library printed."""
        return self._log.read_text(errors="replace")

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    async def _read(self, reader: asyncio.StreamReader, ended: anyio.Event) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                self._hear(json.loads(line))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(PeerError("the client's process ended"))
        self._answers.clear()
        ended.set()

    def _hear(self, line: dict[str, Any]) -> None:
        if "call" in line:
            answer = self._answers.pop(line["call"], None)
            if answer is None or answer.done():
                return
            if "error" in line:
                answer.set_exception(PeerError(line["error"]))
            else:
                answer.set_result(line["result"])
            return
        name = line.pop("event")
        if name == "message":
            message = _understand(line)
            self.heard.append(message)
            self._unread.append(message)
        else:
            self.events.append((name, line))
            self._untold.append((name, line))
        self._news.set()
        self._news = anyio.Event()

    async def _do(self, verb: str, patience: float = PATIENCE, **arguments: Any) -> Any:  # noqa: ANN401 (JSON)
        assert self._writer is not None, "the peer was not started"
        call = next(self._calls)
        answer = self._answers[call] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"call": call, "do": verb, **arguments}).encode() + b"\n")
        with anyio.fail_after(patience):
            return await answer

    # what it says

    async def send(self, chat: Chat, content: Content) -> str:
        """Send any message, given as the JSON form of `waE2E.Message`; its id."""
        return await self._do("send", _SEND_PATIENCE, chat=_address(chat), message=content)

    async def send_text(self, chat: Chat, text: str, mentions: Sequence[Account | str] = ()) -> str:
        """Send a text; who is mentioned in it (as `@digits`) is given apart, an account by its LID."""
        return await self.send(chat, {"extendedTextMessage": {"text": text, **_mentioning(mentions)}})

    async def reply(self, message: HeardMessage, text: str, mentions: Sequence[Account | str] = ()) -> str:
        """Answer a message, quoting it."""
        context = _mentioning(mentions).get("contextInfo", {})
        context |= {"stanzaID": message.id, "participant": message.sender, "quotedMessage": message.content}
        return await self.send(message.chat, {"extendedTextMessage": {"text": text, "contextInfo": context}})

    async def react(self, message: HeardMessage, emoji: str) -> str:
        """React to a message; an empty text takes the reaction back."""
        key = {"remoteJID": message.chat, "fromMe": message.from_me, "ID": message.id}
        if message.is_group:
            key["participant"] = message.sender
        reaction = {"key": key, "text": emoji, "senderTimestampMS": message.time * 1000}
        return await self.send(message.chat, {"reactionMessage": reaction})

    async def edit(self, chat: Chat, id: str, text: str) -> str:
        """Change an own message."""
        edit = {"type": "MESSAGE_EDIT", "key": _own_key(chat, id), "editedMessage": {"conversation": text}}
        return await self.send(chat, {"editedMessage": {"message": {"protocolMessage": edit}}})

    async def revoke(self, chat: Chat, id: str) -> str:
        """Delete an own message for everybody."""
        return await self.send(chat, {"protocolMessage": {"type": "REVOKE", "key": _own_key(chat, id)}})

    async def send_image(self, chat: Chat, data: bytes, caption: str = "", mime: str = "image/png") -> str:
        """Send a picture."""
        return await self._send_file(chat, "Image", data, mime, {"caption": caption})

    async def send_document(
        self, chat: Chat, data: bytes, filename: str, caption: str = "", mime: str = "application/octet-stream"
    ) -> str:
        """Send a file."""
        return await self._send_file(chat, "Document", data, mime, {"fileName": filename, "caption": caption})

    async def send_voice(self, chat: Chat, data: bytes, seconds: int = 1) -> str:
        """Send a voice note."""
        return await self._send_file(chat, "Audio", data, "audio/ogg; codecs=opus", {"PTT": True, "seconds": seconds})

    async def _send_file(self, chat: Chat, kind: str, data: bytes, mime: str, more: Content) -> str:
        uploaded = await self._do("upload", data=base64.b64encode(data).decode(), kind=kind)
        return await self.send(chat, {f"{kind.lower()}Message": {**uploaded, "mimetype": mime, **more}})

    async def mark_read(self, message: HeardMessage) -> None:
        """Send a read receipt."""
        await self._do("mark_read", id=message.id, chat=message.chat, sender=message.sender)

    async def typing(self, chat: Chat, on: bool = True) -> None:
        """Show that it types, or no more."""
        await self._do("typing", chat=_address(chat), on=on)

    async def active_receipts(self) -> None:
        """Send delivery receipts of the kind that senders see."""
        await self._do("active_receipts")

    async def pair_code(self) -> str:
        """Ask for a code by which the phone links this client."""
        return await self._do("pair_phone", phone=self.account.phone)

    # groups

    async def create_group(self, subject: str, members: Sequence[Account]) -> Group:
        """Make a group."""
        return self._groups[await self._do("create_group", subject=subject, members=[m.pn for m in members])]

    async def rename_group(self, group: Group, subject: str) -> None:
        """Give a group another name."""
        await self._do("rename_group", group=group.jid, subject=subject)

    async def add_member(self, group: Group, account: Account) -> None:
        """Take somebody into a group."""
        await self._do("change_members", group=group.jid, members=[account.lid], change="ADD")

    async def remove_member(self, group: Group, account: Account) -> None:
        """Put somebody out of a group."""
        await self._do("change_members", group=group.jid, members=[account.lid], change="REMOVE")

    async def leave_group(self, group: Group) -> None:
        """Leave a group."""
        await self._do("leave_group", group=group.jid)

    # what it hears

    async def next_message(
        self,
        text: str | Callable[[str], bool] | None = None,
        chat: Chat | None = None,
        kind: str | None = None,
        within: float = PATIENCE,
    ) -> HeardMessage:
        """The next message not taken before that fits, now or when it comes; empty ones only if asked for by kind.

        Raises:
            TimeoutError: none came.
        """

        def fits(message: HeardMessage) -> bool:
            if text is not None and not (text(message.text) if callable(text) else message.text == text):
                return False
            if chat is not None and message.chat != _address(chat):
                return False
            return message.kind == kind if kind is not None else message.kind != "other"

        return await self._next(self._unread, fits, f"a message {text or ''} {kind or ''}", within)

    async def next_event(self, name: str, within: float = PATIENCE, **having: Any) -> dict[str, Any]:  # noqa: ANN401
        """The next event of this name (and with these values) not taken before.

        Raises:
            TimeoutError: none came.
        """

        def fits(event: tuple[str, dict[str, Any]]) -> bool:
            return event[0] == name and having.items() <= event[1].items()

        return (await self._next(self._untold, fits, f"event {name} {having}", within))[1]

    async def _next(self, queue: list[T], fits: Callable[[T], bool], what: str, within: float) -> T:
        with anyio.move_on_after(within):
            while True:
                found = next((item for item in queue if fits(item)), None)
                if found is not None:
                    queue.remove(found)
                    return found
                await self._news.wait()
        raise TimeoutError(f"{self.account.name} did not get {what} within {within:g} s; unread: {queue}")

    async def download(self, message: HeardMessage) -> bytes:
        """The file in a message."""
        return base64.b64decode(await self._do("download", id=message.id))


def _mentioning(mentions: Sequence[Account | str]) -> Content:
    if not mentions:
        return {}
    named = [mention.lid if isinstance(mention, Account) else mention for mention in mentions]
    return {"contextInfo": {"mentionedJID": named}}


def _own_key(chat: Chat, id: str) -> Content:
    return {"remoteJID": _address(chat), "fromMe": True, "ID": id}
