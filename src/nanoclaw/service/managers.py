"""The host as a service of this machine: systemd (of the user, or the system's), launchd."""

import getpass
import hashlib
import os
import platform
import pwd
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import anyio

from nanoclaw.atomic import replace_file
from nanoclaw.client import running_since
from nanoclaw.config import (
    USUAL_HOME,
    Home,
    Settings,
    command_environment,
    service_environment,
    systemd_directory,
)
from nanoclaw.errors import HostError, SandboxError, UsageError
from nanoclaw.sandbox.process import CompletedCommand, last_line, run_command
from nanoclaw.service.units import ServiceSpec, crontab_line, launchd_plist, systemd_unit

_COMMAND_SECONDS: Final = 30.0  # a service manager answers at once, unless the machine is starting
_START_SECONDS: Final = 60.0  # until the host answers: its own start, on a busy machine
_LOOK_SECONDS: Final = 0.2
_UNIT_MODE: Final = 0o644
_SYSTEM_UNITS: Final = Path("/etc/systemd/system")
_AGENTS: Final = Path("~/Library/LaunchAgents")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceState:
    """How a service stands."""

    manager: str
    """`systemd`, `systemd (system)` or `launchd`."""
    unit: str
    """Its name there."""
    path: Path
    installed: bool
    running: bool = False
    detail: str = ""
    """In the manager's own words."""
    lingers: bool = True
    """Whether it runs while the user is not logged in."""


class Manager(Protocol):
    """What starts services."""

    async def problem(self) -> str:
        """Why it cannot be used; empty: it can."""
        ...

    async def install(self, spec: ServiceSpec) -> None:
        """Write the service and start it, anew if it runs. Raises `HostError`."""
        ...

    async def restart(self, spec: ServiceSpec) -> None:
        """End it as a stop does, and start it. Raises `HostError`."""
        ...

    async def uninstall(self, spec: ServiceSpec) -> None:
        """Stop it and remove what `install` wrote; already gone is success. Raises `HostError`."""
        ...

    async def state(self, spec: ServiceSpec) -> ServiceState:
        """How it stands."""
        ...

    def log_command(self, spec: ServiceSpec, lines: int, *, follow: bool) -> tuple[str, ...]:
        """What shows its log."""
        ...


def service_spec(home: Home, settings: Settings, *, system: bool = False) -> ServiceSpec:
    """What this home's service is made from.

    Raises:
        UsageError: the system's service was asked for by somebody who is not root.
    """
    if system and os.geteuid() != 0:
        raise UsageError("--system needs root", "sudo nanoclaw service install --system, or leave it out")
    return ServiceSpec(
        name=service_name(home.root, launchd=platform.system() == "Darwin"),
        command=(sys.executable, "-P", "-m", "nanoclaw", "--home", str(home.root), "run"),
        home=home.root,
        log=home.logs / "service.log",
        environment=service_environment(),
        grace_seconds=settings.runs.shutdown_grace_seconds,
        user=pwd.getpwuid(home.root.stat().st_uid).pw_name if system else "",
    )


def service_name(home: Path, *, launchd: bool = False) -> str:
    """`nanoclaw` for the usual home; others have their name and a part of a hash in it."""
    name = "nanoclaw"
    if home != USUAL_HOME.expanduser():
        digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:6]
        name = "-".join([name, re.sub(r"[^A-Za-z0-9]+", "-", home.name).strip("-") or "home", digest])
    return f"local.{name}" if launchd else name


async def service_state(home: Home, settings: Settings) -> ServiceState | None:
    """How this home's service stands, the user's or, for root, the system's; None: nothing here starts services."""
    system = os.geteuid() == 0 and (_SYSTEM_UNITS / f"{service_name(home.root)}.service").exists()
    spec = service_spec(home, settings, system=system)
    try:
        return await (await find_manager(spec)).state(spec)
    except HostError:
        return None


async def find_manager(spec: ServiceSpec) -> Manager:
    """What starts services here.

    Raises:
        HostError: nothing that is known; the hint says what to use instead.
    """
    manager: Manager = Launchd() if platform.system() == "Darwin" else Systemd(system=bool(spec.user))
    if problem := await manager.problem():
        hint = f"have something else run it, for example cron: {crontab_line(spec)}"
        raise HostError(f"there is no service manager for this user here: {problem}", hint)
    return manager


async def install_service(home: Home, settings: Settings, *, system: bool = False) -> ServiceState:
    """Have the host start with this machine, and start it now; answers how the service stands then.

    Raises:
        HostError: nothing starts services here, or it refuses; a host runs that is no service; none answers.
        UsageError: see `service_spec`.
    """
    spec = service_spec(home, settings, system=system)
    manager = await find_manager(spec)
    if not (await manager.state(spec)).running and await running_since(home):
        raise HostError("a host runs already, and not as a service", "end it where it runs, then try again")
    await manager.install(spec)
    await wait_for_host(home)
    return await manager.state(spec)


async def wait_for_host(home: Home) -> None:
    """Return once the host answers.

    Raises:
        HostError: it does not within a minute.
    """
    with anyio.move_on_after(_START_SECONDS):
        while True:
            if await running_since(home):
                return
            await anyio.sleep(_LOOK_SECONDS)
    raise HostError("the service was started, and no host answers", "see `nanoclaw service logs`")


