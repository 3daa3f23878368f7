"""A crash loop stops itself: what became of the host's last lives, in `run/lives.json`.

A life counts against the next one when it ended by an error of its own, or without a word, before it was a minute old.
Whoever stops a host, and whatever it says before it is ready, counts for nothing.
"""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import anyio
import structlog

from nanoclaw.atomic import replace_file
from nanoclaw.clock import Clock, from_iso, iso
from nanoclaw.config import Home, machine_timezone
from nanoclaw.errors import HostError, NanoclawError, leaves
from nanoclaw.formatting import spoken_time

HEALTHY_SECONDS: Final = 60.0
"""A host that lives so long after it was ready is no part of a loop."""

_WINDOW: Final = timedelta(minutes=10)
_MOST_CRASHES: Final = 5  # within the window; a supervisor that waits a few seconds gets there in a minute
_MOST_SILENT: Final = 50  # likewise: people and tests kill hosts, and a kill looks like a crash of the worst kind
_LONGEST_END: Final = 300  # characters
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """One start of the host."""

    began: str
    boot: str
    """Of the machine: what ended because the machine did is no crash."""
    end: str = ""
    """The error that ended it; empty as long as it lives, and when it was killed."""


def crash_loop(lives: Sequence[Life], boot: str, now: datetime) -> str:
    """Why the host had better not start, for people; empty: it may."""
    recent = [life for life in lives if life.boot == boot and now - from_iso(life.began) <= _WINDOW]
    crashed = [life for life in recent if life.end]
    if len(crashed) < _MOST_CRASHES and len(recent) - len(crashed) < _MOST_SILENT:
        return ""
    ends = [life.end for life in crashed] or ["killed, or ended without a word"]
    return (
        f"it ended {len(recent)} times since {_when(recent[0])}, each time within a minute; the last time: {ends[-1]}"
    )


def stopped_itself(home: Home, now: datetime) -> str:
    """What the next start would be refused for; empty: nothing."""
    return crash_loop(_read(_path(home)), _boot(), now)


class Lives:
    """The lives of one home's host; for whoever starts it as a service does."""

    def __init__(
        self, home: Home, clock: Clock, *, anyway: bool = False, healthy_seconds: float = HEALTHY_SECONDS
    ) -> None:
        """Nothing is read or written before `life`.

        Args:
            home: whose host it is.
            clock: the time.
            anyway: start whatever happened before, and forget it.
            healthy_seconds: how old a life must be to end the count.
        """
        self._home = home
        self._clock = clock
        self._anyway = anyway
        self._healthy_seconds = healthy_seconds
        self._past: list[Life] = []
        self._ready = False
        self._healthy = False

    @contextmanager
    def life(self) -> Generator[None]:
        """Be a life, for as long as the context lasts. The host's lock is held.

        Raises:
            HostError: the host has crashed again and again.
        """
        now = self._clock.now()
        self._past = [] if self._anyway else _read(_path(self._home))
        if why := crash_loop(self._past, _boot(), now):
            hint = f"see {self._home.logs}/nanoclaw.log; to start it all the same: `nanoclaw run --anyway`"
            raise HostError(f"the host has stopped itself: {why}", hint)
        this = Life(began=iso(now), boot=_boot())
        self._write([*self._past, this])
        try:
            yield
        except Exception as error:
            self._note_end(this, error)
            raise
        except BaseException:
            self._write([])
            raise
        self._write([])

    def be_ready(self) -> None:
        """From now on every error counts."""
        self._ready = True

    async def grow_old(self) -> str:
        """Return once this life is old enough that none before it counts any more; answers what became of those."""
        await anyio.sleep(self._healthy_seconds)
        self._healthy = True
        self._write([])
        return self.past

    @property
    def past(self) -> str:
        """How earlier lives ended by errors, for people; empty: none did."""
        crashed = [life for life in self._past if life.end]
        if not crashed:
            return ""
        return f"the host ended unexpectedly, {len(crashed)} times since {_when(crashed[0])}: {crashed[-1].end}"

    def _note_end(self, this: Life, error: Exception) -> None:
        told = all(isinstance(leaf, NanoclawError) for leaf in leaves(error))
        if self._healthy or (told and not self._ready):
            self._write([] if self._healthy else self._past)
            return
        log.error("host.crashed", exc_info=error)
        leaf = leaves(error)[0]
        end = " ".join(f"{type(leaf).__name__}: {leaf}".split())[:_LONGEST_END]
        self._write([*self._past, replace(this, end=end)])

    def _write(self, lives: Sequence[Life]) -> None:
        path = _path(self._home)
        if not lives:
            path.unlink(missing_ok=True)
            return
        kept = [asdict(life) for life in lives[-2 * _MOST_SILENT :]]
        replace_file(path, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")


def _when(life: Life) -> str:
    return spoken_time(from_iso(life.began), ZoneInfo(machine_timezone()))


def _path(home: Home) -> Path:
    return home.run / "lives.json"


def _read(path: Path) -> list[Life]:
    """A file that cannot be read must not keep a host from starting."""
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        lives = [Life(**entry) for entry in entries]
        for life in lives:
            from_iso(life.began)
    except (OSError, ValueError, TypeError):
        return []
    return lives


def _boot() -> str:
    """Differs after each start of the machine, where the machine tells."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
