"""What a group may reach besides its provider: pure."""

from dataclasses import dataclass
from typing import Final, Literal

from nanoclaw.config import NetworkSettings
from nanoclaw.gateway.usual import USUAL_PATTERNS
from nanoclaw.hosts import DEFAULT_PORTS, Pattern, Rules, parse_address, parse_pattern
from nanoclaw.model import Folder, NetworkPolicy, RegisteredGroup

Reach = Literal["listed", "open", "private"]
"""Why a host may be reached: it is on a list; every public host may; it is on a list, and named as one that may have a
private address."""

_NO_RULES: Final = Rules()


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """One group's policy, with everything that it takes from the settings."""

    folder: Folder
    mode: NetworkPolicy
    allowed: Rules = _NO_RULES
    denied: Rules = _NO_RULES
    private: frozenset[tuple[str, int]] = frozenset()

    def reach(self, host: str, port: int) -> Reach | None:
        """Whether this canonical host may be reached at this port, and why; None: it may not."""
        if self.mode == "none" or self.denied.match(host, port):
            return None
        if self.allowed.match(host, port):
            return "private" if (host, port) in self.private else "listed"
        return "open" if self.mode == "open" and port in DEFAULT_PORTS else None

    def refusal(self, host: str, port: int) -> str:
        """What to tell an agent whose request is refused, and how its owner can allow it."""
        if self.mode == "none":
            return (
                "this group has no network but its provider;"
                f" the owner can change it: nanoclaw network set {self.folder} allowlist"
            )
        place = str(Pattern(host, None if port in DEFAULT_PORTS else port))
        why = (
            "is on this group's list of denied hosts"
            if self.denied.match(host, port)
            else "is not on this group's list"
        )
        if self.mode == "open" and port not in DEFAULT_PORTS:
            why = "is not open: besides the ports 80 and 443 it needs a place on this group's list"
        return f"{place} {why}; the owner can allow it: nanoclaw network allow {self.folder} {place}"


def nothing(folder: Folder) -> Policy:
    """The policy of a group of which nobody has said anything."""
    return Policy(folder=folder, mode="none")


def policy_of(settings: NetworkSettings, group: RegisteredGroup) -> Policy:
    """The policy in force for a group: its own, else `open` if its level is `full`, else the settings'."""
    mode = group.network.policy or ("open" if group.approval_policy == "full" else settings.policy)
    lists = (*settings.allow, *group.network.allow)
    return Policy(
        folder=group.folder,
        mode=mode,
        allowed=Rules.allowing((*USUAL_PATTERNS, *map(parse_pattern, lists))),
        denied=Rules.denying(map(parse_pattern, group.network.deny)),
        private=frozenset(map(parse_address, settings.private)),
    )
