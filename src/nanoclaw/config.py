"""Settings and places. The only module that reads the environment.

`nanoclaw.toml` holds settings (every key has a default), `.env` holds secrets (only the names in `SECRET_NAMES`). A
file that is wrong stops the start with its name, the key and the nearest valid one; nothing falls back in silence.
"""

import difflib
import hashlib
import os
import re
import stat
import sys
import tempfile
import tomllib
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import TypeAdapter, ValidationError

from nanoclaw.errors import ConfigError
from nanoclaw.hosts import parse_address, parse_pattern
from nanoclaw.model import Folder, NetworkPolicy

SandboxName = Literal["auto", "podman", "docker", "container", "bubblewrap"]
CredentialMode = Literal["mounted", "gateway"]

SECRETS: Final = {
    "ANTHROPIC_API_KEY": "Key for Claude; goes before the token.",
    "CLAUDE_CODE_OAUTH_TOKEN": "A Claude subscription's token, from `claude setup-token`.",
    "OPENAI_API_KEY": "Key for Codex.",
    "ANTHROPIC_BASE_URL": "Instead of `https://api.anthropic.com`.",
    "OPENAI_BASE_URL": "Instead of `https://api.openai.com/v1`, and of the models' address of a ChatGPT login.",
    "CHATGPT_BASE_URL": "Instead of `https://chatgpt.com/backend-api`, for a ChatGPT login.",
    "CHATGPT_ISSUER_URL": "Instead of `https://auth.openai.com`: where a ChatGPT login is made, renewed and revoked.",
}
"""What `.env`, or the host's own environment, may give, and what it is."""
SECRET_NAMES: Final = tuple(SECRETS)

_ENDPOINT = re.compile(r"https?://[^\s/@]+(/\S*)?")
_SIZE = re.compile(r"([1-9][0-9]*)([kmg]?)")

_LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux and 104 on macOS


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


@dataclass(frozen=True, slots=True)
class Home:
    """The runtime directory and every place in it (DESIGN §5)."""

    root: Path

    @property
    def settings(self) -> Path:
        """`nanoclaw.toml`"""
        return self.root / "nanoclaw.toml"

    @property
    def env(self) -> Path:
        """`.env`"""
        return self.root / ".env"

    @property
    def groups(self) -> Path:
        """`groups/`"""
        return self.root / "groups"

    @property
    def data(self) -> Path:
        """`data/`"""
        return self.root / "data"

    @property
    def registered_groups(self) -> Path:
        """`data/registered_groups.json`"""
        return self.data / "registered_groups.json"

    @property
    def mailboxes(self) -> Path:
        """`data/ipc/`, one mailbox a group."""
        return self.data / "ipc"

    @property
    def database(self) -> Path:
        """`store/nanoclaw.db`"""
        return self.root / "store" / "nanoclaw.db"

    @property
    def run(self) -> Path:
        """`run/`: locks, identity, sockets."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """`logs/`"""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Held by whoever may write the database."""
        return self.run / "host.lock"

    @property
    def sockets(self) -> Path:
        """Where sockets lie: `run/`, or a private place with a short path when the home's is too long for a socket."""
        if len(os.fsencode(_group_directory(self.run, Folder("x")))) + len("/gateway.sock") <= _LONGEST_SOCKET_PATH:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        short = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(short) / f"nanoclaw-{os.getuid()}-{digest}"

    @property
    def control_socket(self) -> Path:
        """The running host's control socket."""
        return self.sockets / "control.sock"

    @property
    def page_token(self) -> Path:
        """The secret in the page's address."""
        return self.run / "page-token"

    def gateway_directory(self, folder: Folder) -> Path:
        """Directory of one group's gateway socket; mounted read-only into its sandbox."""
        return _group_directory(self.sockets, folder)

    def media(self, folder: Folder) -> Path:
        """`data/media/<folder>/`: what people sent; read-only in the group's sandbox."""
        return self.data / "media" / folder

    @property
    def outgoing(self) -> Path:
        """`data/outgoing/`: the host's copies of files that agents send."""
        return self.data / "outgoing"

    @property
    def credentials(self) -> Path:
        """`credentials/`: logins and keys that the host owns; no sandbox mounts anything of it."""
        return self.root / "credentials"

    @property
    def whatsapp(self) -> Path:
        """`store/whatsapp/`: the session of the linked device and what came in and is not taken over yet."""
        return self.root / "store" / "whatsapp"

    def run_logs(self, folder: Folder) -> Path:
        """`logs/runs/<folder>/`"""
        return self.logs / "runs" / folder

    def installation(self) -> str:
        """Identity of this installation, made at first use: 12 hex digits."""
        path = self.run / "installation"
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            identity = uuid.uuid4().hex[:12]
            try:
                with path.open("x", encoding="ascii") as file:
                    file.write(identity + "\n")
            except FileExistsError:
                return path.read_text(encoding="ascii").strip()
            return identity


