"""Settings and places. The only module that reads the environment.

`nanoclaw.toml` holds settings (every key has a default), `.env` holds secrets (only the names in `SECRET_NAMES`). A
file that is wrong stops the start with its name, the key and the nearest valid one; nothing falls back in silence.
"""

import difflib
import hashlib
import os
import re
import stat
import tempfile
import tomllib
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import TypeAdapter, ValidationError

from nanoclaw.errors import ConfigError
from nanoclaw.model import Folder

SandboxName = Literal["auto", "podman", "docker", "container", "bubblewrap"]

SECRET_NAMES: Final = (
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "OPENAI_API_KEY",
    "ANTHROPIC_BASE_URL",
    "OPENAI_BASE_URL",
    "CHATGPT_BASE_URL",
)
"""What `.env`, or the host's own environment, may give."""

_SIZE = re.compile(r"([1-9][0-9]*)([kmg]?)")
_LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux and 104 on macOS


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSettings:
    """`[sandbox]`"""

    engine: SandboxName = "auto"
    image: str = ""
    """Empty: the image of this version, built by `nanoclaw image build`."""
    runtime: str = ""
    """A stronger OCI runtime by name, e.g. `runsc`."""
    memory: str = "2g"
    """Of one sandbox: a number with k, m or g."""
    cpus: float = 2.0
    pids: int = 512

    @property
    def memory_bytes(self) -> int:
        """`memory` as a number of bytes."""
        match = _SIZE.fullmatch(self.memory)
        if match is None:
            raise ConfigError(f"sandbox.memory is {self.memory!r}", "write it like 2g or 512m")
        return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """`[runs]`"""

    max_concurrent: int = 5
    timeout_seconds: float = 1800.0
    """When the group's `containerConfig.timeout` does not say otherwise."""
    max_attempts: int = 4
    retry_base_seconds: float = 5.0
    """Wait before the second attempt; doubles with each further one."""
    shutdown_grace_seconds: float = 20.0
    history_messages: int = 20
    """Earlier exchanges shown to a provider that does not resume sessions."""
    prompt_messages: int = 200
    """At most so many messages are handed over at once; older ones are counted, not shown."""
    keep_logs: int = 100
    """Run logs kept for each group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """`nanoclaw.toml`"""

    assistant_name: str = "Andy"
    timezone: str = ""
    """IANA name; empty: the machine's own."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    runs: RunSettings = field(default_factory=RunSettings)


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

    def gateway_directory(self, folder: Folder) -> Path:
        """Directory of one group's gateway socket; mounted read-only into its sandbox."""
        return _group_directory(self.sockets, folder)

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


def find_home(option: Path | None) -> Home:
    """`--home`, else `NANOCLAW_HOME`, else `~/nanoclaw`."""
    chosen = option or Path(os.environ.get("NANOCLAW_HOME") or "~/nanoclaw")
    return Home(chosen.expanduser().absolute())


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
    _refuse_unknown_keys(home.settings, table, TypeAdapter(Settings).json_schema())
    try:
        settings = TypeAdapter(Settings).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{home.settings}: {key}: {first['msg']}", "see docs/running.md for every key") from error
    _check(home, settings)
    return settings


def _check(home: Home, settings: Settings) -> None:
    if settings.runs.max_concurrent < 1:
        raise ConfigError(f"{home.settings}: runs.max_concurrent must be at least 1", "5 is the default")
    settings.sandbox.memory_bytes  # noqa: B018  # reading it checks it
    if settings.timezone:
        try:
            ZoneInfo(settings.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                f"{home.settings}: timezone {settings.timezone!r} is unknown", "use an IANA name such as Europe/Berlin"
            ) from error


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
        lines = home.env.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return found
    for number, line in enumerate(lines, 1):
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise ConfigError(f"{home.env} line {number} is not NAME=value", "one NAME=value a line, # for comments")
        if name.strip() in SECRET_NAMES:
            found[name.strip()] = value.strip().strip("'\"")
    return {name: value for name, value in found.items() if value}


def machine_timezone() -> str:
    """The machine's zone by IANA name, `UTC` when it cannot be told."""
    if name := os.environ.get("TZ", "").lstrip(":"):
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError):
            pass
    target = os.path.realpath("/etc/localtime")
    _, marker, name = target.partition("zoneinfo/")
    return name if marker else "UTC"


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


def user_data_directory() -> Path:
    """Where things lie that all homes of one user share (the bubblewrap toolkit)."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "nanoclaw"


def user_config_directory() -> Path:
    """Where the mount allowlist lies: outside everything that a sandbox can see."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "nanoclaw"
