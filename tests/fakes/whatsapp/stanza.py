"""Stanzas, the binary XML that flows inside the encrypted frames: built, read and shown.

The encoder and the token tables are pywhats'; what else is wanted of it is in `decoding` and `noise`.
"""

import time
import warnings
from collections.abc import Iterable, Mapping
from typing import cast

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pywhats warns at import that its crypto is not audited
    from pywhats.binary.encoder import encode  # pyright: ignore[reportMissingTypeStubs]
    from pywhats.binary.node import AttrValue, Node  # pyright: ignore[reportMissingTypeStubs]
    from pywhats.events import JID  # pyright: ignore[reportMissingTypeStubs]

from tests.fakes.whatsapp.decoding import decode

__all__ = ["JID", "SERVER", "AttrValue", "Node", "child_of", "decode", "encode", "first_child", "free_text", "jid_of"]
__all__ += ["node", "now", "parse_jid", "show", "show_jid"]

SERVER = JID(user="", server="s.whatsapp.net")
_SHOWN_CHILDREN = 4
_SHOWN_BYTES = 40


def node(tag: str, attrs: Mapping[str, AttrValue] | None = None, content: bytes | Iterable[Node] | None = None) -> Node:
    """A stanza, or a part of one; `content` is bytes or its children."""
    return Node(tag, dict(attrs or {}), content if content is None or isinstance(content, bytes) else list(content))


def now() -> int:
    """The time as stanzas have it: whole seconds since 1970."""
    return int(time.time())


def free_text(value: str) -> AttrValue:
    """Text that people chose, as an attribute; as `str`, the codec would read an `@` in it as an address."""
    return cast("AttrValue", value.encode())


def first_child(parent: Node) -> Node | None:
    """The first child, whatever its tag."""
    return next(iter(parent.get_children()), None)


def child_of(parent: Node, tag: str) -> Node:
    """The child of that tag, which must be there."""
    child = parent.get_child(tag)
    assert child is not None, f"<{tag}> is missing in {show(parent)}"
    return child


def jid_of(stanza: Node, name: str) -> JID:
    """The attribute as an address, which it must be."""
    value = stanza.attrs.get(name)
    assert isinstance(value, JID), f"{name} is no address in {show(stanza)}"
    return value


def show_jid(jid: JID) -> str:
    """The address as WhatsApp writes it: `user:device@server`."""
    user = f"{jid.user}:{jid.device}" if jid.device else jid.user
    return f"{user}@{jid.server}" if user else jid.server


def parse_jid(text: str) -> JID:
    """The reverse of `show_jid`."""
    name, _, server = text.rpartition("@")
    user, _, device = name.partition(":")
    return JID(user=user, server=server, device=int(device or 0))


def show(stanza: Node) -> str:
    """One line to read; bytes by their length, but short ones that are text."""
    attrs = "".join(f" {name}={_show_value(value)}" for name, value in stanza.attrs.items())
    return f"<{stanza.tag}{attrs}>{_show_content(stanza)}"


def _show_value(value: object) -> str:
    if isinstance(value, JID):
        return show_jid(value)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _show_content(stanza: Node) -> str:
    if isinstance(stanza.content, bytes):
        content = stanza.content
        return content.decode() if len(content) <= _SHOWN_BYTES and content.isascii() else f"({len(content)} bytes)"
    children = stanza.get_children()
    more = f"… {len(children)} in all" if len(children) > _SHOWN_CHILDREN else ""
    return "".join(show(child) for child in children[:_SHOWN_CHILDREN]) + more