def _group_directory(sockets: Path, folder: Folder) -> Path:
    """Named by a digest, as a folder's name may be longer than a socket's path can take."""
    return sockets / "gateway" / hashlib.sha256(folder.encode()).hexdigest()[:16]


def make_private(path: Path) -> None:
    """Make a directory that only its owner can enter, or check that it is one.

    Raises:
        ConfigError: somebody else's directory, or a link, lies there.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise ConfigError(f"{path} is not a directory of yours", "remove it, or choose a home with a shorter path")
    path.chmod(0o700)


USUAL_HOME: Final = Path("~/nanoclaw")


def find_home(option: Path | None) -> Home:
    """`--home`, else `NANOCLAW_HOME`, else `~/nanoclaw`."""
    chosen = option or Path(os.environ.get("NANOCLAW_HOME") or USUAL_HOME)
    return Home(chosen.expanduser().absolute())


@cache
def _adapter() -> TypeAdapter[Settings]:
    return TypeAdapter(Settings)  # making it takes longer than all the rest of reading the settings


@cache
def _schema() -> dict[str, Any]:
    return _adapter().json_schema()


def load_settings(home: Home) -> Settings:
    """Read `nanoclaw.toml`; a missing file means defaults.

    Raises:
        ConfigError: the file is no TOML, has an unknown key or a value of the wrong type.
    """
    try:
        text = home.settings.read_bytes()
    except FileNotFoundError:
        return Settings()
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{home.settings} is not valid TOML: {error}", "correct the line it names") from error
    _refuse_unknown_keys(home.settings, table, _schema())
    try:
        settings = _adapter().validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{home.settings}: {key}: {first['msg']}", "see docs/reference/configuration.md") from error
    _check(home, settings)
    return settings


def _check(home: Home, settings: Settings) -> None:
    if settings.runs.max_concurrent < 1:
        raise ConfigError(f"{home.settings}: runs.max_concurrent must be at least 1", "5 is the default")
    _ = settings.sandbox.memory_bytes, settings.sandbox.disk_bytes  # reading them checks them
    _check_network(home, settings.network)
    if settings.traces.endpoint and not _ENDPOINT.fullmatch(settings.traces.endpoint):
        raise ConfigError(f"{home.settings}: traces.endpoint is no address", "write it like http://127.0.0.1:4318")
    if settings.timezone:
        try:
            ZoneInfo(settings.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                f"{home.settings}: timezone {settings.timezone!r} is unknown", "use an IANA name such as Europe/Berlin"
            ) from error


def _check_network(home: Home, network: NetworkSettings) -> None:
    for key, entries, parse in (("allow", network.allow, parse_pattern), ("private", network.private, parse_address)):
        for entry in entries:
            try:
                parse(entry)
            except ValueError as error:
                raise ConfigError(f"{home.settings}: network.{key}: {error}", "see docs/howto/network.md") from error
    limits = (network.requests_per_minute, network.upload_megabytes_per_day, network.download_megabytes_per_day)
    if min(limits) < 1:
        raise ConfigError(
            f"{home.settings}: a limit of network must be at least 1", 'for no network, set network.policy = "none"'
        )


def _refuse_unknown_keys(path: Path, table: dict[str, Any], schema: dict[str, Any]) -> None:
    sections = schema.get("$defs", {})
    for key, value in table.items():
        known = schema["properties"]
        if key not in known:
            raise _unknown_key(path, key, list(known))
        reference = known[key].get("$ref", "").rpartition("/")[2]
        if reference and isinstance(value, dict):
            fields = sections[reference]["properties"]
            for inner in value:  # pyright: ignore[reportUnknownVariableType]
                if inner not in fields:
                    raise _unknown_key(path, f"{key}.{inner}", [f"{key}.{name}" for name in fields])


def _unknown_key(path: Path, key: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}"
    return ConfigError(f"{path}: unknown key {key}", hint)


def load_secrets(home: Home) -> dict[str, str]:
    """The allowlisted names from the host's environment, overridden by `.env`. Read at every run, so an edit counts.

    Raises:
        ConfigError: a line of `.env` is not `NAME=value`.
    """
    found = {name: os.environ[name] for name in SECRET_NAMES if os.environ.get(name)}
    try:
        text = home.env.read_text(encoding="utf-8")
    except FileNotFoundError:
        return found
    return {name: value for name, value in {**found, **parse_env(text, home.env)}.items() if value}


def parse_env(text: str, path: Path) -> dict[str, str]:
    """What a `.env` gives, by allowlisted name; an empty value takes away what the environment gives.

    Raises:
        ConfigError: a line is not `NAME=value`.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise ConfigError(f"{path} line {number} is not NAME=value", "one NAME=value a line, # for comments")
        if name.strip() in SECRET_NAMES:
            found[name.strip()] = value.strip().strip("'\"")
    return found


