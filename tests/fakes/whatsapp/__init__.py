"""A WhatsApp server on loopback that the unmodified neonize accepts, and people with clients of their own.

Start at `server` (what tests use) and `peer` (a scripted human). Beneath them, by concern:

- `connection` (one client: frames, linking or login, faults on the line) over `noise` (encryption and certificate),
  `stanza` (the binary XML; read by `decoding`) and `protobuf`;
- `world` (what the server knows) with `accounts` (devices, what waits for each, faults by device) and `groups`;
- `routing` (messages, receipts, typing), `queries` (questions to the server), `linking` (QR and pair codes),
  `sessions` (linked once, used often);
- `media` (the host for files), `proxy` and `tls` (how clients get here), `launch` (starts a program as such a client),
  `driver` (the child process of a peer);
- `records` (what went over the wire).

The server never sees a text: messages are encrypted from client to client. It has no phone behind it, so there is
neither history nor app state. It cannot prove that WhatsApp's own servers behave so today.
"""

from tests.fakes.whatsapp.accounts import Account, Device
from tests.fakes.whatsapp.groups import Group
from tests.fakes.whatsapp.linking import ExpiredCode
from tests.fakes.whatsapp.peer import HeardMessage, Peer, PeerError
from tests.fakes.whatsapp.records import PATIENCE, WireChatstate, WireMessage, WireReceipt
from tests.fakes.whatsapp.server import FakeWhatsApp
from tests.fakes.whatsapp.sessions import Session

__all__ = ["PATIENCE", "Account", "Device", "ExpiredCode", "FakeWhatsApp", "Group", "HeardMessage", "Peer", "PeerError"]
__all__ += ["Session", "WireChatstate", "WireMessage", "WireReceipt"]