class Systemd:
    """Units of the user's own manager, or the system's."""

    def __init__(self, *, system: bool) -> None:
        self._system = system
        self._directory = _SYSTEM_UNITS if system else systemd_directory()
        self._scope = () if system else ("--user",)

    async def problem(self) -> str:
        """See `Manager.problem`."""
        try:
            answer = await self._ask("show", "--property=Version", "--value")
        except SandboxError as error:
            return str(error)
        return last_line(answer.stderr) or "systemctl fails" if answer.returncode else ""

    async def install(self, spec: ServiceSpec) -> None:
        """See `Manager.install`."""
        path = self._path(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, systemd_unit(spec), _UNIT_MODE)
        await self._demand("daemon-reload")
        await self._demand("reset-failed", f"{spec.name}.service", may_fail=True)
        await self._demand("enable", f"{spec.name}.service")
        await self.restart(spec)

    async def restart(self, spec: ServiceSpec) -> None:
        """See `Manager.restart`."""
        await self._demand("restart", f"{spec.name}.service")

    async def uninstall(self, spec: ServiceSpec) -> None:
        """See `Manager.uninstall`."""
        path = self._path(spec)
        if not path.exists():
            return
        await self._demand("disable", "--now", f"{spec.name}.service")
        path.unlink(missing_ok=True)
        await self._demand("daemon-reload")

    async def state(self, spec: ServiceSpec) -> ServiceState:
        """See `Manager.state`."""
        wanted = "ActiveState,SubState,Result,NRestarts,UnitFileState"
        shown = (await self._demand("show", f"{spec.name}.service", f"--property={wanted}")).stdout
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return ServiceState(
            manager="systemd (system)" if self._system else "systemd",
            unit=f"{spec.name}.service",
            path=self._path(spec),
            installed=self._path(spec).exists() and values.get("UnitFileState") == "enabled",
            running=values.get("ActiveState") == "active",
            detail=", ".join(f"{name} {value}" for name, value in values.items() if value),
            lingers=self._system or await _lingers(),
        )

    def log_command(self, spec: ServiceSpec, lines: int, *, follow: bool) -> tuple[str, ...]:
        """See `Manager.log_command`."""
        following = ("--follow",) if follow else ("--no-pager",)
        return ("journalctl", *self._scope, "--unit", spec.name, "--lines", str(lines), *following)

    def _path(self, spec: ServiceSpec) -> Path:
        return self._directory / f"{spec.name}.service"

    async def _ask(self, *arguments: str) -> CompletedCommand:
        return await run_command(("systemctl", *self._scope, *arguments), command_environment(), _COMMAND_SECONDS)

    async def _demand(self, *arguments: str, may_fail: bool = False) -> CompletedCommand:
        answer = await self._ask(*arguments)
        if answer.returncode and not may_fail:
            raise _refused(("systemctl", *self._scope, *arguments), answer)
        return answer


class Launchd:
    """Launch agents of the user. Nobody has tried this: it is written from launchd's manual pages."""

    async def problem(self) -> str:
        """See `Manager.problem`."""
        return ""

    async def install(self, spec: ServiceSpec) -> None:
        """See `Manager.install`."""
        path = self._path(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, launchd_plist(spec).decode(), _UNIT_MODE)
        await self._ask("bootout", self._target(spec))
        await self._demand("bootstrap", f"gui/{os.getuid()}", str(path))

    async def restart(self, spec: ServiceSpec) -> None:
        """See `Manager.restart`."""
        await self._demand("kickstart", "-k", self._target(spec))

    async def uninstall(self, spec: ServiceSpec) -> None:
        """See `Manager.uninstall`."""
        await self._ask("bootout", self._target(spec))
        self._path(spec).unlink(missing_ok=True)

    async def state(self, spec: ServiceSpec) -> ServiceState:
        """See `Manager.state`."""
        shown = await self._ask("print", self._target(spec))
        found = re.search(r"^\s*state = (.+)$", shown.stdout, re.MULTILINE)
        return ServiceState(
            manager="launchd",
            unit=spec.name,
            path=self._path(spec),
            installed=self._path(spec).exists(),
            running=found is not None and found[1] == "running",
            detail=f"state {found[1]}" if found else "",
        )

    def log_command(self, spec: ServiceSpec, lines: int, *, follow: bool) -> tuple[str, ...]:
        """See `Manager.log_command`."""
        return ("tail", "-n", str(lines), *(("-f",) if follow else ()), str(spec.log))

    def _path(self, spec: ServiceSpec) -> Path:
        return _AGENTS.expanduser() / f"{spec.name}.plist"

    def _target(self, spec: ServiceSpec) -> str:
        return f"gui/{os.getuid()}/{spec.name}"

    async def _ask(self, *arguments: str) -> CompletedCommand:
        return await run_command(("launchctl", *arguments), command_environment(), _COMMAND_SECONDS)

    async def _demand(self, *arguments: str) -> None:
        answer = await self._ask(*arguments)
        if answer.returncode:
            raise _refused(("launchctl", *arguments), answer)


async def _lingers() -> bool:
    """Whether this user's services run while nobody is logged in; where that cannot be told, they may not."""
    command = ("loginctl", "show-user", getpass.getuser(), "--property=Linger", "--value")
    try:
        answer = await run_command(command, command_environment(), _COMMAND_SECONDS)
    except SandboxError:
        return False
    return answer.stdout.strip() == "yes"


def _refused(command: Sequence[str], answer: CompletedCommand) -> HostError:
    why = last_line(answer.stderr) or f"status {answer.returncode}"
    return HostError(f"the service manager refuses: {why}", f"try it by hand: {' '.join(command)}")
