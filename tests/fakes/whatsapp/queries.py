"""Questions that clients put to the server (`iq`), and the answers."""

from collections.abc import Callable

from tests.fakes.whatsapp import linking
from tests.fakes.whatsapp.accounts import Account, Device
from tests.fakes.whatsapp.connection import Connection
from tests.fakes.whatsapp.groups import Group
from tests.fakes.whatsapp.stanza import JID, SERVER, Node, child_of, first_child, jid_of, node, show_jid
from tests.fakes.whatsapp.world import World

_MEDIA_HOST = "mmg.whatsapp.net"
_LIFETIME = 300  # seconds that a permission to send media holds
_DJB_TYPE = b"\x05"  # the kind of all keys
_NOT_FOUND, _FORBIDDEN = ("404", "item-not-found"), ("403", "forbidden")
# asked by every client and answered with nothing: the fake has no phone that could know more
_EMPTY_ANSWERS = {
    "w:p/",
    "w:p/ping",
    "passive/active",
    "passive/passive",
    "urn:xmpp:whatsapp:dirty/clean",
    "privacy/tokens",
}

Answer = Node | None  # the content of the result; None for a result without
Query = Callable[[World, Device, Node, Node], Answer]


class _Refused(Exception):
    """The answer is an error: code and text."""


def answer(world: World, connection: Connection, question: Node) -> None:
    """Answer a question; what is unknown gets an empty result and is noted."""
    if question.attrs.get("type") in ("result", "error"):
        _hear_answer(connection, question)
        return
    what = _kind(question)
    attrs = {"from": question.attrs.get("to", SERVER), "id": question.attrs["id"]}
    try:
        content = _content(world, connection, question, what)
    except _Refused as refusal:
        code, text = refusal.args
        error = node("error", {"code": code, "text": text})
        connection.send(node("iq", {**attrs, "type": "error"}, [error]))
        return
    connection.send(node("iq", {**attrs, "type": "result"}, [content] if content is not None else None))


def _kind(question: Node) -> str:
    child = first_child(question)
    return f"{question.attrs.get('xmlns', '')}/{child.tag if child is not None else ''}"


def _hear_answer(connection: Connection, result: Node) -> None:
    """A client that was linked has to connect again, with its new identity."""
    child = first_child(result)
    if child is not None and child.tag == "pair-device-sign":
        connection.send(node("stream:error", {"code": "515"}))
        connection.close()


def _content(world: World, connection: Connection, question: Node, what: str) -> Answer:
    child, device = first_child(question), connection.device
    if what == "md/link_code_companion_reg" and child is not None:
        return _link_by_code(world, connection, child)
    query = _QUERIES.get(f"{question.attrs.get('type')} {what}") or _QUERIES.get(what)
    if query is not None and device is not None and child is not None:
        return query(world, device, question, child)
    if what not in _EMPTY_ANSWERS:
        world.records.unknown.append(what)
    return None


def _link_by_code(world: World, connection: Connection, request: Node) -> Answer:
    phone = jid_of(request, "jid").user
    if request.attrs.get("stage") == "companion_hello":
        return linking.hello(world, connection, phone, request)
    linking.finish(world, phone, request)
    return None


# keys


def _count_prekeys(_world: World, device: Device, _question: Node, _child: Node) -> Answer:
    return node("count", {"value": len(device.keys.prekeys)})


def _upload_prekeys(_world: World, device: Device, question: Node, _child: Node) -> Answer:
    keys, signed = device.keys, child_of(question, "skey")
    for key in child_of(question, "list").get_children("key"):
        keys.prekeys.append((child_of(key, "id").content_bytes(), child_of(key, "value").content_bytes()))
    id, value, signature = (child_of(signed, name).content_bytes() for name in ("id", "value", "signature"))
    keys.signed_prekey = (id, value, signature)
    keys.identity = child_of(question, "identity").content_bytes()
    keys.registration = child_of(question, "registration").content_bytes()
    return None


def _give_prekeys(world: World, _device: Device, _question: Node, child: Node) -> Answer:
    wanted = [jid_of(user, "jid") for user in child.get_children("user")]
    return node("list", {}, [_bundle(world.device_of(jid), jid) for jid in wanted])


def _bundle(device: Device | None, jid: JID) -> Node:
    if device is None or device.keys.refused:
        code, text = _NOT_FOUND
        return node("user", {"jid": jid}, [node("error", {"code": code, "text": text})])
    keys = device.keys
    one_time = [_key("key", *keys.prekeys.pop(0))] if keys.prekeys else []
    content = [
        node("registration", content=keys.registration),
        node("type", content=_DJB_TYPE),
        node("identity", content=keys.identity),
        *one_time,
        _key("skey", *keys.signed_prekey),
    ]
    return node("user", {"jid": jid}, content)


