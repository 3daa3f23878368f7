"""What host and runner say to each other. Only the standard library: the runner imports this at every start.

The host writes a line of JSON on the runner's stdin, a `ProveRequest`, and reads the `proof`. If the sandbox holds, it
writes one `ContainerInput` as the second line and keeps stdin open: its end (EOF) ends the run. The runner writes one
event per line on stdout and nothing else; its log goes to stderr. A run ends with exactly one `done` or `failed`; what
follows is ignored. The host trusts no event: it checks each against these shapes.
"""

from typing import Final, Literal, NotRequired, TypedDict

PROTOCOL: Final = 2
MAX_EVENT_BYTES: Final = 1 << 20
"""A longer line on stdout is no event and ends the run."""

GATEWAY_DIRECTORY: Final = "/run/nanoclaw"
"""Where the sandbox finds the group's socket, read-only."""
GATEWAY_SOCKET: Final = "gateway.sock"
RELAY_PORT: Final = 3128
"""Port on the sandbox's own loopback where the runner offers the gateway."""

GROUP_DIRECTORY: Final = "/workspace/group"
GLOBAL_DIRECTORY: Final = "/workspace/global"
IPC_DIRECTORY: Final = "/workspace/ipc"
MEDIA_DIRECTORY: Final = "/workspace/media"
AGENT_HOME: Final = "/home/node"
AGENT_UID: Final = 1000
"""The agent's uid and gid inside every sandbox, and outside too where the host is root."""

ApprovalPolicy = Literal["auto", "readonly", "full"]
CredentialMethod = Literal["api_key", "chatgpt", "oauth_token"]
FailureKind = Literal[
    "not_signed_in",  # nobody is signed in for this provider
    "auth",  # the provider refused the credential (401, 403)
    "billing",  # no credit, quota used up
    "usage_limit",  # a subscription's window is used up; `resetsAt` says until when
    "rate_limited",  # 429 that passes by itself
    "overloaded",  # 5xx, capacity
    "network",  # the provider cannot be reached
    "context_too_long",
    "model_not_found",
    "bad_request",  # any other 4xx
    "timeout",  # the run's deadline passed
    "no_answer",  # the CLI ended well without a final message
    "crashed",  # the CLI or the runner died
    "sandbox",  # the sandbox could not be started, or does not hold
    "disk",  # the group's files take more than `sandbox.disk`
    "budget",  # what the group may cost today is used up
    "stopped",  # a person ended it
    "internal",  # a fault of ours
]


CHECKS: Final = (
    *("user", "capabilities", "new-privileges", "filter", "mounting", "tracing", "runner", "kernel", "settings"),
    *("devices", "network", "host-files", "descriptors", "mounts", "read-only", "processes", "secrets", "limits"),
    "namespaces",
)
"""What every proof is about; the host says what each means."""


class MountClaim(TypedDict):
    """A directory of the host inside the sandbox, as it must be found there."""

    target: str
    readonly: bool
    identity: list[int] | None
    """Device and inode, where those of the host mean the same inside."""


class LimitClaims(TypedDict):
    """What the sandbox may use at most, as far as its kernel lets that be seen from inside."""

    groups: dict[str, int]
    """By control groups: `memory` in bytes, `pids`."""
    rlimits: dict[str, int]
    """By the names of `resource`, without `RLIMIT_`."""
    tmp: int | None
    """Bytes in `/tmp`."""


class ProveRequest(TypedDict):
    """What the runner needs in order to try what must not be possible."""

    type: Literal["prove"]
    protocol: int
    forbidden: list[str]
    """The host's own paths; none may be there."""
    tokens: list[str]
    """Planted secrets; none may be found."""
    mounts: list[MountClaim]
    fixtures: list[str]
    """Where the sandbox itself mounts something."""
    namespaces: dict[str, str]
    """The host's own, by kind."""
    limits: LimitClaims


class Exchange(TypedDict):
    """One earlier message of the chat, oldest first: what somebody wrote, or what the assistant answered."""

    sender: str
    text: str
    time: str
    assistant: bool
    standing: NotRequired[str]
    """`owner`, `member` or `stranger`: who somebody is to this group."""


class ContainerInput(TypedDict):
    """Everything a runner needs to know. Names that NanoClaw has too are NanoClaw's."""

    protocol: int
    runId: int
    attempt: int
    prompt: str
    """The messages, as `<messages>…</messages>`."""
    groupFolder: str
    groupName: str
    chatJid: str
    isMain: bool
    isScheduledTask: bool
    assistantName: str
    channel: str
    """How people call the platform, e.g. `WhatsApp`."""
    timezone: str
    provider: str
    providerConfig: dict[str, object]
    approvalPolicy: ApprovalPolicy
    model: str | None
    """Overrides the provider's default model."""
    credential: CredentialMethod
    credentialAtGateway: NotRequired[bool]
    """The gateway adds a subscription's credential, and the CLI has a placeholder; of API keys that is always so."""
    timeoutSeconds: float
    sessionId: NotRequired[str]
    history: NotRequired[list[Exchange]]
    """The chat's last exchanges, for providers that do not resume a session."""
    images: NotRequired[list[str]]
    """Paths below `MEDIA_DIRECTORY` of images among the messages, to be shown as such."""
    effects: NotRequired[list[str]]
    """What an interrupted attempt of this run has already done, one sentence each."""
    secret: NotRequired[str]
    """Only for `oauth_token`: goes to the CLI by file descriptor, never into an environment."""


class Proof(TypedDict):
    """What came of trying; only in answer to a `ProveRequest`, before everything else."""

    type: Literal["proof"]
    protocol: int
    checks: dict[str, str]
    """For each of `CHECKS` what succeeded; empty when nothing did."""
    milliseconds: float


class Started(TypedDict):
    """The runner has read its input and is about to start the provider's CLI."""

    type: Literal["started"]
    protocol: int


class Activity(TypedDict):
    """The agent did something; for logs and signs of life."""

    type: Literal["activity"]
    text: str


class Output(TypedDict):
    """Text for the chat. The last one before `done` is the run's answer."""

    type: Literal["output"]
    text: str


class Usage(TypedDict):
    """What the run cost; tokens of this run alone, not of the session."""

    type: Literal["usage"]
    inputTokens: int
    cachedInputTokens: int
    outputTokens: int
    costUsd: NotRequired[float]


class Done(TypedDict):
    """The run succeeded."""

    type: Literal["done"]
    sessionId: NotRequired[str]


class Failed(TypedDict):
    """The run failed. `text` is for the log and, shortened, for the chat."""

    type: Literal["failed"]
    kind: FailureKind
    text: str
    retryable: bool
    resetsAt: NotRequired[str]
    """ISO 8601 instant, for `usage_limit`."""


RunnerEvent = Proof | Started | Activity | Output | Usage | Done | Failed
