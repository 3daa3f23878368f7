"""How the connection stands, and what comes next. Pure: one state, one timer, one function."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

Phase = Literal[
    "unlinked", "connecting", "connected", "renewing", "unreachable", "crashed", "deaf", "refused",
    "logged_out", "replaced", "banned", "outdated", "unusable", "busy", "closed",
]  # fmt: skip
"""
`unlinked` nobody has linked an account yet · `connecting` a worker is trying · `connected` · `renewing` nothing came
for long: a new connection is made · `unreachable` the network or the server is away · `crashed` the worker ended or
hung · `deaf` it was connected and heard nothing · `refused` the server does not let us in now · `logged_out` somebody
removed this device · `replaced` another program uses this account's session · `banned` for a time · `outdated` the
library is too old for WhatsApp · `unusable` the library cannot be used on this machine · `busy` another process uses
the session · `closed` the host is not running.
"""
Event = Literal[
    "linked", "connected", "lost", "silent", "unreachable", "crashed", "deaf", "refused",
    "unlinked", "logged_out", "replaced", "banned", "outdated", "unusable", "busy", "due",
]  # fmt: skip

RUNNING: Final[frozenset[Phase]] = frozenset({"connecting", "connected"})
"""A worker is there."""
RESTING: Final[frozenset[Phase]] = frozenset({"unlinked", "logged_out", "replaced", "outdated", "unusable", "closed"})
"""Only a person can help; then they link anew, or start the host again."""

PATIENCE: Final = timedelta(seconds=60)
"""What a worker gets to connect, or to connect again by itself: its library waits longer and longer without an end."""
LONGEST_PAUSE: Final = timedelta(seconds=60)
_FIRST_PAUSE: Final = timedelta(seconds=1)
_BUSY_PAUSE: Final = timedelta(seconds=5)
_BAN_OF_UNKNOWN_LENGTH: Final = timedelta(hours=1)
_DOUBLINGS: Final = 6  # 1 s, 2 s, … 64 s


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A state. `due` is the one timer: at that moment the event `due` happens."""

    phase: Phase
    since: datetime
    due: datetime | None = None
    failures: int = 0
    """Attempts that failed since it was last connected."""
    detail: str = ""

    @property
    def runs(self) -> bool:
        """Whether a worker should be there."""
        return self.phase in RUNNING


def begin(now: datetime) -> Link:
    """The first state of an account that is linked."""
    return Link(phase="connecting", since=now, due=now + PATIENCE)


def step(
    link: Link, event: Event, now: datetime, *, chance: float, detail: str = "", until: datetime | None = None
) -> Link:
    """The next state.

    Args:
        link: the state so far.
        event: what happened.
        now: when.
        chance: a random number, 0 ≤ chance < 1, that spreads the attempts of many hosts.
        detail: what is known of the reason, for people.
        until: when a ban ends, if that is known.
    """
    if event == "linked":
        return link if link.runs else begin(now)
    if link.phase in RESTING:
        return link
    match event:
        case "connected":
            return Link(phase="connected", since=now) if link.phase == "connecting" else link
        case "lost" | "silent":
            return _left(link, event, now) if link.phase == "connected" else link
        case "due":
            return _due(link, now, chance)
        case "banned":
            return Link(phase="banned", since=now, due=until or now + _BAN_OF_UNKNOWN_LENGTH, detail=detail)
        case "unlinked" | "logged_out" | "replaced" | "outdated" | "unusable":
            return Link(phase=event, since=now, detail=detail)
        case "busy":
            return Link(phase="busy", since=now, due=now + _BUSY_PAUSE, failures=link.failures, detail=detail)
        case "unreachable" | "crashed" | "deaf" | "refused":
            return _failed(link, event, now, chance, detail) if link.runs else link


def _left(link: Link, event: Literal["lost", "silent"], now: datetime) -> Link:
    """It was connected; the library connects again by itself, or we begin anew."""
    if event == "silent":
        return Link(phase="renewing", since=now, due=now)
    return replace(link, phase="connecting", since=now, due=now + PATIENCE)


def _due(link: Link, now: datetime, chance: float) -> Link:
    if link.due is None or now < link.due:
        return link
    if link.phase == "connecting":
        return _failed(link, "unreachable", now, chance, link.detail)
    return replace(begin(now), failures=link.failures) if not link.runs else link


def _failed(link: Link, phase: Phase, now: datetime, chance: float, detail: str) -> Link:
    failures = link.failures + 1
    return Link(phase=phase, since=now, due=now + pause(failures, chance), failures=failures, detail=detail)


def pause(failures: int, chance: float) -> timedelta:
    """How long to wait after so many failures in a row: nothing after the first, then 1 s, 2 s, 4 s … a minute, each
    with up to a half on top."""
    if failures <= 1:
        return timedelta()
    whole = min(LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures - 2, _DOUBLINGS))
    return whole * (1 + chance / 2)


_TOLD: Final[dict[Phase, tuple[str, str]]] = {
    "unlinked": ("no WhatsApp account is linked", "run `nanoclaw auth login whatsapp`"),
    "connecting": ("", ""),
    "connected": ("", ""),
    "renewing": ("", ""),
    "closed": ("", ""),
    "unreachable": ("WhatsApp cannot be reached; trying on", "check this machine's network"),
    "crashed": ("the WhatsApp worker ended unexpectedly and is started again", "see logs/whatsapp.log"),
    "deaf": ("the connection to WhatsApp had died and is made anew", ""),
    "refused": ("WhatsApp does not let us in now; trying on", ""),
    "logged_out": (
        "this device was logged out of the WhatsApp account",
        "link it again: `nanoclaw auth login whatsapp`",
    ),
    "replaced": (
        "another program has taken over this WhatsApp session",
        "stop the other one, then start this host again",
    ),
    "banned": (
        "WhatsApp has banned this account for a time; nothing is tried before it ends",
        "see docs/howto/whatsapp.md",
    ),
    "outdated": ("WhatsApp no longer accepts this version of the library", "update NanoClaw"),
    "unusable": ("WhatsApp cannot be used on this machine", ""),
    "busy": ("another process uses this WhatsApp session", "wait, or end the other process"),
}


def told(link: Link) -> tuple[str, str]:
    """What is wrong, and what to do about it, for people; both empty when nothing is."""
    problem, hint = _TOLD[link.phase]
    if problem and link.detail:
        problem = f"{problem} ({link.detail})"
    return problem, hint
