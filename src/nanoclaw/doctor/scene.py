"""What every check looks at: the home, the machine, and the host that may run."""

import ctypes
import fcntl
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import anyio

from nanoclaw.client import Client, NoHostError
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, Settings, known_timezone, load_settings
from nanoclaw.errors import ConfigError, NanoclawError
from nanoclaw.groups import load_groups
from nanoclaw.model import Jid, RegisteredGroup
from nanoclaw.sandbox.mounts import agent_owner
from nanoclaw.service.managers import ServiceState, service_state

_ANSWER_SECONDS: Final = 5.0  # a healthy host takes milliseconds
_LOOKS: Final = 3  # at the lock: a command holds it for a moment
_LOOK_SECONDS: Final = 0.2
_PROCESSES: Final = Path("/proc")
_CLOCK_IS_FREE: Final = 5  # TIME_ERROR
_TIMEX_BYTES: Final = 1024  # struct timex has 208


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Facts of this machine."""

    now: datetime
    synchronised: bool | None
    """Whether somebody corrects its clock; None: that cannot be told."""
    zone: str | None
    """Its time zone by IANA name; None: that cannot be told."""
    room: int
    """Free bytes on the home's file system."""
    uid: int
    """As whom the host runs."""
    agent_uid: int
    """Whom the files of agents must belong to."""
    service: ServiceState | None
    """How the host stands as a service; None: nothing that is known here starts services."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Everything at one moment."""

    home: Home
    settings: Settings
    """The defaults where the file is broken."""
    groups: Mapping[Jid, RegisteredGroup]
    """None where the file is broken."""
    machine: Machine
    status: Mapping[str, Any] | None
    """What a running host says; None: there is none, or it is silent."""
    silent: str = ""
    """Why a host that is there does not answer."""
    online: bool = True
    """Whether others may be asked over the network."""


async def look_around(home: Home, *, online: bool = True) -> Scene:
    """Everything as it is now."""
    try:
        settings = load_settings(home)
    except ConfigError:
        settings = Settings()
    try:
        groups = load_groups(home.registered_groups)
    except ConfigError:
        groups = {}
    status, silent = await _ask_host(home)
    return Scene(
        home=home,
        settings=settings,
        groups=groups,
        machine=_machine(home, await service_state(home, settings)),
        status=status,
        silent=silent,
        online=online,
    )


def _machine(home: Home, service: ServiceState | None) -> Machine:
    there = next(path for path in (home.root, *home.root.parents) if path.exists())
    return Machine(
        now=SystemClock().now(),
        synchronised=_is_synchronised(),
        zone=known_timezone(),
        room=shutil.disk_usage(there).free,
        uid=os.geteuid(),
        agent_uid=agent_owner()[0],
        service=service,
    )


def _is_synchronised() -> bool | None:
    """What the kernel says: whoever corrects the clock tells it."""
    if not sys.platform.startswith("linux"):
        return None
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _CLOCK_IS_FREE


async def _ask_host(home: Home) -> tuple[Mapping[str, Any] | None, str]:
    try:
        with anyio.fail_after(_ANSWER_SECONDS):
            async with Client(home) as client:
                return await client.get("/v1/status"), ""
    except NoHostError:
        silent = "it is starting or stopping, or its socket was taken away"
    except TimeoutError:
        silent = f"it took more than {_ANSWER_SECONDS:g} s"
    except NanoclawError as error:
        silent = str(error)
    for _ in range(_LOOKS):
        if not _is_locked(home):
            return None, ""
        await anyio.sleep(_LOOK_SECONDS)
    return None, silent


def _is_locked(home: Home) -> bool:
    """Whether somebody may write the database: a host, or for a moment a command. Looks whether the process that the
    lock names has it open, as far as the system shows that; a lock that is taken, even for a moment, would refuse a
    host that starts in it."""
    if not (_PROCESSES / "self").exists():
        return _is_locked_by_trial(home)
    try:
        lock, open_files = home.lock.stat(), _PROCESSES / str(int(home.lock.read_text(encoding="ascii"))) / "fd"
        return any(_is_file(path, lock) for path in open_files.iterdir())
    except (OSError, ValueError):
        return False


def _is_file(path: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), file)
    except OSError:
        return False  # closed meanwhile


def _is_locked_by_trial(home: Home) -> bool:
    try:
        handle = os.open(home.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
