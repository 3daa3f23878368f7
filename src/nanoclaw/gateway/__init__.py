"""The one way out of a sandbox: a host-side proxy on a unix socket for each group. The socket is the identity.

It adds the real credential on the way to the group's own provider, and lets out what the group's policy allows, to
public addresses only. `policy` and `decision` say what becomes of a request; the other modules carry it out.
"""

from nanoclaw.gateway.account import Note, Quota
from nanoclaw.gateway.bounds import Bounds
from nanoclaw.gateway.decision import Route
from nanoclaw.gateway.network import Network
from nanoclaw.gateway.policy import Policy, policy_of
from nanoclaw.gateway.server import Gateway

__all__ = ["Bounds", "Gateway", "Network", "Note", "Policy", "Quota", "Route", "policy_of"]
