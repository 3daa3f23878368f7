"""The text of a service, made from data: a systemd unit, a launchd property list. Pure."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nanoclaw.errors import ConfigError

STOP_MARGIN_SECONDS: Final = 40
"""Beyond the grace of running agents: sending what is left, closing channels and sandboxes."""
RESTART_SECONDS: Final = 5
LOOP_SECONDS: Final = 300
LOOP_STARTS: Final = 5
"""So many starts within `LOOP_SECONDS`, and systemd gives up. The host's own count is in `lives`."""
_FINAL_CODES: Final = (2, 4)  # a wrong file; a host that runs already or has stopped itself: no new start changes that


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSpec:
    """What a service is made from."""

    name: str
    """Of the unit, without its ending."""
    command: Sequence[str]
    """Absolute."""
    home: Path
    log: Path
    """What the host says where nobody else keeps it (launchd)."""
    environment: Mapping[str, str]
    grace_seconds: float
    """`runs.shutdown_grace_seconds`"""
    user: str = ""
    """Whom a system unit runs as; empty: a unit of the user's own."""


def stop_seconds(spec: ServiceSpec) -> int:
    """How long a stop may take before the rest is killed."""
    return math.ceil(spec.grace_seconds) + STOP_MARGIN_SECONDS


def systemd_unit(spec: ServiceSpec) -> str:
    """The unit file.

    What would harden more is not there on purpose: it breaks sandboxes. `NoNewPrivileges` and whatever implies it (in
    a user's unit every system call filter) takes rootless podman its `newuidmap`; mount namespaces (`ProtectSystem`,
    `PrivateTmp`, …) hide podman's mounts from it and cover parts of /proc, after which bubblewrap gets none.

    Raises:
        ConfigError: a path cannot be written into a unit.
    """
    lines = [
        "# Written by `nanoclaw service install`; it writes it anew when it is run again.",
        "[Unit]",
        f"Description=NanoClaw on {_plain(str(spec.home))}",
        "After=network-online.target",
        "Wants=network-online.target" if spec.user else "",
        f"StartLimitIntervalSec={LOOP_SECONDS}",
        f"StartLimitBurst={LOOP_STARTS}",
        "",
        "[Service]",
        "Type=exec",
        f"User={spec.user}" if spec.user else "",
        f"WorkingDirectory={_plain(str(spec.home))}",
        f"ExecStart={' '.join(_quoted(word, command=True) for word in spec.command)}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in spec.environment.items()),
        "Restart=on-failure",
        f"RestartSec={RESTART_SECONDS}",
        f"RestartPreventExitStatus={' '.join(str(code) for code in _FINAL_CODES)}",
        f"TimeoutStopSec={stop_seconds(spec)}",
        "# the host stops its agents itself; what is left after that is killed",
        "KillMode=mixed",
        "# an agent that takes too much memory costs its run, not the host",
        "OOMPolicy=continue",
        "# accounting is what makes the controllers that bubblewrap's limits need available here",
        "CPUWeight=100",
        "MemoryAccounting=yes",
        "TasksAccounting=yes",
        "UMask=0077",
        "LimitCORE=0",
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if spec.user else 'default.target'}",
    ]
    # an empty string stands for a line that is not needed here; empty lines proper come before a section
    text = "\n".join(line for line in lines if line)
    return text.replace("\n[", "\n\n[") + "\n"


def launchd_plist(spec: ServiceSpec) -> bytes:
    """The property list of a launch agent."""
    import plistlib  # macOS alone needs it

    content: dict[str, Any] = {
        "Label": spec.name,
        "ProgramArguments": list(spec.command),
        "WorkingDirectory": str(spec.home),
        "EnvironmentVariables": dict(spec.environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 30,  # launchd has no limit on starts: the host's own count ends a loop
        "ExitTimeOut": stop_seconds(spec),
        "ProcessType": "Background",
        "Umask": 0o077,
        "StandardOutPath": str(spec.log),
        "StandardErrorPath": str(spec.log),
    }
    return plistlib.dumps(content)


def crontab_line(spec: ServiceSpec) -> str:
    """For machines without a service manager of the user's."""
    return f"@reboot {shlex.join(spec.command)}".replace("%", r"\%")


def _plain(text: str) -> str:
    """A value that is not split into words."""
    _check(text)
    return text.replace("%", "%%")


def _quoted(text: str, *, command: bool = False) -> str:
    """One word of a command or an assignment; in a command `$` names a variable."""
    _check(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped.replace("$", "$$") if command else escaped}"'


def _check(text: str) -> None:
    if not text.isprintable():
        raise ConfigError(f"{text!r} cannot stand in a unit file", "use a home whose path has no control characters")
