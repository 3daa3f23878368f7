"""The child process of a `Peer`: a neonize client that does what it is told, in JSON lines on a socket.

Started as `driver.py FD DATABASE`. A line in is `{"call": n, "do": VERB, ...}`; a line out is
`{"call": n, "result" or "error": ...}` or `{"event": NAME, ...}`. Messages go both ways as the JSON form of
`waE2E.Message`, with the field names of the protobuf.
"""

import asyncio
import base64
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message as AnyMessage
from neonize.aioze import events  # pyright: ignore[reportMissingTypeStubs]
from neonize.aioze.client import NewAClient  # pyright: ignore[reportMissingTypeStubs]
from neonize.proto.Neonize_pb2 import JID
from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message
from neonize.utils.enum import (  # pyright: ignore[reportMissingTypeStubs]
    ChatPresence,
    ChatPresenceMedia,
    MediaType,
    ParticipantChange,
    ReceiptType,
)

_NAMED_EVENTS = {
    "connected": events.ConnectedEv,
    "disconnected": events.DisconnectedEv,
    "logged_out": events.LoggedOutEv,
    "replaced": events.StreamReplacedEv,
    "banned": events.TemporaryBanEv,
    "connect_failure": events.ConnectFailureEv,
    "outdated": events.ClientOutdatedEv,
    "keepalive_timeout": events.KeepAliveTimeoutEv,
    "stream_error": events.StreamErrorEv,
    "pair_status": events.PairStatusEv,
    "joined_group": events.JoinedGroupEv,
    "group": events.GroupInfoEv,
    "offline_done": events.OfflineSyncCompletedEv,
    "presence": events.PresenceEv,
}


def _jid(text: str) -> JID:
    user, _, server = text.rpartition("@")
    return JID(User=user, Server=server, Device=0, RawAgent=0, Integrator=0, IsEmpty=False)


def _text(jid: JID) -> str:
    return f"{jid.User}@{jid.Server}" if jid.User else ""


def _json(message: AnyMessage) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