def _key(tag: str, id: bytes, value: bytes, signature: bytes | None = None) -> Node:
    signed = [node("signature", content=signature)] if signature is not None else []
    return node(tag, {}, [node("id", content=id), node("value", content=value), *signed])


# people


def _look_up(world: World, _device: Device, _question: Node, child: Node) -> Answer:
    asked = {wish.tag for wish in child_of(child, "query").get_children()}
    users = [_user(world, user, asked) for user in child_of(child, "list").get_children("user")]
    return node("usync", {}, [node("list", {}, users)])


def _user(world: World, user: Node, asked: set[str]) -> Node:
    jid = user.attrs.get("jid")
    if not isinstance(jid, JID):
        number = child_of(user, "contact").content_bytes().decode().strip("+").partition("@")[0]
        jid = JID(user=number, server="s.whatsapp.net")
    account = world.account_of(jid)
    content: list[Node] = []
    if "devices" in asked:
        content.append(node("devices", {}, [node("device-list", {}, _devices(account))]))
    if "lid" in asked and account is not None:
        content.append(node("lid", {"val": account.jid("lid")}))
    if "contact" in asked:
        content.append(node("contact", {"type": "in" if account is not None else "out"}))
    if "status" in asked:
        content.append(node("status", content=b""))
    return node("user", {"jid": jid}, content)


def _devices(account: Account | None) -> list[Node]:
    devices = account.devices if account is not None else []
    return [node("device", {"id": device.number, "key-index": device.number}) for device in devices]


def _media_hosts(_world: World, _device: Device, _question: Node, _child: Node) -> Answer:
    attrs = {"auth": "auth", "ttl": _LIFETIME, "auth_ttl": _LIFETIME, "max_buckets": 12}
    return node("media_conn", attrs, [node("host", {"hostname": _MEDIA_HOST})])


def _privacy(_world: World, _device: Device, _question: Node, _child: Node) -> Answer:
    return node("privacy")


def _unlink(_world: World, device: Device, _question: Node, _child: Node) -> Answer:
    device.account.devices.remove(device)
    return None


# groups


def _group(world: World, device: Device, question: Node) -> Group:
    """The group that is asked about, which the asker must be in."""
    group = world.groups.get(show_jid(jid_of(question, "to")))
    if group is None:
        raise _Refused(*_NOT_FOUND)
    if device.account not in group.members:
        raise _Refused(*_FORBIDDEN)
    return group


def _people(world: World, parent: Node) -> list[Account]:
    found = [world.account_of(jid_of(member, "jid")) for member in parent.get_children("participant")]
    return [account for account in found if account is not None]


def _create_group(world: World, device: Device, _question: Node, child: Node) -> Answer:
    group = Group(child.get_str("subject"), device.account, _people(world, child))
    world.groups[group.jid] = group
    group.announce(device.account, device)
    return group.describe()


def _list_groups(world: World, device: Device, _question: Node, _child: Node) -> Answer:
    return node("groups", {}, [g.describe() for g in world.groups.values() if device.account in g.members])


def _describe_group(world: World, device: Device, question: Node, _child: Node) -> Answer:
    return _group(world, device, question).describe()


def _rename_group(world: World, device: Device, question: Node, child: Node) -> Answer:
    _group(world, device, question).rename(child.content_bytes().decode(), device.account, device)
    return None


def _change_members(world: World, device: Device, question: Node, child: Node) -> Answer:
    group = _group(world, device, question)
    change = group.add if child.tag == "add" else group.remove
    for account in _people(world, child):
        change(account, device.account, device)
    return child


def _leave_group(world: World, device: Device, _question: Node, child: Node) -> Answer:
    for left in child.get_children("group"):
        group = world.groups.get(show_jid(jid_of(left, "id")))
        if group is not None:
            group.remove(device.account, device.account, device)
    return child


def _set_expiration(world: World, device: Device, question: Node, child: Node) -> Answer:
    seconds = int(child.get_str("expiration", "0"))
    _group(world, device, question).set_expiration(seconds, device.account, device)
    return None


_QUERIES: dict[str, Query] = {
    "get encrypt/count": _count_prekeys,
    "set encrypt/list": _upload_prekeys,
    "set encrypt/registration": _upload_prekeys,
    "get encrypt/key": _give_prekeys,
    "usync/usync": _look_up,
    "w:m/media_conn": _media_hosts,
    "privacy/privacy": _privacy,
    "md/remove-companion-device": _unlink,
    "w:g2/create": _create_group,
    "w:g2/participating": _list_groups,
    "w:g2/query": _describe_group,
    "w:g2/subject": _rename_group,
    "w:g2/add": _change_members,
    "w:g2/remove": _change_members,
    "w:g2/leave": _leave_group,
    "w:g2/ephemeral": _set_expiration,
    "w:g2/not_ephemeral": _set_expiration,
}
