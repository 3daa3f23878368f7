"""The machine: room, clock, time zone, sockets, the page's port."""

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from nanoclaw.doctor.findings import Finding, fine, problem
from nanoclaw.doctor.scene import Scene
from nanoclaw.errors import HostError
from nanoclaw.model import Folder
from nanoclaw.sandbox.disk import used_bytes
from nanoclaw.sandbox.mounts import kept_directories
from nanoclaw.store.inspection import inspect
from nanoclaw.web.application import listen
from nanoclaw.wire import GATEWAY_SOCKET

_FULL_BYTES: Final = 200 << 20
_LOW_BYTES: Final = 2 << 30  # an image, or a few hours of a busy group
_NEAR: Final = 0.9
_EARLIEST: Final = datetime(2026, 1, 1, tzinfo=UTC)  # this program is younger
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_AHEAD: Final = timedelta(hours=1)
_LONGEST_SOCKET_PATH: Final = 103  # bytes; macOS takes no more, Linux four more


def room(scene: Scene) -> Iterator[Finding]:
    """There is room on the disk."""
    free = scene.machine.room
    what = f"{_size(free)} are free"
    hint = f"remove something from the file system of {scene.home.root}"
    if free < _FULL_BYTES:
        yield problem("disk-full", "disk", what, hint)
    elif free < _LOW_BYTES:
        yield problem("disk-low", "disk", what, hint)
    else:
        yield fine("disk", what)


def quotas(scene: Scene) -> Iterator[Finding]:
    """No group's files take more than they may."""
    limit = scene.settings.sandbox.disk_bytes
    good = True
    for group in scene.groups.values():
        used = sum(used_bytes(directory, limit) for directory in kept_directories(scene.home, group))
        if used <= limit * _NEAR:
            continue
        good = False
        name = "quota-full" if used > limit else "quota-near"
        what = f"{_size(used)} of {scene.settings.sandbox.disk} are used"
        hint = f"remove some of {scene.home.groups / group.folder}, or raise sandbox.disk in {scene.home.settings}"
        yield problem(name, f"room of {group.folder}", what, hint)
    if good:
        yield fine("room of groups", f"each has some left of its {scene.settings.sandbox.disk}")


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{count >> 20} MB"


def clock(scene: Scene) -> Iterator[Finding]:
    """The time is about right, as far as can be told without asking anybody."""
    now = scene.machine.now
    newest = inspect(scene.home.database).newest if scene.home.database.exists() else None
    hint = "set it, or let `timedatectl set-ntp true` do so"
    if not _EARLIEST < now < _LATEST:
        yield problem("clock-wrong", "clock", f"it says {now:%Y-%m-%d %H:%M} UTC", hint)
    elif newest is not None and now < newest - _AHEAD:
        what = f"it says {now:%Y-%m-%d %H:%M} UTC, and a message was stored at {newest:%Y-%m-%d %H:%M}"
        yield problem("clock-wrong", "clock", what, hint)
    elif scene.machine.synchronised is False:
        yield problem("clock-free", "clock", "nobody corrects it", "timedatectl set-ntp true")
    else:
        yield fine("clock", f"{now:%Y-%m-%d %H:%M} UTC")


def timezone(scene: Scene) -> Iterator[Finding]:
    """It is known where we are."""
    zone = scene.settings.timezone or scene.machine.zone
    if zone:
        yield fine("time zone", zone)
        return
    hint = f'timezone = "Europe/Berlin", or where you are, in {scene.home.settings}'
    yield problem("timezone-unknown", "time zone", "this machine does not say where it is", hint)


def sockets(scene: Scene) -> Iterator[Finding]:
    """Sockets can be made where they belong, by nobody else."""
    home = scene.home
    longest = home.gateway_directory(Folder("x")) / GATEWAY_SOCKET
    if len(os.fsencode(longest)) > _LONGEST_SOCKET_PATH:
        hint = "choose a home with a shorter path, or set XDG_RUNTIME_DIR to one"
        yield problem("sockets-too-long", "sockets", f"{longest} is too long for a socket", hint)
        return
    if os.path.lexists(home.sockets) and not _is_ours(home.sockets):
        what = f"{home.sockets} is not a directory of yours"
        yield problem("sockets-foreign", "sockets", what, f"rm -r {home.sockets}")
    else:
        yield fine("sockets", f"in {home.sockets}")


def _is_ours(directory: Path) -> bool:
    status = directory.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def page_port(scene: Scene) -> Iterator[Finding]:
    """The page's port is the host's, or free."""
    wanted = scene.settings.page
    if not wanted.enabled:
        yield fine("page", "switched off")
        return
    if scene.status is not None:
        page = scene.status["page"]
        taken, what = page["problem"], f"http://127.0.0.1:{page['port']}"
    else:
        taken, what = _taken(wanted.port), f"port {wanted.port or 'any'} is free"
    if taken:
        yield problem(
            "page-port-taken", "page", taken, f"set page.port in {scene.home.settings}, and start the host again"
        )
    else:
        yield fine("page", what)


def _taken(port: int) -> str:
    try:
        listen(port).close()
    except HostError as error:
        return str(error)
    return ""
