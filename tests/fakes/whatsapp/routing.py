"""What a client says to others: messages, receipts and typing, passed on to the devices that they are for."""

from tests.fakes.whatsapp.accounts import Account, Device, receipt_ids
from tests.fakes.whatsapp.records import WireChatstate, WireMessage, WireReceipt
from tests.fakes.whatsapp.stanza import JID, AttrValue, Node, first_child, free_text, jid_of, node, now, show_jid
from tests.fakes.whatsapp.world import World

_PASSED_ON = ("edit", "category", "mediatype")  # attributes of a message that its readers get too
_OTHER_PARTS = ("bot", "meta", "biz")
_FORBIDDEN = "403"


def message(world: World, sender: Device, stanza: Node) -> None:
    """Take a message, acknowledge it and pass it on; to a group only from a member."""
    record = _record(world, sender, stanza)
    to = jid_of(stanza, "to")
    ack: dict[str, AttrValue] = {"class": "message", "id": record.id, "from": to, "t": now()}
    group = world.groups.get(show_jid(to))
    if to.server == "g.us" and (group is None or sender.account not in group.members):
        sender.acknowledge(node("ack", {**ack, "error": _FORBIDDEN}))
        return
    if stanza.get_child("participants") is None and stanza.attrs.get("device_fanout") == "false":
        _pass_retry(world, sender, stanza)
    elif group is not None:
        _pass_to_group(world, sender, stanza)
    else:
        _pass_directly(world, sender, stanza)
    sender.acknowledge(node("ack", ack))


def _record(world: World, sender: Device, stanza: Node) -> WireMessage:
    id = str(stanza.attrs["id"])
    record = world.records.find(id, sender)
    if record is None:
        to, type = show_jid(jid_of(stanza, "to")), str(stanza.attrs.get("type", ""))
        record = WireMessage(id, sender, to, type, str(stanza.attrs.get("edit", "")))
        record.bot = stanza.get_child("bot") is not None
        record.encs = sorted({str(enc.attrs.get("type")) for enc in _encs(stanza)})
        world.records.add(record)
    record.sent += 1
    return record


def _encs(stanza: Node) -> list[Node]:
    participants = stanza.get_child("participants")
    recipients = participants.get_children("to") if participants is not None else []
    own = stanza.get_children("enc")
    return own + [enc for recipient in recipients for enc in recipient.get_children("enc")]


def _by_device(world: World, stanza: Node) -> dict[Device, list[Node]]:
    """The parts that are for one device each."""
    participants = stanza.get_child("participants")
    parts: dict[Device, list[Node]] = {}
    for recipient in participants.get_children("to") if participants is not None else []:
        device = world.device_of(jid_of(recipient, "jid"))
        if device is not None:
            parts.setdefault(device, []).extend(recipient.get_children("enc"))
    return parts


def _common(world: World, sender: Device, stanza: Node) -> dict[str, AttrValue]:
    attrs: dict[str, AttrValue] = {
        "id": stanza.attrs["id"],
        "type": stanza.attrs.get("type", "text"),
        "t": now() + world.ahead,
        "notify": free_text(sender.account.name),
    }
    return attrs | {name: stanza.attrs[name] for name in _PASSED_ON if name in stanza.attrs}


def _common_parts(stanza: Node) -> list[Node]:
    identity = stanza.get_child("device-identity")
    others = [part for tag in _OTHER_PARTS for part in stanza.get_children(tag)]
    return others + ([identity] if identity is not None else [])


def _direct_source(world: World, sender: Device) -> dict[str, AttrValue]:
    if world.direct_addressing == "lid":
        return {"from": sender.jid("lid"), "sender_pn": sender.account.jid("pn")}
    return {"from": sender.jid("pn"), "sender_lid": sender.account.jid("lid")}


def _pass_directly(world: World, sender: Device, stanza: Node) -> None:
    for device, encs in _by_device(world, stanza).items():
        attrs = _common(world, sender, stanza) | _direct_source(world, sender)
        if device.account is sender.account:
            attrs["recipient"] = _recipient(world, jid_of(stanza, "to"), attrs)
        device.deliver(node("message", attrs, [*encs, *_common_parts(stanza)]))


def _recipient(world: World, to: JID, attrs: dict[str, AttrValue]) -> JID:
    """Whom a copy for an own device was sent to, with its other address beside it."""
    account = world.account_of(to)
    if account is None:
        return to
    if world.direct_addressing == "lid":
        attrs["peer_recipient_pn"] = account.jid("pn")
    else:
        attrs["peer_recipient_lid"] = account.jid("lid")
    return account.jid(world.direct_addressing)


