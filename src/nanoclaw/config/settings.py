"""What `nanoclaw.toml` can say: every key with its default."""

import re
from dataclasses import dataclass, field
from typing import Literal

from nanoclaw.errors import ConfigError
from nanoclaw.model import NetworkPolicy

SandboxName = Literal["auto", "podman", "docker", "container", "bubblewrap"]
CredentialMode = Literal["mounted", "gateway"]

_SIZE = re.compile(r"([1-9][0-9]*)([kmg]?)")


def _bytes(key: str, size: str) -> int:
    match = _SIZE.fullmatch(size)
    if match is None:
        raise ConfigError(f"{key} is {size!r}", "write it like 2g or 512m")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSettings:
    """`[sandbox]`"""

    engine: SandboxName = "auto"
    """`auto` takes the first of the others that works, the stronger ones first."""
    image: str = ""
    """An image of your own; empty: the one that `nanoclaw image build` makes for this version."""
    runtime: str = ""
    """Another OCI runtime by name, e.g. `runsc`; empty: the engine's own, or `runc` where podman's does not start."""
    way_out: Literal["auto", "socket", "stdio"] = "auto"
    """How a container reaches the gateway: by a socket that is mounted into it, or, where its machine does not pass
    sockets on, as on macOS, over the streams of a process that is started inside it. bubblewrap always has the
    socket."""
    memory: str = "2g"
    """Of one sandbox: a number with `k`, `m` or `g`."""
    cpus: float = 2.0
    """Processors of one sandbox."""
    pids: int = 512
    """Processes and threads of one sandbox."""
    disk: str = "5g"
    """What a group's files may take, and the size of its largest file: a number with `k`, `m` or `g`."""

    @property
    def memory_bytes(self) -> int:
        """`memory` as a number of bytes."""
        return _bytes("sandbox.memory", self.memory)

    @property
    def disk_bytes(self) -> int:
        """`disk` as a number of bytes."""
        return _bytes("sandbox.disk", self.disk)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """`[runs]`"""

    max_concurrent: int = 5
    """Runs at once over all groups, at least 1."""
    timeout_seconds: float = 1800.0
    """Of one attempt, unless the group's `containerConfig.timeout` says otherwise."""
    max_attempts: int = 4
    """Attempts of one run, the first included."""
    retry_base_seconds: float = 5.0
    """Wait before the second attempt; it doubles with each further one."""
    shutdown_grace_seconds: float = 20.0
    """How long running agents may go on when the host is told to stop."""
    history_messages: int = 20
    """Earlier messages shown to a provider that does not resume a session."""
    prompt_messages: int = 200
    """Messages handed over at once; older ones are counted, not shown."""
    keep_logs: int = 100
    """Run logs kept for each group."""
    sign_of_life_seconds: float = 120.0
    """After so long the chat is told that a run goes on, then after twice as long, and so on; 0: never."""
    reactions: bool = True
    """Whether the message that asked gets a reaction: seen, done, failed; where the channel has reactions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSettings:
    """`[network]`: what sandboxes may reach besides their provider."""

    policy: NetworkPolicy = "allowlist"
    """Of groups that do not say otherwise; see [the network of groups](../howto/network.md)."""
    allow: tuple[str, ...] = ()
    """Hosts that every group with an allowlist may reach besides the usual ones: `host`, `*.domain`, `host:port`."""
    private: tuple[str, ...] = ()
    """`host:port` in a private network, or on this machine, that may be reached where a group's lists allow it."""
    tell_main: bool = False
    """One line in `main` for each host that was refused to a group, once a day."""
    requests_per_minute: int = 1200
    """Of one group, besides those to its provider; as many may come at once."""
    upload_megabytes_per_day: int = 2000
    """From one group to all hosts but its provider; a day begins at midnight UTC."""
    download_megabytes_per_day: int = 20000
    """Likewise, to the group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatsAppSettings:
    """`[whatsapp]`"""

    enabled: bool = False
    """Whether the host connects to WhatsApp; see [WhatsApp](../howto/whatsapp.md)."""
    shared_number: bool = False
    """The account is a person's own: replies begin with the assistant's name."""
    pace_seconds: float = 1.0
    """Between two messages of ours, at least."""
    per_chat_minute: int = 20
    """Messages of ours to one chat within a minute, at most."""
    typing: bool = True
    """Whether the chat shows that the assistant is typing."""
    read_receipts: bool = True
    """Whether senders see that their message was read; only after it is stored."""
    media_megabytes: int = 25
    """Larger files are told of, but not fetched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSettings:
    """`[page]`: what the owner sees in a browser on this machine."""

    enabled: bool = True
    """Whether the host serves the page."""
    port: int = 8484
    """On 127.0.0.1; 0: any that is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceSettings:
    """`[traces]`: what happens to each message, for a collector of traces."""

    endpoint: str = ""
    """Address of an OTLP/HTTP collector, e.g. `http://127.0.0.1:4318`; empty: none. Needs `nanoclaw[traces]`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """`nanoclaw.toml`"""

    assistant_name: str = "Andy"
    """The assistant's name; a new group's trigger is `@` and this."""
    timezone: str = ""
    """IANA name, e.g. `Europe/Berlin`; empty: the machine's own."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is less than this is not written to the log."""
    credentials: CredentialMode = "mounted"
    """How a subscription reaches its CLI: inside the sandbox for the run (`mounted`), or not at all (`gateway`)."""
    owners: tuple[str, ...] = ()
    """Addresses of the owners, e.g. `4915112345678`: in `main` they alone wake it; empty: whoever is there."""
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    runs: RunSettings = field(default_factory=RunSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    whatsapp: WhatsAppSettings = field(default_factory=WhatsAppSettings)
    page: PageSettings = field(default_factory=PageSettings)
    traces: TraceSettings = field(default_factory=TraceSettings)
