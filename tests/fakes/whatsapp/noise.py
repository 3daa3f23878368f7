"""The encryption of the connection: Noise XX as WhatsApp has it, the server's side, and the certificate it shows.

A client checks that certificate against a root key built into it. Ours is made from a constant and guards nothing.
"""

import hashlib
import time
import warnings

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.fakes.whatsapp.protobuf import blob, message, parse

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pywhats warns at import that its crypto is not audited
    from pywhats.signal.experimental.keys import xeddsa_sign  # pyright: ignore[reportMissingTypeStubs]

PROLOGUE = b"WA\x06\x03"  # what a client sends before anything else: protocol and dictionary version
_PROTOCOL = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0"
_KEY_LENGTH = 32
_HOUR, _DAY = 3600, 86400

_ROOT = X25519PrivateKey.from_private_bytes(hashlib.sha256(b"the fake WhatsApp's root").digest())
ROOT_PUBLIC_KEY = _ROOT.public_key().public_bytes_raw()


class KeyPair:
    """An X25519 key, and XEdDSA signatures with it."""

    def __init__(self, private: X25519PrivateKey | None = None) -> None:
        self._private = private or X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def exchange(self, other: bytes) -> bytes:
        """The secret shared with the owner of that public key."""
        return self._private.exchange(X25519PublicKey.from_public_bytes(other))

    def sign(self, data: bytes) -> bytes:
        """A signature of 64 bytes."""
        return xeddsa_sign(self._private.private_bytes_raw(), data)


def _certificate(serial: int, issuer: int, key: bytes, signer: KeyPair) -> bytes:
    now = int(time.time())
    details = message({1: serial, 2: issuer, 3: key, 4: now - _HOUR, 5: now + _DAY})
    return message({1: details, 2: signer.sign(details)})


class ServerKeys:
    """The server's static key and the chain that vouches for it: root, intermediate (serial 1), leaf (serial 2)."""

    def __init__(self) -> None:
        self.static, intermediate = KeyPair(), KeyPair()
        leaf = _certificate(2, 1, self.static.public, intermediate)
        self.chain = message({1: leaf, 2: _certificate(1, 0, intermediate.public, KeyPair(_ROOT))})


class Cipher:
    """One direction of an established connection: a key and a counter."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._counter = 0

    def encrypt(self, plain: bytes, associated: bytes = b"") -> bytes:
        """The next message of this direction, sealed."""
        return self._aead.encrypt(self._nonce(), plain, associated)

    def decrypt(self, sealed: bytes, associated: bytes = b"") -> bytes:
        """The next message of this direction, opened."""
        return self._aead.decrypt(self._nonce(), sealed, associated)

    def _nonce(self) -> bytes:
        nonce = bytes(8) + self._counter.to_bytes(4, "big")
        self._counter += 1
        return nonce


class Handshake:
    """The responder's half of the handshake; frames in and out are the bodies, without their length."""

    def __init__(self, keys: ServerKeys) -> None:
        self._keys = keys
        self._ephemeral = KeyPair()
        self._hash = self._chaining_key = _PROTOCOL
        self._cipher = Cipher(_PROTOCOL)
        self._authenticate(PROLOGUE)

    def answer(self, client_hello: bytes) -> bytes:
        """The server's hello to the client's."""
        theirs = blob(parse(blob(parse(client_hello), 2)), 1)
        self._authenticate(theirs)
        self._authenticate(self._ephemeral.public)
        self._mix(self._ephemeral.exchange(theirs))
        static = self._encrypt(self._keys.static.public)
        self._mix(self._keys.static.exchange(theirs))
        chain = self._encrypt(self._keys.chain)
        return message({3: message({1: self._ephemeral.public, 2: static, 3: chain})})

    def finish(self, client_finish: bytes) -> tuple[bytes, Cipher, Cipher]:
        """What the client says of itself (a protobuf), and the ciphers to read and to write with."""
        fields = parse(blob(parse(client_finish), 4))
        self._mix(self._ephemeral.exchange(self._decrypt(blob(fields, 1))))
        payload = self._decrypt(blob(fields, 2))
        keys = self._derive(b"")
        return payload, Cipher(keys[:_KEY_LENGTH]), Cipher(keys[_KEY_LENGTH:])

    def _authenticate(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _derive(self, secret: bytes) -> bytes:
        return HKDF(hashes.SHA256(), 2 * _KEY_LENGTH, self._chaining_key, b"").derive(secret)

    def _mix(self, secret: bytes) -> None:
        keys = self._derive(secret)
        self._chaining_key, self._cipher = keys[:_KEY_LENGTH], Cipher(keys[_KEY_LENGTH:])

    def _encrypt(self, plain: bytes) -> bytes:
        sealed = self._cipher.encrypt(plain, self._hash)
        self._authenticate(sealed)
        return sealed

    def _decrypt(self, sealed: bytes) -> bytes:
        plain = self._cipher.decrypt(sealed, self._hash)
        self._authenticate(sealed)
        return plain
