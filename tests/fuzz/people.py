"""What people and chats give: the groups' file, the mount allowlist, lists of hosts, WhatsApp's messages."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from neonize.proto.Neonize_pb2 import JID, MessageInfo, MessageSource
from neonize.proto.Neonize_pb2 import Message as MessageEvent
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message

from nanoclaw import hosts, media
from nanoclaw.channels.whatsapp.inbound import read_account, read_news, read_outcome, read_spooled
from nanoclaw.channels.whatsapp.protocol import Account, News, Outcome, ProtocolError, Spooled, Unpacker, body_of, pack
from nanoclaw.channels.whatsapp.worker import normalise
from nanoclaw.config import Home
from nanoclaw.errors import ConfigError, MountError
from nanoclaw.groups import parse_groups
from nanoclaw.model import AdditionalMount, Folder, Inbound, InboundMessage, Jid, RegisteredGroup
from nanoclaw.sandbox.extra_mounts import allowlist_path, extra_mounts
from tests.fuzz.target import scratch_directory, target

_GROUPS: Final = {
    "120363@g.us": {
        "name": "Family", "folder": "family", "trigger": "@Andy", "added_at": "2026-01-31T12:00:00Z",
        "requiresTrigger": True, "provider": "codex",
        "providerConfig": {"codex": {"approvalPolicy": "auto", "authMethod": "chatgpt", "model": "gpt"}},
        "containerConfig": {
            "additionalMounts": [{"hostPath": "~/a", "containerPath": "a", "readonly": True}], "timeout": 600000
        },
        "network": {"policy": "allowlist", "allow": ["*.example.org", "a.b:8443"], "deny": ["evil.org"]},
        "senders": {"policy": "allowlist", "allow": ["491511234567"]},
    }
}  # fmt: skip


@target("groups", json.dumps(_GROUPS).encode(), b'{"a":{"name":"a","folder":"a","trigger":"@a"}}')
def groups(data: bytes) -> None:
    """The file is groups, or refused with a place."""
    path = Path("/nowhere/registered_groups.json")
    with suppress(ConfigError, UnicodeDecodeError):
        for jid, group in parse_groups(data.decode("utf-8"), path).items():
            assert group.folder.replace("-", "").replace("_", "").isalnum()
            assert "/" not in group.folder
            assert jid == group.jid


_SCRATCH: Final = scratch_directory()
_ALLOWLIST: Final = {
    "allowedRoots": [{"path": str(_SCRATCH / "free"), "allowReadWrite": True}],
    "blockedPatterns": ["*.key", "secret*"],
    "nonMainReadOnly": True,
}


@target("allowlist", json.dumps(_ALLOWLIST).encode(), words=(b"[a-z]", b"*" * 30, b"?", b"[!", str(_SCRATCH).encode()))
def allowlist(data: bytes) -> None:
    """A list permits what lies below its roots, or nothing."""
    os.environ["XDG_CONFIG_HOME"] = str(_SCRATCH / "config")
    for place in ("free/a", "locked/b", "config/nanoclaw", "free/.ssh"):
        (_SCRATCH / place).mkdir(parents=True, exist_ok=True)
    allowlist_path().write_bytes(data)
    for place in ("locked/b", "free/.ssh", "free/a"):
        wanted = AdditionalMount(host_path=str(_SCRATCH / place), container_path="x", readonly=False)
        group = RegisteredGroup(
            jid=Jid("local:a"), name="a", folder=Folder("a"), trigger="@a", added_at="", additional_mounts=(wanted,)
        )
        try:
            mounts = extra_mounts(Home(_SCRATCH / "home"), group, (group,))
        except MountError:
            continue
        roots = [Path(root["path"]).expanduser().resolve() for root in json.loads(data)["allowedRoots"]]
        assert any(mounts[0].source.is_relative_to(root) for root in roots), "outside of every root"
        assert ".ssh" not in mounts[0].source.parts


@target(
    "hosts", b"*.example.org", b"example.org:8443", b"[2001:db8::1]:443", b"127.0.0.1", "bücher.de".encode(), b"0x7f.1"
)
def hosts_of_lists(data: bytes) -> None:
    """A pattern is one that reads the same again, or refused."""
    text = data.decode("utf-8", "replace")
    with suppress(ValueError):
        pattern = hosts.parse_pattern(text)
        assert hosts.parse_pattern(str(pattern)) == pattern, "it reads differently the second time"
        assert str(pattern).isascii()
    split = hosts.split_authority(text, 80)
    if split is not None:
        host, port = split
        assert hosts.canonical_host(host) == host, "a host with two spellings"
        assert 0 < port < 1 << 16


class _People:
    """Nobody is known, every chat is followed."""

    own = ("491@s.whatsapp.net", "77@lid")
    shared = False

    def person(self, addresses: Sequence[str], name: str = "") -> str:
        return addresses[0] if addresses else ""

    def chat(self, addresses: Sequence[str]) -> Jid:
        return Jid(addresses[0] if addresses else "")

    def name(self, address: str) -> str:
        return ""

    def follows(self, chat: Jid) -> bool:
        return True

    def is_ours(self, ext_id: str) -> bool:
        return ext_id == "OURS"


def _event(**parts: object) -> bytes:
    source = MessageSource(
        Chat=JID(User="120363", Server="g.us"), Sender=JID(User="4915", Server="s.whatsapp.net"), IsGroup=True
    )
    info = MessageInfo(ID="A1", Pushname="Bob", Timestamp=1_790_000_000, MessageSource=source)
    return MessageEvent(Info=info, Message=Message(**parts)).SerializePartialToString()  # pyright: ignore[reportArgumentType]


_TEXT: Final = {"text": "hi", "contextInfo": {"stanzaID": "OURS", "participant": "491:3@s.whatsapp.net"}}
_KEY: Final = {"ID": "A0", "fromMe": False, "participant": "4915@s.whatsapp.net"}


@target(
    "whatsapp",
    _event(conversation="hello"),
    _event(extendedTextMessage=_TEXT),
    _event(imageMessage={"caption": "look", "mimetype": "image/jpeg; x=1", "fileLength": 1000}),
    _event(documentMessage={"fileName": "../../a.pdf", "mimetype": "application/pdf", "fileLength": 1 << 60}),
    _event(reactionMessage={"key": _KEY, "text": "👍"}),
    _event(protocolMessage={"key": _KEY, "type": "REVOKE"}),
    _event(ephemeralMessage={"message": {"viewOnceMessage": {"message": {"conversation": "deep"}}}}),
    _event(contactMessage={"displayName": "Eve", "vcard": "BEGIN:VCARD\nTEL;x:+49 1\nEND:VCARD"}),
    _event(locationMessage={"degreesLatitude": 1.5, "degreesLongitude": -0.0, "name": "x"}),
    _event(pollCreationMessage={"name": "?", "options": [{"optionName": "a"}]}),
    words=(b"OURS", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
)
def whatsapp(data: bytes) -> None:
    """Whatever a message says, the host is told something that it can keep and show, or nothing."""
    event = MessageEvent()
    try:
        event.ParseFromString(data)
    except DecodeError:
        return
    people = _People()
    try:
        inbound, _ = normalise.normalise(event, people)
        read = _handed_over(inbound)
    except Exception:  # noqa: BLE001  # as the worker does: what cannot be understood is told as such
        read = _handed_over(normalise.unreadable(event, people))
    if isinstance(read, InboundMessage):
        _kept(read)


def _handed_over(inbound: Inbound | None) -> Inbound | None:
    """What the host makes of it."""
    if inbound is None:
        return None
    kind = type(inbound).__name__.removeprefix("Inbound").lower()
    (frame,) = Unpacker().feed(pack(body_of(Spooled(seq=1, kind=kind, body=body_of(inbound)))))
    return read_spooled(frame)[1]


def _kept(message: InboundMessage) -> None:
    for number, attachment in enumerate(message.attachments):
        name = media.file_name(message, number, attachment)
        assert "/" not in name
        assert not name.startswith(".")
        assert len(name.encode()) < 250
        assert name.isprintable()


_FRAMES: Final = (
    body_of(Spooled(seq=1, kind="chat", body={"channel": "whatsapp", "chat": "1@g.us", "name": "x", "is_group": True})),
    body_of(News(happening="connected")),
    body_of(Outcome(key="k", result="sent", platform_id="A")),
    body_of(Account(phone="49151")),
)


@target("frames", *(pack(frame) for frame in _FRAMES), words=(b"\0\0\0\x02", b"\xff\xff\xff\xff", b"[" * 1500))
def frames(data: bytes) -> None:
    """The worker's bytes are messages, the same in whichever pieces they come, or a fault of the worker's."""
    assert _unpacked([data]) == _unpacked([data[:3], data[3:9], data[9:]])
    for frame in _unpacked([data])[0]:
        for read in (read_spooled, read_news, read_outcome, read_account):
            with suppress(ProtocolError):
                read(frame)


def _unpacked(pieces: list[bytes]) -> tuple[list[dict[str, object]], bool]:
    unpacker = Unpacker()
    found: list[dict[str, object]] = []
    try:
        for piece in pieces:
            found += unpacker.feed(piece)
    except ProtocolError:
        return found, False
    return found, True
