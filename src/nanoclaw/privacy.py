"""The home belongs to its owner alone: who else could read what is in it, and mending that."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from nanoclaw.config import Home

ROOT_HINT: Final = "run it as an ordinary user of its own; see “As root, and not as root” in docs/running.md"

_OTHERS: Final = 0o077

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """A place that is not its owner's alone."""

    path: Path
    foreign: bool
    """Somebody else owns it, who can do as they like; else others may read or enter it."""

    def __str__(self) -> str:
        return f"{self.path} belongs to somebody else" if self.foreign else f"others can read or enter {self.path}"


def is_root() -> bool:
    """Whether a mistake of the host would be a mistake of root's."""
    return os.geteuid() == 0


def exposures(home: Home) -> list[Exposure]:
    """Directories and secrets of the home that others could get at. What is not there, or a link, is none."""
    found: list[Exposure] = []
    for path in (*_directories(home), *_secrets(home)):
        try:
            status = path.stat() if path == home.root else path.lstat()
        except OSError:
            continue
        if stat.S_ISLNK(status.st_mode):
            continue
        if status.st_uid != os.geteuid():
            found.append(Exposure(path=path, foreign=True))
        elif status.st_mode & _OTHERS:
            found.append(Exposure(path=path, foreign=False))
    return found


def make_home_private(home: Home) -> None:
    """Take from others what they may do in the home, and log it; log what cannot be mended here, and being root."""
    if is_root():
        log.warning("host.is_root", why="a mistake of the host would be a mistake of root's", hint=ROOT_HINT)
    for exposure in exposures(home):
        if exposure.foreign:
            log.error("home.not_private", path=str(exposure.path), problem=str(exposure))
        else:
            mode = stat.S_IMODE(exposure.path.stat().st_mode) & ~_OTHERS
            exposure.path.chmod(mode)
            log.warning("home.made_private", path=str(exposure.path), mode=oct(mode))


def _directories(home: Home) -> Iterator[Path]:
    yield from (home.root, home.groups, home.data, home.run, home.logs, home.database.parent)
    yield from (home.whatsapp, home.credentials, home.outgoing)


def _secrets(home: Home) -> Iterator[Path]:
    yield home.env
    for directory, pattern in ((home.database.parent, "*.db*"), (home.credentials, "**/*"), (home.whatsapp, "*")):
        yield from (path for path in directory.glob(pattern) if not path.is_symlink())