def machine_timezone() -> str:
    """The machine's zone by IANA name, `UTC` when it cannot be told."""
    return known_timezone() or "UTC"


def known_timezone() -> str | None:
    """The machine's zone by IANA name; None when it cannot be told."""
    if name := os.environ.get("TZ", "").lstrip(":"):
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError):
            pass
    target = os.path.realpath("/etc/localtime")
    _, marker, name = target.partition("zoneinfo/")
    return name if marker else None


def command_environment() -> dict[str, str]:
    """What an engine's own command line tool needs of the host's environment, and no more."""
    names = (
        "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
        "DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "CONTAINER_HOST",
        "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "BUILDAH_ISOLATION",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "PIP_CERT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
    )  # fmt: skip
    return {name: os.environ[name] for name in names if name in os.environ}


def sign_in_environment() -> dict[str, str]:
    """What a provider's own sign-in needs of the host's environment: the way to its server, a terminal, a browser."""
    names = (
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "COLORTERM",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS",
        "BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "XDG_CURRENT_DESKTOP",
        "XDG_DATA_DIRS", "DBUS_SESSION_BUS_ADDRESS",
    )  # fmt: skip
    return {name: os.environ[name] for name in names if name in os.environ}


def service_environment() -> dict[str, str]:
    """What a host that a service manager starts needs of this environment, which such a manager does not know. Proxies
    with a password in their address are left out: others can read what is told to a service manager."""
    names = (
        "PATH", "TZ", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
        "SSL_CERT_FILE", "SSL_CERT_DIR",
    )  # fmt: skip
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    return {name: value for name, value in found.items() if not ("proxy" in name.lower() and "@" in value)}


def systemd_directory() -> Path:
    """Where the units of this user lie."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "systemd" / "user"


def has_screen() -> bool:
    """Whether a browser that is started here would be seen by whoever sits at this terminal."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER"):
        return True
    return sys.platform == "darwin" and not os.environ.get("SSH_CONNECTION")


def user_data_directory() -> Path:
    """Where things lie that all homes of one user share (the bubblewrap toolkit)."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "nanoclaw"


def user_config_directory() -> Path:
    """Where the mount allowlist lies: outside everything that a sandbox can see."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "nanoclaw"
