"""What host and runner say to each other. Only the standard library: the runner imports this at every start.

The host writes one `ContainerInput` as one line of JSON on the runner's stdin and keeps stdin open: its end (EOF) ends
the run. The runner writes one event per line on stdout and nothing else; its log goes to stderr. A run ends with
exactly one `done` or `failed`; what follows is ignored. The host trusts no event: it checks each against these shapes.
"""

from typing import Final, Literal, NotRequired, TypedDict

PROTOCOL: Final = 1
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
    "sandbox",  # the sandbox could not be started
    "internal",  # a fault of ours
]


class Exchange(TypedDict):
    """One earlier message of the chat, oldest first: what somebody wrote, or what the assistant answered."""

    sender: str
    text: str
    time: str
    assistant: bool


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
    timeoutSeconds: float
    sessionId: NotRequired[str]
    history: NotRequired[list[Exchange]]
    """The chat's last exchanges, for providers that do not resume a session."""
    effects: NotRequired[list[str]]
    """What an interrupted attempt of this run has already done, one sentence each."""
    secret: NotRequired[str]
    """Only for `oauth_token`: goes to the CLI by file descriptor, never into an environment."""


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


RunnerEvent = Started | Activity | Output | Usage | Done | Failed
