"""A registered chat and everything that it can ask for."""

from dataclasses import dataclass, field
from typing import Any, Literal

from nanoclaw.model.names import MAIN_FOLDER, Folder, Jid
from nanoclaw.providers import DEFAULT_PROVIDER, ProviderName
from nanoclaw.wire import ApprovalPolicy

AuthMethod = Literal["chatgpt", "api_key"]
NetworkPolicy = Literal["none", "allowlist", "open"]
"""Only the provider; the provider and named hosts; every public host."""


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
