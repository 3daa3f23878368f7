"""What the machine and the environment say besides: the time zone, the user's directories, what other programs need."""

import os
import sys
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


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
