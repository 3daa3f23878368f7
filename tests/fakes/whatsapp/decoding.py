"""Reads stanzas from bytes.

As `pywhats.binary.decoder`, with what that does not know: content that is a token. Clients that link by a pair code
write such.
"""

import warnings
import zlib

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pywhats warns at import that its crypto is not audited
    from pywhats.binary import tokens  # pyright: ignore[reportMissingTypeStubs]
    from pywhats.binary.node import AttrValue, Node  # pyright: ignore[reportMissingTypeStubs]
    from pywhats.events import JID  # pyright: ignore[reportMissingTypeStubs]

_COMPRESSED = 2  # bit of the first byte
_LISTS = (tokens.LIST_EMPTY, tokens.LIST_8, tokens.LIST_16)
_SIZES = {tokens.BINARY_8: 1, tokens.BINARY_20: 3, tokens.BINARY_32: 4}  # bytes of the length
_ALPHABETS = {tokens.NIBBLE_8: tokens.NIBBLE_ALPHABET, tokens.HEX_8: tokens.HEX_ALPHABET}
_SERVERS = {0: "s.whatsapp.net", 1: "lid"}  # of an address with a device


def decode(data: bytes) -> Node:
    """The stanza in a frame.

    Raises:
        ValueError: there is none.
    """
    body = data[1:]
    return _Reader(zlib.decompress(body) if data[0] & _COMPRESSED else body).node()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def node(self) -> Node:
        size = self._list_size(self._number(1))
        tag = self._string()
        attrs: dict[str, AttrValue] = {}
        for _ in range((size - 1) // 2):
            name = self._string()
            attrs[name] = self._value(self._number(1))
        return Node(tag, attrs, self._content() if size % 2 == 0 else None)

    def _content(self) -> bytes | list[Node]:
        kind = self._number(1)
        if kind in _LISTS:
            return [self.node() for _ in range(self._list_size(kind))]
        return self._bytes(kind)

    def _value(self, kind: int) -> AttrValue:
        if kind == tokens.JID_PAIR:
            user = self._string()
            return JID(user=user, server=self._string())
        if kind == tokens.AD_JID:
            server, device = self._number(1), self._number(1)
            return JID(user=self._string(), server=_SERVERS[server], device=device)
        return self._bytes(kind).decode()

    def _string(self) -> str:
        return self._bytes(self._number(1)).decode()

    def _bytes(self, kind: int) -> bytes:
        if kind in _SIZES:
            return self._take(self._number(_SIZES[kind]))
        if kind in _ALPHABETS:
            return self._packed(_ALPHABETS[kind])
        if tokens.DICTIONARY_0 <= kind <= tokens.DICTIONARY_3:
            return tokens.double_token_at(kind - tokens.DICTIONARY_0, self._number(1)).encode()
        if kind < tokens.DICTIONARY_0:
            return tokens.single_token_at(kind).encode() if kind else b""
        raise ValueError(f"no string begins with {kind}")

    def _packed(self, alphabet: str) -> bytes:
        header = self._number(1)
        digits = "".join(alphabet[byte >> 4] + alphabet[byte & 15] for byte in self._take(header & 0x7F))
        return (digits[:-1] if header & 0x80 else digits).encode()

    def _list_size(self, kind: int) -> int:
        if kind not in _LISTS:
            raise ValueError(f"no list begins with {kind}")
        return self._number(_LISTS.index(kind))

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("the stanza ends too early")
        self._at += count
        return taken
