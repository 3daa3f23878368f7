"""The project's nouns, as frozen values. No I/O, no framework."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
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
NetworkPolicy = Literal["none", "allowlist", "open"]
"""Only the provider; the provider and named hosts; every public host."""

Standing = Literal["owner", "member", "stranger"]
"""Who somebody is to a group: one of the people who own the assistant; somebody in the chat; somebody whom the group's
sender policy does not name, who cannot wake the agent."""


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
class Budget:
    """`budget` of a group: what its runs may cost on one day of the host's time zone."""

    tokens_per_day: int | None = None
    """In and out together, cached ones included."""
    usd_per_day: float | None = None
    """Counts only what the provider tells the price of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdditionalMount:
    """`containerConfig.additionalMounts[…]`: a host directory that the group asks for; the allowlist decides."""

    host_path: str
    container_path: str
    readonly: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class SenderPolicy:
    """`senders` of a group: who may wake its agent."""

    policy: Literal["everyone", "allowlist"] = "everyone"
    allow: tuple[str, ...] = ()
    """Addresses, or phone numbers in digits; of no effect while everyone may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """`network` of a group; the patterns are those of `hosts.parse_pattern`."""

    policy: NetworkPolicy | None = None
    """None: by the group's level, else as the settings say."""
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    """Goes before every list that allows."""


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
    budget: Budget = field(default_factory=Budget)
    senders: SenderPolicy = field(default_factory=SenderPolicy)
    network: NetworkConfig = field(default_factory=NetworkConfig)
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


MediaKind = Literal["image", "video", "audio", "voice", "document", "sticker"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A file that came with a message, as its channel has it: somebody else's words and bytes."""

    kind: MediaKind
    mime: str
    size: int
    """In bytes; what the sender claimed, for one that was not fetched."""
    original_name: str = ""
    """As the sender called it; empty for what has no name."""
    source: Path | None = None
    """Where the channel keeps it until intake has stored the message; None: it was not fetched."""
    sha256: str = ""
    problem: str = ""
    """Why it was not fetched, for the agent and the person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """What a message answers."""

    ext_id: str
    sender: str
    sender_name: str
    text: str
    ours: bool
    """Whether the assistant had said it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundMessage:
    """What a channel hands to intake. Unique by (account, chat, sender, ext_id)."""

    channel: str
    account: str
    chat: Jid
    chat_name: str
    sender: str
    """One person has one address here, whichever of theirs the platform used."""
    sender_name: str
    ext_id: str
    text: str
    """A caption, for one with attachments."""
    sent_at: datetime
    attachments: tuple[Attachment, ...] = ()
    quote: Quote | None = None
    addressed: bool = False
    """Whether it mentions the assistant by the platform's own means, or answers something that it said."""
    from_owner: bool = False
    """Whether the account's own user wrote it, on another of their devices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundEdit:
    """The text of an earlier message is another now."""

    account: str
    chat: Jid
    sender: str
    ext_id: str
    """Of the message that was edited."""
    text: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundDeletion:
    """An earlier message was taken back, by its sender or by an administrator of the chat."""

    account: str
    chat: Jid
    sender: str
    """Of the message that was deleted."""
    ext_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundReaction:
    """Somebody put an emoji on a message, or took it away."""

    account: str
    chat: Jid
    sender: str
    sender_name: str
    target_sender: str
    """Empty: the assistant."""
    target_ext_id: str
    emoji: str
    """Empty: taken away."""
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """Somebody in a chat."""

    address: str
    name: str
    admin: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundChat:
    """A chat exists, has this name and these members."""

    channel: str
    chat: Jid
    name: str
    is_group: bool
    members: tuple[Member, ...] | None = None
    """None: not known."""
    active_at: datetime | None = None
    """When something was said there, if that is why it is told."""


ReceiptState = Literal["server", "device", "read"]
"""How far a reply has come: the platform has it, somebody's device has it, somebody has read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundReceipt:
    """How far something that we sent has come."""

    chat: Jid
    platform_id: str
    state: ReceiptState
    at: datetime
    key: str | None = None
    """Of a send whose outcome was unknown, where this receipt tells that it is the one."""


Inbound = InboundMessage | InboundEdit | InboundDeletion | InboundReaction | InboundChat | InboundReceipt
"""Everything that a channel hands to intake; only a message can wake an agent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaFile:
    """A file that came with a stored message."""

    kind: MediaKind
    mime: str
    size: int
    name: str
    """As the sender called it; empty for what has no name."""
    file: str = ""
    """Its name in the group's media directory; empty: it is not there."""
    sha256: str = ""
    problem: str = ""
    """Why it is not there."""


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
    ext_id: str = ""
    standing: Standing = "member"
    quote: Quote | None = None
    files: tuple[MediaFile, ...] = ()
    edited_at: datetime | None = None


ChangeKind = Literal["edit", "deletion", "reaction"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What became of a message after an agent had been given it, or of one that the assistant wrote."""

    kind: ChangeKind
    actor_name: str
    standing: Standing
    text: str
    """The new text; the emoji of a reaction."""
    about: str
    """What the message said."""
    ours: bool
    """Whether the assistant had said it."""
    at: datetime


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


NetworkVerdict = Literal["allowed", "refused", "failed"]
NetworkReason = Literal[
    "provider",  # the group's own
    "listed",  # a list allows the host
    "open",  # every public host is allowed
    "private",  # a list allows it, and the settings let it have a private address
    "policy",  # no list allows the host, or one denies it; also of a connection that was closed for that
    "address",  # its address is a private one, or this machine's
    "rate",  # too many requests
    "volume",  # too many bytes today
    "request",  # it was no request that can be carried out
    "unreachable",  # it was allowed, and could not be reached
]
"""The first four allow, the last is a failure, the others refuse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkDecision:
    """What became of one request, or one connection, from a sandbox. No path, no query, no header."""

    at: datetime
    """When it was over."""
    folder: Folder
    host: str
    """Empty where none could be made out."""
    port: int
    verdict: NetworkVerdict
    reason: NetworkReason
    uploaded: int = 0
    """Bytes from the sandbox."""
    downloaded: int = 0
    ms: int = 0
    status: int = 0
    """HTTP's; 0: there was none."""
    usage: TokenUsage | None = None
    """Where the provider has said what it cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCounts:
    """What a group did within a day (UTC)."""

    requests: int = 0
    """To any host but the provider."""
    refused: int = 0
    """Of these."""
    uploaded: int = 0
    """Bytes, to any host but the provider."""
    downloaded: int = 0
    provider_requests: int = 0
    provider_uploaded: int = 0
    provider_downloaded: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    """Of the input tokens."""
    output_tokens: int = 0


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
    upto_change: int = 0
    """The last change of a message that it is told of."""
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
class OutgoingFile:
    """A file that an agent sends: the host's own copy of it."""

    file: str
    """Its path below `data/outgoing/`."""
    name: str
    """As people are shown it."""
    mime: str


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
    """Of its last part."""
    error: str | None
    files: tuple[OutgoingFile, ...] = ()
    answers: Seq | None = None
    """The message that it is to be shown as an answer to."""
