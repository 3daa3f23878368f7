"""Limits for bubblewrap, which has none: control groups, wherever this process may make some.

Version 1 has a tree for each controller, and a group of ours goes below the group that this process is in. Version 2
has one tree, where a group with processes in it cannot have groups with limits: ours goes beside the process's own.
"""

import os
import signal
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from nanoclaw.errors import SandboxError
from nanoclaw.sandbox.base import Limits

CONTROLLERS: Final = ("memory", "pids", "cpu")

_PERIOD = 100_000  # microseconds; the kernel's own default
_REMOVE_ATTEMPTS = 50
_REMOVE_PAUSE = 0.02  # a group is busy until its last killed process is gone: milliseconds; a second in all


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A directory below which this process may make groups."""

    directory: Path
    controllers: frozenset[str]
    """Some of `CONTROLLERS`."""
    version: int


def find_places(proc: Path = Path("/proc/self")) -> tuple[Place, ...]:
    """Where groups can be made; what no place has cannot be limited."""
    try:
        own = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return ()
    paths = {names: path for _, names, path in (line.split(":", 2) for line in own)}
    places: list[Place] = []
    for line in mounts:
        fields, _, described = line.partition(" - ")
        kind, _, options = described.partition(" ")
        mount = Path(fields.split()[4])
        if kind == "cgroup2":
            place = _version_2(mount, paths.get("", "/"))
        elif kind == "cgroup":
            place = _version_1(mount, options.split()[-1].split(","), paths)
        else:
            continue
        if place.controllers and os.access(place.directory, os.W_OK):
            places.append(place)
    return tuple(places)


def _version_1(mount: Path, options: Iterable[str], paths: dict[str, str]) -> Place:
    controllers = frozenset(options) & frozenset(CONTROLLERS)
    own = next((path for names, path in paths.items() if controllers & set(names.split(","))), "/")
    return Place(directory=_existing(mount, own), controllers=controllers, version=1)


def _version_2(mount: Path, own: str) -> Place:
    group = _existing(mount, own)
    directory = group if group == mount else group.parent
    enabled: frozenset[str] = frozenset()
    with suppress(OSError):
        if os.access(directory / "cgroup.procs", os.W_OK):
            enabled = frozenset((directory / "cgroup.subtree_control").read_text().split())
    return Place(directory=directory, controllers=enabled & frozenset(CONTROLLERS), version=2)


def _existing(mount: Path, path: str) -> Path:
    """The group's directory; the mount itself where a namespace hides the upper part of the tree."""
    directory = mount / path.lstrip("/")
    return directory if directory.is_dir() else mount


def missing_limits(places: Sequence[Place], otherwise: Iterable[str] = ()) -> tuple[str, ...]:
    """The limits that cannot be set, as people call them.

    Args:
        otherwise: controllers whose limit is set by other means.
    """
    found = frozenset(otherwise).union(*(place.controllers for place in places))
    titles = {"memory": "a limit on memory", "pids": "a limit on processes", "cpu": "a limit on processor time"}
    return tuple(title for controller, title in titles.items() if controller not in found)


def settings_of(place: Place, limits: Limits) -> dict[str, str]:
    """What is written into the files of a group at `place`, in this order."""
    quota = int(limits.cpus * _PERIOD)
    memory = str(limits.memory_bytes)
    files = {
        (1, "memory"): {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory},
        (1, "cpu"): {"cpu.cfs_period_us": str(_PERIOD), "cpu.cfs_quota_us": str(quota)},
        (2, "memory"): {"memory.max": memory, "memory.swap.max": "0"},
        (2, "cpu"): {"cpu.max": f"{quota} {_PERIOD}"},
        (1, "pids"): {"pids.max": str(limits.pids)},
        (2, "pids"): {"pids.max": str(limits.pids)},
    }
    return {
        name: value
        for controller in CONTROLLERS
        if controller in place.controllers
        for name, value in files[place.version, controller].items()
    }


@asynccontextmanager
async def limited(places: Sequence[Place], name: str, limits: Limits) -> AsyncGenerator[tuple[str, ...]]:
    """A group called `name` at every place, gone when the context ends.

    Yields the files to which a process writes `0` to get into it.

    Raises:
        SandboxError: it could not be made.
    """
    groups = [place.directory / name for place in places]
    try:
        try:
            await anyio.to_thread.run_sync(_make, places, name, limits)
        except OSError as error:
            raise SandboxError(f"no limits can be set: {error.strerror}: {error.filename}", retryable=True) from error
        yield tuple(str(group / "cgroup.procs") for group in groups)
    finally:
        with anyio.CancelScope(shield=True):
            await remove(groups)


def _make(places: Sequence[Place], name: str, limits: Limits) -> None:
    for place in places:
        group = place.directory / name
        group.mkdir()
        for file, value in settings_of(place, limits).items():
            # kernels without accounting of swap lack its files
            if ("swap" not in file and "memsw" not in file) or (group / file).exists():
                (group / file).write_text(value)


async def remove(groups: Iterable[Path]) -> None:
    """Kill what is left in the groups and remove them. One that stays busy is left to the next sweep."""
    left = list(groups)
    for _ in range(_REMOVE_ATTEMPTS):
        left = await anyio.to_thread.run_sync(_remove_once, left)
        if not left:
            return
        await anyio.sleep(_REMOVE_PAUSE)


def _remove_once(groups: Iterable[Path]) -> list[Path]:
    left: list[Path] = []
    for group in groups:
        try:
            group.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left.append(group)
            with suppress(OSError):
                for pid in (group / "cgroup.procs").read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
    return left


def groups_of(places: Sequence[Place], prefix: str) -> list[Path]:
    """The groups whose names begin with `prefix`."""
    return [group for place in places for group in place.directory.iterdir() if group.name.startswith(prefix)]
