"""Keeps what the gateway decides, off its way: a decision is put into a queue, a task of its own writes the queue out.

What is counted is never lost while the host lives; rows are dropped when too many come, and the log says how many.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final, Self

import anyio
import structlog

from nanoclaw.clock import Clock
from nanoclaw.errors import StoreError
from nanoclaw.gateway.counts import added, counts_of
from nanoclaw.groups import GroupRegistry
from nanoclaw.hosts import DEFAULT_PORTS, Pattern
from nanoclaw.model import MAIN_FOLDER, Folder, NetworkCounts, NetworkDecision
from nanoclaw.pulse import Pulse
from nanoclaw.store import network, outbox
from nanoclaw.store.database import Connection, Database

_FLUSH_SECONDS: Final = 1.0  # how much of the log a crash may cost
_FLUSH_ROWS: Final = 100
_MOST_ROWS: Final = 1000  # of one group, within one flush; its limit of requests is far below
_PRUNE_ROWS: Final = 5000  # between two looks at what is old, so that a flood cannot fill the disk
_LAST_SECONDS: Final = 5.0  # for the last flush, when the host stops
_MOST_TOLD: Final = 10  # lines in `main` for one group and day: an agent could ask for a thousand hosts
_MORE: Final = "more"

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class _Batch:
    rows: list[NetworkDecision]
    counts: dict[tuple[Folder, date], NetworkCounts]
    notices: dict[str, str]
    """What `main` is to be told, by the outbox's key."""


class NetworkLog:
    """`note` takes decisions at any time; while `run` runs, they are written; leaving the context writes the rest."""

    def __init__(
        self, database: Database, groups: GroupRegistry, clock: Clock, outbox_changed: Pulse, *, tell_main: bool
    ) -> None:
        self._database = database
        self._groups = groups
        self._clock = clock
        self._outbox_changed = outbox_changed
        self._tell_main = tell_main
        self._rows: dict[Folder, list[NetworkDecision]] = defaultdict(list)
        self._counts: dict[tuple[Folder, date], NetworkCounts] = defaultdict(NetworkCounts)
        self._dropped: Counter[Folder] = Counter()
        self._told: dict[tuple[Folder, date], set[str]] = defaultdict(set)
        self._since_pruned = 0
        self._some = anyio.Event()
        self._many = anyio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_SECONDS):
            await self._flush()

    def note(self, decision: NetworkDecision) -> None:
        """Take a decision in; never waits."""
        key = decision.folder, decision.at.date()
        self._counts[key] = added(self._counts[key], counts_of(decision))
        self._keep(decision)
        self._some.set()
        if len(self._rows[decision.folder]) >= _FLUSH_ROWS:
            self._many.set()

    async def run(self) -> None:
        """Write what was noted, a second later or when it is much; ends by cancellation."""
        while True:
            await self._some.wait()
            with anyio.move_on_after(_FLUSH_SECONDS):
                await self._many.wait()
            if not await self._flush():
                await anyio.sleep(_FLUSH_SECONDS)

    def _keep(self, decision: NetworkDecision) -> None:
        rows = self._rows[decision.folder]
        if len(rows) < _MOST_ROWS:
            rows.append(decision)
        else:
            self._dropped[decision.folder] += 1

    async def _flush(self) -> bool:
        """Whether it is written; if not, it is kept for the next time."""
        batch = self._taken()
        if not batch.counts:
            return True
        try:
            with anyio.CancelScope(shield=True):  # one transaction; whether it was made must be known
                await self._database.write(self._write, batch)
        except StoreError as error:
            self._put_back(batch)
            log.warning("network_log.not_written", problem=str(error))
            return False
        if batch.notices:
            self._outbox_changed.fire()
        return True

    def _taken(self) -> _Batch:
        rows = [row for each in self._rows.values() for row in each]
        batch = _Batch(rows, dict(self._counts), self._notices(rows))
        for folder, number in self._dropped.items():
            log.warning("network_log.dropped", folder=folder, rows=number)
        self._rows.clear()
        self._counts.clear()
        self._dropped.clear()
        self._some, self._many = anyio.Event(), anyio.Event()
        return batch

    def _put_back(self, batch: _Batch) -> None:
        for row in batch.rows:
            self._keep(row)
        for key, counts in batch.counts.items():
            self._counts[key] = added(self._counts[key], counts)
        self._told.clear()
        self._some.set()

    def _notices(self, rows: Iterable[NetworkDecision]) -> dict[str, str]:
        """Each once; where an agent tries many hosts, the first few of a day and then one that says so."""
        notices: dict[str, str] = {}
        for row in rows:
            subject = subject_of(row, tell_main=self._tell_main)
            day = row.folder, row.at.date()
            if subject is None or subject in self._told[day]:
                continue
            if len(self._told[day]) >= _MOST_TOLD:
                subject = _MORE
            self._told[day].add(subject)
            notices[f"network/{row.folder}/{row.at.date()}/{subject}"] = sentence_of(row, subject)
        today = self._clock.now().date()
        for day in [day for day in self._told if day[1] < today]:
            del self._told[day]
        return notices

    def _write(self, db: Connection, batch: _Batch) -> None:
        now = self._clock.now()
        network.add(db, batch.rows)
        for (folder, day), counts in batch.counts.items():
            network.count(db, folder, day, counts)
        if main := self._groups.by_folder(MAIN_FOLDER):
            for key, text in batch.notices.items():
                outbox.put(db, key, main.jid, "notice", text, None, now)
        self._since_pruned += len(batch.rows)
        if self._since_pruned >= _PRUNE_ROWS:
            self._since_pruned = 0
            network.prune(db, now)


def subject_of(decision: NetworkDecision, *, tell_main: bool) -> str | None:
    """What `main` is told of, once a day; None: nothing."""
    if decision.verdict != "refused":
        return None
    if decision.reason in ("rate", "volume"):
        return decision.reason
    return f"{decision.host}:{decision.port}" if tell_main and decision.host else None


def sentence_of(decision: NetworkDecision, subject: str) -> str:
    """How `main` is told. Names of hosts come from an agent; they hold nothing but letters, digits, `.`, `-`, `_`."""
    folder = decision.folder
    match subject:
        case "rate":
            return (
                f"{folder} makes too many requests to the network; some were refused. `nanoclaw network log {folder}`"
            )
        case "volume":
            return f"{folder} has used up what it may send or fetch in a day (UTC). `nanoclaw network log {folder}`"
        case "more":
            return f"{folder} was refused further hosts today: `nanoclaw network log {folder} --denied`"
        case _:
            place = str(Pattern(decision.host, None if decision.port in DEFAULT_PORTS else decision.port))
            return f"{folder} was refused {place}. To allow it: `nanoclaw network allow {folder} {place}`"
