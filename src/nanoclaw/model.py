"""The project's nouns, as frozen values. No I/O, no framework."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, NewType

from nanoclaw.providers import DEFAULT_PROVIDER, ProviderName
from nanoclaw.wire import ApprovalPolicy, FailureKind

Jid = NewType("Jid", str)
"""A chat's address on its platform, e.g. `120363…@g.us` or `local:main`."""
Folder = NewType("Folder", str)
"""A group's identity: its directory's name below `groups/`."""
Seq = NewType("Seq", int)
"""Our own arrival number of a message; orders everything."""
RunId = NewType("RunId", int)
TaskId = NewType("TaskId", str)

MAIN_FOLDER: Final = Folder("main")
AuthMethod = Literal["chatgpt", "api_key"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CodexConfig:
    """`providerConfig.codex` of a group."""

    approval_policy: ApprovalPolicy = "auto"
    auth_method: AuthMethod | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaudeConfig:
    """`providerConfig.claude` of a group."""

    approval_policy: ApprovalPolicy = "auto"
    model: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AdditionalMount:
    """`containerConfig.additionalMounts[…]`: a host directory that the group asks for; the allowlist decides."""

    host_path: str
    container_path: str
    readonly: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredGroup:
    """A registered chat. `raw` is its entry in the file as it stood, unknown fields included."""

    jid: Jid
    name: str
    folder: Folder
    trigger: str
    added_at: str
    requires_trigger: bool = True
    provider: ProviderName = DEFAULT_PROVIDER
    codex: CodexConfig = field(default_factory=CodexConfig)
    claude: ClaudeConfig = field(default_factory=ClaudeConfig)
    additional_mounts: tuple[AdditionalMount, ...] = ()
    timeout_ms: int | None = None
    raw: dict[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)

    @property
    def is_main(self) -> bool:
        """The owner's control chat."""
        return self.folder == MAIN_FOLDER

    @property
    def approval_policy(self) -> ApprovalPolicy:
        """The level of the group's own provider."""
        return (self.codex if self.provider == "codex" else self.claude).approval_policy

    @property
    def model(self) -> str | None:
        """The model that the group asks for, if any."""
        return (self.codex if self.provider == "codex" else self.claude).model


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundMessage:
    """What a channel hands to intake. Unique by (account, chat, sender, ext_id)."""

    channel: str
    account: str
    chat: Jid
    chat_name: str
    sender: str
    sender_name: str
    ext_id: str
    text: str
    sent_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A stored message."""

    seq: Seq
    chat: Jid
    sender: str
    sender_name: str
    text: str
    sent_at: datetime
    received_at: datetime


class RunState(StrEnum):
    """Where a run stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class OutboxState(StrEnum):
    """Where a reply stands."""

    READY = "ready"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"


OutboxKind = Literal["reply", "message", "notice"]
"""A run's final answer; what an agent sent through its mailbox; what the host has to say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenUsage:
    """What a run cost."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One execution of an agent for one group; it answers the messages with `after_seq` < seq <= `upto_seq`."""

    id: RunId
    folder: Folder
    chat: Jid
    cause: str
    state: RunState
    attempt: int
    """Starts so far; fences the outcome."""
    failures: int
    """Starts that used up a try."""
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    after_seq: Seq
    upto_seq: Seq
    provider: str | None
    failure: FailureKind | None
    detail: str | None
    usage: TokenUsage
    task_id: TaskId | None = None
    scheduled_for: datetime | None = None
    """For a run that a task caused: the moment it was due."""


class TaskState(StrEnum):
    """Where a task stands."""

    ACTIVE = "active"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


ContextMode = Literal["group", "isolated"]
"""With the group's session and last exchanges, or with nothing but the prompt."""
MissedPolicy = Literal["coalesce", "skip", "all"]
"""What becomes of moments that passed while no host ran: one late run, none, or each (up to a limit)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledTask:
    """An instruction with a schedule; see `schedule` for what the three schedule fields mean."""

    id: TaskId
    folder: Folder
    prompt: str
    schedule_type: Literal["cron", "interval", "once"]
    schedule_value: str
    timezone: str
    context_mode: ContextMode
    missed: MissedPolicy
    state: TaskState
    next_at: datetime | None
    created_at: datetime
    failures: int = 0
    """Runs that failed in a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxItem:
    """A reply on its way, or what became of it. `key` is unique for ever: the same key is the same reply."""

    id: int
    key: str
    chat: Jid
    kind: OutboxKind
    text: str
    run_id: RunId | None
    state: OutboxState
    attempt: int
    created_at: datetime
    sent_at: datetime | None
    platform_id: str | None
    error: str | None
