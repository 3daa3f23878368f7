"""What a look can find: every problem by a name of its own, with how bad it is and why it matters."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import anyio.to_thread

Severity = Literal["fine", "note", "warning", "error"]
"""As it must be; worth knowing; will be trouble; is trouble."""
Say = Callable[[str], None]
"""Shows progress, a line each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mend:
    """What `--fix` does about a finding."""

    does: str
    """In words, for people: "take from others what they may do in …"."""
    run: Callable[[Say], Awaitable[None]]
    asks: bool = False
    """Whether a person is asked before, as it takes long or downloads much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What it is about, e.g. `database`."""
    what: str
    """How it stands."""
    problem: str = ""
    """A name from `PROBLEMS`; empty: there is none."""
    hint: str = ""
    """The command that mends it, or what else to do."""
    mend: Mend | None = None
    severity: Severity = "fine"
    why: str = ""

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to be mended."""
        return self.severity in ("fine", "note")

    def as_json(self) -> dict[str, Any]:
        """For programs; `ok` is null for what is worth knowing and needs no cure."""
        return {
            "check": self.check,
            "ok": {"fine": True, "note": None}.get(self.severity, False),
            "severity": self.severity,
            "problem": self.problem or None,
            "what": self.what,
            "why": self.why,
            "hint": self.hint,
            "mends": self.mend.does if self.mend else None,
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """What is the same whenever it is found."""

    severity: Severity
    why: str


PROBLEMS: Final[Mapping[str, Problem]] = {
    "settings-broken": Problem("error", "the host does not start with it"),
    "secrets-broken": Problem("error", "no run can sign in"),
    "groups-broken": Problem("error", "a host that runs keeps the last good groups; one that starts has none"),
    "home-incomplete": Problem("error", "there is nothing that a host could run on"),
    "home-exposed": Problem("error", "other users of this machine could read chats and keys"),
    "home-foreign": Problem("error", "its owner can do as they like with chats and keys"),
    "root": Problem("note", "a mistake of the host would be a mistake of root's"),
    "files-foreign": Problem("error", "the group's agent cannot change them"),
    "mailbox-broken": Problem("error", "the group's agent cannot ask the host for anything"),
    "mailbox-waiting": Problem("note", "they are applied when the host starts"),
    "mailbox-stuck": Problem("warning", "what the agent asked for has not happened"),
    "sockets-too-long": Problem("error", "no socket can be made there, so no host can start"),
    "sockets-foreign": Problem("error", "somebody else could stand between the host and those who talk to it"),
    "disk-full": Problem("error", "messages can no longer be stored"),
    "disk-low": Problem("warning", "when it is full, messages can no longer be stored"),
    "quota-full": Problem("error", "the group's runs are refused until there is room"),
    "quota-near": Problem("warning", "beyond it the group's runs are refused"),
    "clock-wrong": Problem("error", "sign-ins, certificates and schedules go by it"),
    "clock-off": Problem("error", "sign-ins and certificates fail by it, and tasks run at the wrong time"),
    "clock-free": Problem("note", "a clock that nobody corrects goes wrong slowly"),
    "timezone-unknown": Problem("note", "tasks run by UTC, and agents take UTC for the time here"),
    "page-port-taken": Problem("warning", "the host runs without its page"),
    "database-missing": Problem("note", "the first start makes it"),
    "database-damaged": Problem("error", "the host cannot answer from it, and it may get worse"),
    "database-unreadable": Problem("error", "the host does not start without it"),
    "database-newer": Problem("error", "this program cannot know what is in it, and refuses to start"),
    "database-older": Problem("note", "the next start copies it, then changes it"),
    "database-log-large": Problem("warning", "it takes room, and reading gets slow"),
    "sign-in-missing": Problem("error", "the group's messages are answered with that sentence"),
    "login-broken": Problem("error", "when its last token ends nobody is signed in by it"),
    "login-refused": Problem("note", "an agent could have put it there, so it is not believed"),
    "provider-unreachable": Problem("error", "no agent can think"),
    "sandbox-missing": Problem("error", "no agent can run"),
    "sandbox-weaker": Problem("note", "there is a stronger kind"),
    "sandbox-lacks": Problem("note", "this kind of sandbox, or this machine, does not have it"),
    "image-missing": Problem("error", "no agent can run"),
    "proof-failed": Problem("error", "no run of the group starts in such a sandbox"),
    "proof-missing": Problem("error", "nothing is handed over to a sandbox that does not prove that it holds"),
    "sandboxes-stale": Problem("warning", "they use memory, and agents in them work for nobody"),
    "channel-off": Problem("error", "nothing is heard from the group, and nothing can be said there"),
    "channel-down": Problem("error", "nothing comes from there, and replies wait"),
    "whatsapp-unusable": Problem("error", "WhatsApp cannot be used here"),
    "whatsapp-unlinked": Problem("error", "there is no account to be reached by"),
    "host-absent": Problem("note", "messages wait until one runs"),
    "host-stopped-itself": Problem("error", "it crashed again and again, and does not start until somebody looks"),
    "host-crashed": Problem("warning", "whatever ended it may end it again"),
    "service-absent": Problem("note", "after a restart of the machine nothing answers until somebody starts the host"),
    "service-stopped": Problem("warning", "nothing keeps the host running"),
    "service-leaves": Problem("note", "when you log out, the host ends"),
    "host-silent": Problem("error", "nobody can talk to it, and it may answer nobody"),
    "host-other-version": Problem("warning", "what was changed since is not in force"),
    "unreadable": Problem("error", "whether more is wrong cannot be told"),
}
"""Every problem that can be found. Each is provoked, and cured, in a test."""


def problem(name: str, check: str, what: str, hint: str = "", mend: Mend | None = None) -> Finding:
    """A finding that is one of `PROBLEMS`."""
    known = PROBLEMS[name]
    return Finding(check=check, what=what, problem=name, hint=hint, mend=mend, severity=known.severity, why=known.why)


def fine(check: str, what: str) -> Finding:
    """A finding that all is well."""
    return Finding(check=check, what=what)


def in_thread(work: Callable[[], object]) -> Callable[[Say], Awaitable[None]]:
    """`Mend.run` for something that blocks and has nothing to say."""

    async def run(_say: Say) -> None:
        await anyio.to_thread.run_sync(work)

    return run