class Driver:
    """The client and the verbs."""

    def __init__(self, database: str, writer: asyncio.StreamWriter) -> None:
        self.client = NewAClient(database, props=DeviceProps(os="peer", platformType=DeviceProps.CHROME))
        self._writer = writer
        self._messages: dict[str, Message] = {}
        self._listen()

    def say(self, **line: Any) -> None:  # noqa: ANN401 (whatever JSON has)
        """One line out."""
        self._writer.write(json.dumps(line).encode() + b"\n")

    async def obey(self, line: dict[str, Any]) -> None:
        """Do one thing and tell how it went."""
        call, verb = line.pop("call"), line.pop("do")
        try:
            self.say(call=call, result=await getattr(self, f"do_{verb}")(**line))
        except Exception as error:  # noqa: BLE001 (the other side shall hear of everything)
            self.say(call=call, error=f"{type(error).__name__}: {error}")

    def _listen(self) -> None:
        client = self.client

        async def on_code(_: NewAClient, code: bytes) -> None:
            self.say(event="qr", code=code.decode())

        client.qr(on_code)
        for name, type_ in _NAMED_EVENTS.items():
            client.event(type_)(self._teller(name))
        client.event(events.MessageEv)(self._on_message)
        client.event(events.ReceiptEv)(self._on_receipt)
        client.event(events.ChatPresenceEv)(self._on_chatstate)

    def _teller(self, name: str) -> Callable[[NewAClient, AnyMessage], Awaitable[None]]:
        async def tell(_: NewAClient, event: AnyMessage) -> None:
            self.say(event=name, **_json(event))

        return tell

    async def _on_message(self, _: NewAClient, event: events.MessageEv) -> None:
        info, source = event.Info, event.Info.MessageSource
        content = cast("Message", event.Message)  # pyright: ignore[reportUnknownMemberType]
        self._messages[info.ID] = content
        self.say(
            event="message",
            id=info.ID,
            chat=_text(source.Chat),
            sender=_text(source.Sender),
            sender_alt=_text(source.SenderAlt),
            from_me=source.IsFromMe,
            is_group=source.IsGroup,
            time=info.Timestamp // 1000,
            name=info.Pushname,
            message=_json(content),
        )

    async def _on_receipt(self, _: NewAClient, event: events.ReceiptEv) -> None:
        source = event.MessageSource
        self.say(
            event="receipt",
            type=_json(event)["Type"].lower(),
            ids=list(event.MessageIDs),
            chat=_text(source.Chat),
            sender=_text(source.Sender),
        )

    async def _on_chatstate(self, _: NewAClient, event: events.ChatPresenceEv) -> None:
        source = event.MessageSource
        self.say(
            event="chatstate", state=_json(event)["State"].lower(), chat=_text(source.Chat), sender=_text(source.Sender)
        )

    # verbs

    async def do_send(self, chat: str, message: dict[str, Any]) -> str:
        """Send a message; its id."""
        return (await self.client.send_message(_jid(chat), ParseDict(message, Message()))).ID

    async def do_upload(self, data: str, kind: str) -> dict[str, Any]:
        """Put a file on the media host; the fields by which a message refers to it."""
        binary = base64.b64decode(data)
        uploaded = await self.client.upload(binary, getattr(MediaType, f"Media{kind}"))
        return {
            "URL": uploaded.url,
            "directPath": uploaded.DirectPath,
            "mediaKey": base64.b64encode(uploaded.MediaKey).decode(),
            "fileEncSHA256": base64.b64encode(uploaded.FileEncSHA256).decode(),
            "fileSHA256": base64.b64encode(uploaded.FileSHA256).decode(),
            "fileLength": uploaded.FileLength,
        }

    async def do_download(self, id: str) -> str:
        """The file of a message that was heard, base64."""
        data = await self.client.download_any(self._messages[id])
        assert data is not None
        return base64.b64encode(data).decode()

    async def do_mark_read(self, id: str, chat: str, sender: str) -> None:
        """Say that a message was read."""
        await self.client.mark_read(id, chat=_jid(chat), sender=_jid(sender), receipt=ReceiptType.READ)

    async def do_typing(self, chat: str, on: bool) -> None:
        """Say that we type, or have stopped."""
        state = ChatPresence.CHAT_PRESENCE_COMPOSING if on else ChatPresence.CHAT_PRESENCE_PAUSED
        await self.client.send_chat_presence(_jid(chat), state, ChatPresenceMedia.CHAT_PRESENCE_MEDIA_TEXT)

    async def do_create_group(self, subject: str, members: list[str]) -> str:
        """Make a group; its address."""
        return _text((await self.client.create_group(subject, [_jid(member) for member in members])).JID)

    async def do_rename_group(self, group: str, subject: str) -> None:
        """Give a group another name."""
        await self.client.set_group_name(_jid(group), subject)

    async def do_change_members(self, group: str, members: list[str], change: str) -> None:
        """Add or remove people; `change` is `ADD` or `REMOVE`."""
        people = [_jid(member) for member in members]
        await self.client.update_group_participants(_jid(group), people, getattr(ParticipantChange, change))

    async def do_leave_group(self, group: str) -> None:
        """Leave a group."""
        await self.client.leave_group(_jid(group))

    async def do_pair_phone(self, phone: str) -> str:
        """Ask to be linked by a code; the code."""
        return await self.client.PairPhone(phone, show_push_notification=True)

    async def do_active_receipts(self) -> None:
        """Let delivery receipts count as those of somebody who is there."""
        await self.client.set_force_activate_delivery_receipts(True)


async def main() -> None:
    """Connect, then obey until the other side hangs up."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    reader, writer = await asyncio.open_connection(sock=channel, limit=1 << 26)
    driver = Driver(sys.argv[2], writer)
    await driver.client.connect()
    doing: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(driver.obey(json.loads(line)))
        doing.add(task)
        task.add_done_callback(doing.discard)
    await driver.client.disconnect()
    os._exit(0)  # the library keeps an unlinked client alive otherwise


asyncio.run(main())
