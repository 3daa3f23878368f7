"""The one SQLite file: opening, migrating, and one transaction at a time.

The rest of this package is plain functions `fn(connection, …)`; a caller hands one to `read` or `write`, which runs it
in a worker thread inside one transaction. Writers are serialised by a limiter and by `BEGIN IMMEDIATE`, and a commit
is on the disk (WAL, `synchronous=FULL`) when `write` returns. Who reads has a connection of its own, so that a long
look holds up no message; it sees every `write` that has returned.
"""

import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Concatenate, LiteralString, ParamSpec, TypeVar, cast

import anyio
import anyio.to_thread
import structlog

from nanoclaw.clock import iso
from nanoclaw.errors import StoreError

Connection = sqlite3.Connection
"""What the functions of this package, and those that combine them, take first."""

P = ParamSpec("P")
T = TypeVar("T")

_BUSY_SECONDS = 10.0  # another process (the command line) holds the lock for milliseconds at most
_OLDEST_SQLITE = (3, 35, 0)  # RETURNING
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0

log = structlog.stdlib.get_logger()


class Database:
    """A connection that writes and one that reads, each used by one thread at a time."""

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._writing = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(1)
        self._hurried = anyio.Event()

    async def write(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn` in a transaction of its own; durable when this returns, undone when it raises.

        Raises:
            StoreError: the disk is full, or the file cannot be read or written; a later try may go well.
        """

        def work() -> T:
            with _translated(), transaction(self._writer):
                return fn(self._writer, *args, **kwargs)

        return await anyio.to_thread.run_sync(work, limiter=self._writing)

    async def write_surely(
        self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `write`, again and again until it goes: for who has nobody to tell that it did not.

        Raises:
            StoreError: it does not go, and nobody has the time to wait.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self.write(fn, *args, **kwargs)
            except StoreError as error:
                if self._hurried.is_set():
                    raise
                log.error("store.waiting", error=str(error), hint=error.hint, seconds=pause)  # noqa: TRY400
            with anyio.move_on_after(pause):
                await self._hurried.wait()
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)

    def hurry(self) -> None:
        """The host is to stop: nobody waits any more."""
        self._hurried.set()

    async def read(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn`, which only looks: at one moment of the file. Raises `StoreError` like `write`."""

        def work() -> T:
            with _translated(), _moment(self._reader):
                return fn(self._reader, *args, **kwargs)

        return await anyio.to_thread.run_sync(work, limiter=self._reading)


@asynccontextmanager
async def open_database(path: Path, now: datetime) -> AsyncGenerator[Database]:
    """Open (and migrate) the file for as long as the context lasts.

    Raises:
        StoreError: see `connect`.
    """
    writer = await anyio.to_thread.run_sync(connect, path, now)
    with closing(writer), closing(_connect(path)) as reader:
        reader.execute("PRAGMA query_only=ON")
        yield Database(writer, reader)


def connect(path: Path, now: datetime) -> sqlite3.Connection:
    """Open the file, make it if there is none, and bring it to this program's schema.

    Raises:
        StoreError: it cannot be opened, is damaged, or was written by a newer program.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old", "use a Python with SQLite 3.35 or newer")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = _connect(path)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        path.chmod(0o600)
        _migrate(connection, path, now)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be opened: {error}", "check the disk and the file's owner") from error
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def _moment(connection: sqlite3.Connection) -> Generator[None]:
    """What is looked at does not change meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"the database cannot be used: {error}", "check the disk's free space and health") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """`BEGIN IMMEDIATE` … `COMMIT`, or `ROLLBACK` when the body raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it already
            connection.execute("ROLLBACK")
        raise


def check_integrity(connection: sqlite3.Connection) -> None:
    """Raise `StoreError` if the file is damaged."""
    try:
        (answer,) = connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        raise StoreError(f"the database is damaged: {answer}", "stop the host and restore a backup")


def migrations() -> dict[str, LiteralString]:
    """Every migration's SQL by name, in order."""
    folder = resources.files("nanoclaw.store") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return {name: cast("LiteralString", (folder / name).read_text(encoding="utf-8")) for name in names}


def _migrate(connection: sqlite3.Connection, path: Path, now: datetime) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL)")
    applied = {row["name"] for row in connection.execute("SELECT name FROM migration")}
    known = migrations()
    if unknown := applied - known.keys():
        raise StoreError(
            f"{path} was written by a newer NanoClaw ({max(unknown)})", "start that version, or restore a backup"
        )
    pending = {name: sql for name, sql in known.items() if name not in applied}
    if applied and pending:
        _copy_aside(connection, path, now)
    for name, sql in pending.items():
        with transaction(connection):
            for statement in _statements(sql):
                connection.execute(statement)
            connection.execute("INSERT INTO migration (name, applied_at) VALUES (?, ?)", (name, iso(now)))


def copy_database(source: Path, target: Path) -> None:
    """Copy any SQLite file whole, while others write to it.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as connection:
            _copy(connection, target)
    except sqlite3.Error as error:
        raise OSError(0, str(error)) from error


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


def _copy_aside(connection: sqlite3.Connection, path: Path, now: datetime) -> None:
    _copy(connection, path.with_name(f"{path.stem}-before-upgrade-{now:%Y%m%dT%H%M%SZ}.db"))


def _statements(sql: str) -> Generator[str]:
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