def _pass_to_group(world: World, sender: Device, stanza: Node) -> None:
    group = world.groups[show_jid(jid_of(stanza, "to"))]
    own_parts = _by_device(world, stanza)
    attrs = _common(world, sender, stanza) | {
        "from": group.address,
        "participant": sender.jid(group.addressing),
        "addressing_mode": group.addressing,
    }
    if group.addressing == "lid":
        attrs["participant_pn"] = sender.account.jid("pn")
    else:
        attrs["participant_lid"] = sender.account.jid("lid")
    asked = stanza.attrs.get("participant")
    only = world.device_of(asked) if isinstance(asked, JID) else None  # a device that wanted it again
    for device in [only] if only is not None else group.devices(but=sender):
        encs = [*own_parts.get(device, []), *stanza.get_children("enc")]
        if encs:
            device.deliver(node("message", attrs, [*encs, *_common_parts(stanza)]))


def _pass_retry(world: World, sender: Device, stanza: Node) -> None:
    device = world.device_of(jid_of(stanza, "to"))
    if device is not None:
        attrs = _common(world, sender, stanza) | _direct_source(world, sender)
        recipient = stanza.attrs.get("recipient")
        if isinstance(recipient, JID):
            attrs["recipient"] = recipient
        device.deliver(node("message", attrs, [*stanza.get_children("enc"), *_common_parts(stanza)]))


def receipt(world: World, sender: Device, stanza: Node) -> None:
    """Take a receipt: the message waits no more; tell those who sent it."""
    sender.confirm(stanza)
    to, type = jid_of(stanza, "to"), str(stanza.attrs.get("type", ""))
    acked = {name: stanza.attrs[name] for name in ("type", "participant") if name in stanza.attrs}
    sender.answer(node("ack", {"class": "receipt", "id": stanza.attrs["id"], "from": to, **acked}))
    for id in receipt_ids(stanza):
        seen = WireReceipt(id, sender, type or "delivered")
        world.records.receipts.append(seen)
        for message in world.records.with_id(id):
            if message.sender is not sender:
                message.receipts.append(seen)
                message.confirmed.add(sender.address)
    _pass_receipt(world, sender, stanza, to)


def _pass_receipt(world: World, sender: Device, stanza: Node, to: JID) -> None:
    author = stanza.attrs.get("participant", to)
    account = (
        world.account_of(author) if isinstance(author, JID) and author.server in ("lid", "s.whatsapp.net") else None
    )
    if account is None:
        return
    group = world.groups.get(show_jid(to))
    attrs = {name: value for name, value in stanza.attrs.items() if name not in ("to", "participant")} | {"t": now()}
    if group is not None:
        attrs |= {"from": group.address, "participant": sender.jid(group.addressing)}
    else:
        attrs["from"] = sender.jid(world.direct_addressing)
    for device in _asked(account, author) if stanza.attrs.get("type") == "retry" else account.devices:
        if device is not sender:
            device.deliver(node("receipt", attrs, stanza.content))


def _asked(account: Account, author: AttrValue) -> list[Device]:
    """The one device that a request to send again is for."""
    return [device for device in account.devices if isinstance(author, JID) and device.number == author.device]


def chatstate(world: World, sender: Device, stanza: Node) -> None:
    """Somebody types, or has stopped: tell the others in that chat."""
    to, state = jid_of(stanza, "to"), first_child(stanza)
    assert state is not None
    is_recording = state.attrs.get("media") == "audio"
    shown = "recording" if is_recording else state.tag
    world.records.chatstates.append(WireChatstate(sender, show_jid(to), shown))
    group, account = world.groups.get(show_jid(to)), world.account_of(to)
    if group is not None:
        source: dict[str, AttrValue] = {"from": group.address, "participant": sender.jid(group.addressing)}
        devices = [device for device in group.devices() if device.account is not sender.account]
    else:
        source = {"from": sender.jid(world.direct_addressing)}
        devices = account.devices if account is not None else []
    for device in devices:
        device.answer(node("chatstate", source, stanza.content))


def presence(world: World, sender: Device, stanza: Node) -> None:
    """Somebody says whether they are there."""
    world.records.presences.append((sender, str(stanza.attrs.get("type", "available"))))


def ack(_world: World, sender: Device, stanza: Node) -> None:
    """A client has what it was given."""
    sender.confirm(stanza)


def nothing(_world: World, _sender: Device, _stanza: Node) -> None:
    """Something that only WhatsApp's own statistics are interested in."""
