"""Linking a device to an account: what the server does, and what the phone does with a QR code or a pair code."""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.fakes.whatsapp.accounts import Account, Device, Keys
from tests.fakes.whatsapp.noise import KeyPair
from tests.fakes.whatsapp.protobuf import blob, message, parse
from tests.fakes.whatsapp.stanza import SERVER, Node, child_of, node, now

if TYPE_CHECKING:
    from tests.fakes.whatsapp.connection import Connection
    from tests.fakes.whatsapp.world import World

_SIGNED_BY_ACCOUNT = b"\x06\x00"  # prefix of what the phone signs for a device
_KEY_ID, _SALT, _IV, _NONCE, _KEY = 7, 32, 16, 12, 32
_CODE_ROUNDS = 2 << 16  # of PBKDF2, from a pair code to a key


class ExpiredCode(Exception):
    """The code is of no client that waits: it ran out, or it was never one."""


def offer_codes(world: "World", connection: "Connection") -> None:
    """Give a client that wants to be linked the references of its QR codes."""
    refs = [secrets.token_urlsafe(16) for _ in range(world.qr_refs)]
    for ref in refs:
        world.unlinked[ref] = connection
    offered = node("pair-device", {}, [node("ref", content=ref.encode()) for ref in refs])
    connection.send(node("iq", {"from": SERVER, "type": "set", "id": "pair-device", "xmlns": "md"}, [offered]))
    world.records.notify()


def scan(world: "World", code: str, account: Account) -> Device:
    """The phone scans a QR code: link the client that shows it.

    Raises:
        ExpiredCode: no client that waits shows it.
    """
    try:
        ref, _noise, identity, adv_secret = code.strip().rpartition("#")[2].split(",")[:4]
        connection = world.unlinked[ref]
        return _link(world, connection, account, base64.b64decode(identity), base64.b64decode(adv_secret))
    except (KeyError, ValueError, binascii.Error) as error:
        raise ExpiredCode(code) from error


def expire_codes(world: "World") -> None:
    """Turn away every client that waits to be linked, as the server does after a while."""
    for connection in set(world.unlinked.values()):
        connection.close()


def _link(world: "World", connection: "Connection", account: Account, identity: bytes, adv_secret: bytes) -> Device:
    registration = connection.registration
    signed_prekey = (blob(registration, 4), blob(registration, 5), blob(registration, 6))
    keys = Keys(blob(registration, 1), blob(registration, 3), signed_prekey)
    device = Device(account, max((device.number for device in account.devices), default=0) + 1, keys)
    device.title = blob(parse(blob(registration, 8)), 1).decode()
    account.devices.append(device)
    _tell_of(world, device)
    connection.send(_pair_success(device, identity, adv_secret))
    return device


def _pair_success(device: Device, identity: bytes, adv_secret: bytes) -> Node:
    account = device.account
    details = message({1: _KEY_ID, 2: now(), 3: device.number})
    signature = account.key.sign(_SIGNED_BY_ACCOUNT + details + identity)
    signed = message({1: details, 2: account.key.public, 3: signature})
    container = message({1: signed, 2: hmac.new(adv_secret, signed, hashlib.sha256).digest()})
    content = [
        node("device-identity", content=container),
        node("device", {"jid": device.jid("pn"), "lid": device.jid("lid")}),
        node("platform", {"name": "android"}),
    ]
    attrs = {"from": SERVER, "type": "set", "id": "pair-success", "xmlns": "md", "t": now()}
    return node("iq", attrs, [node("pair-success", {}, content)])


def _tell_of(world: "World", device: Device) -> None:
    """Let every client forget which devices the account has, it has one more. They keep a list for each address."""
    for addressing in ("pn", "lid"):
        # a hash that fits no list makes a client drop its own and ask for it when it needs it
        change = node("add", {"device_hash": "2:new"}, [node("device", {"jid": device.jid(addressing)})])
        attrs = {"from": device.account.jid(addressing), "type": "devices", "t": now()}
        for other in [other for account in world.accounts.values() for other in account.devices if other is not device]:
            other.deliver(node("notification", {**attrs, "id": secrets.token_hex(8)}, [change]))


# pair codes


@dataclass
class CodePairing:
    """A client that shows a pair code for a phone number."""

    connection: "Connection"
    ref: bytes
    wrapped_ephemeral: bytes  # the client's public key, encrypted with the code
    phone_ephemeral: KeyPair
    code: str = ""  # once the phone was given it


def hello(world: "World", connection: "Connection", phone: str, request: Node) -> Node:
    """A client shows a code: remember it; what to answer."""
    wrapped = child_of(request, "link_code_pairing_wrapped_companion_ephemeral_pub").content_bytes()
    ref = secrets.token_bytes(16)
    world.code_pairings[phone] = CodePairing(connection, ref, wrapped, KeyPair())
    return node("link_code_companion_reg", {"stage": "companion_hello"}, [node("link_code_pairing_ref", content=ref)])


def enter_code(world: "World", code: str, account: Account) -> None:
    """The phone is given the code that the client shows: answer the client.

    Raises:
        ExpiredCode: no client waits with a code for this number.
    """
    pairing = world.code_pairings.get(account.phone)
    if pairing is None:
        raise ExpiredCode(code)
    salt, iv = secrets.token_bytes(_SALT), secrets.token_bytes(_IV)
    wrapped = salt + iv + _with_code(code, salt, iv, pairing.phone_ephemeral.public)
    content = [
        node("link_code_pairing_wrapped_primary_ephemeral_pub", content=wrapped),
        node("primary_identity_pub", content=account.key.public),
        node("link_code_pairing_ref", content=pairing.ref),
    ]
    answer = node("link_code_companion_reg", {"stage": "primary_hello"}, content)
    attrs = {"from": SERVER, "type": "link_code_companion_reg", "id": secrets.token_hex(8), "t": now()}
    pairing.code = code
    pairing.connection.send(node("notification", attrs, [answer]))


def finish(world: "World", phone: str, request: Node) -> None:
    """The client has proved that it knows the code: link it."""
    pairing, account = world.code_pairings.pop(phone), world.accounts[phone]
    wrapped = pairing.wrapped_ephemeral
    salt, iv, sealed = wrapped[:_SALT], wrapped[_SALT : _SALT + _IV], wrapped[_SALT + _IV :]
    shared = pairing.phone_ephemeral.exchange(_with_code(pairing.code, salt, iv, sealed))
    bundle = child_of(request, "link_code_pairing_wrapped_key_bundle").content_bytes()
    key = _derive(shared, bundle[:_SALT], b"link_code_pairing_key_bundle_encryption_key")
    opened = AESGCM(key).decrypt(bundle[_SALT : _SALT + _NONCE], bundle[_SALT + _NONCE :], None)
    identity, random = opened[:_KEY], opened[2 * _KEY :]
    adv_secret = _derive(shared + account.key.exchange(identity) + random, b"", b"adv_secret")
    _link(world, pairing.connection, account, identity, adv_secret)


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), _KEY, salt, info).derive(secret)


def _with_code(code: str, salt: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt (it is the same) with a key from the code."""
    key = hashlib.pbkdf2_hmac("sha256", code.replace("-", "").encode(), salt, _CODE_ROUNDS, _KEY)
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)
