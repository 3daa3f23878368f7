"""What the worker must not forget: what came in until the host has it, what we sent under which key, who is who.

One SQLite file. Every method is one transaction, on the disk (WAL, `synchronous=FULL`) when it returns; any thread may
call it.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_SEEN_KEPT_SECONDS: Final = 35 * 86_400.0  # the server keeps what waits for us for about 30 days
_SENT_KEPT_SECONDS: Final = 90 * 86_400.0  # replies to older messages of ours are not recognised as such
_LATEST_CHANGE_SECONDS: Final = 5 * 86_400.0  # longer than anybody may change what they wrote
_LOOK_AHEAD: Final = 200  # rows behind one whose file is still being fetched

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, chat TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
  origin TEXT NOT NULL DEFAULT '', raw BLOB);
CREATE TABLE IF NOT EXISTS seen (
  ext_id TEXT NOT NULL, chat TEXT NOT NULL, sender TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (ext_id, chat, sender)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (
  key TEXT PRIMARY KEY, ext_id TEXT UNIQUE, chat TEXT NOT NULL, state TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS address (address TEXT PRIMARY KEY, person TEXT NOT NULL, name TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS person ON address (person);
CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chat (
  chat TEXT PRIMARY KEY, route TEXT NOT NULL, name TEXT NOT NULL, expiration INTEGER NOT NULL,
  hidden INTEGER NOT NULL) WITHOUT ROWID;
"""
_STATES: Final = ("begun", "wire", "server", "device", "read")
"""Of a send: the key is known; its id is known and it may be on the wire; and how far it is known to have come."""


SpoolError = sqlite3.Error
"""The disk is full or broken: what was to be kept was not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One thing that came in."""

    seq: int
    chat: str
    kind: str
    body: dict[str, Any]
    origin: str = ""
    """Where a read receipt goes: chat, sender and id as the platform gave them, in JSON."""
    raw: bytes | None = None
    """The platform's message, as long as its file is still to be fetched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A send of ours."""

    key: str
    ext_id: str
    chat: str
    state: str
    begun_at: float
    """In seconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """What is remembered of a chat."""

    route: str = ""
    """Its address as the platform last used it: answers go there."""
    name: str = ""
    expiration: int = 0
    """Seconds after which messages in it disappear; 0: never."""
    hidden: bool = False
    """Whether its members are named by hidden addresses (LID)."""


class Spool:
    """See the module."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        with self._transaction() as db:
            db.execute("DELETE FROM seen WHERE at < ?", (time.time() - _SEEN_KEPT_SECONDS,))
            db.execute("DELETE FROM sent WHERE at < ?", (time.time() - _SENT_KEPT_SECONDS,))

    def close(self) -> None:
        """Nothing is called any more."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # What came in.

    def put(
        self,
        kind: str,
        body: dict[str, Any],
        *,
        origin: str = "",
        raw: bytes | None = None,
        at: float | None = None,
        safe: int | None = None,
    ) -> bool:
        """Keep it; answers whether it is new. Messages are recognised by chat, sender and id; `at`: when one was
        written, in seconds since 1970; `safe`: see `note_safe`."""
        chat = str(body["chat"])
        now = time.time()
        written = now if at is None else max(at, now - _LATEST_CHANGE_SECONDS)  # an old one is not forgotten sooner
        with self._transaction() as db:
            _move_mark(db, safe)
            if kind == "message":
                new = db.execute(
                    "INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)",
                    (body["ext_id"], chat, body["sender"], written),
                )
                if not new.rowcount:
                    return False
            db.execute(
                "INSERT INTO event (chat, kind, body, origin, raw) VALUES (?, ?, ?, ?, ?)",
                (chat, kind, json.dumps(body), origin, raw),
            )
        return True

    def note_seen(self, ext_id: str, *, safe: int | None = None) -> None:
        """A message with this id was here, though there was nothing in it to keep."""
        with self._transaction() as db:
            _move_mark(db, safe)
            db.execute("INSERT OR IGNORE INTO seen VALUES (?, '', '', ?)", (ext_id, time.time()))

    def note_safe(self, moment: int) -> None:
        """What changed the library's keys before this moment (ms since 1970) is on the disk, or need not be."""
        with self._transaction() as db:
            _move_mark(db, moment)

    def safe(self) -> int | None:
        """The latest such moment; None: there is none yet."""
        with self._lock:
            row = self._db.execute("SELECT value FROM mark WHERE name = 'safe'").fetchone()
        return row["value"] if row else None

    def begin_keys(self, moment: int) -> None:
        """The library's keys are as they should be at this moment, whatever was noted before."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO mark VALUES ('safe', ?)", (moment,))

    def written(self, ext_id: str, chat: str, sender: str) -> float | None:
        """When a message was written, in seconds since 1970, or long ago; None if it was never here."""
        identity = (ext_id, chat, sender)
        with self._lock:
            row = self._db.execute("SELECT at FROM seen WHERE (ext_id, chat, sender) = (?, ?, ?)", identity).fetchone()
        return row["at"] if row else None

    def has_seen(self, ext_id: str) -> bool:
        """Whether a message with this id was here."""
        with self._lock:
            return self._db.execute("SELECT 1 FROM seen WHERE ext_id = ?", (ext_id,)).fetchone() is not None

    def ready(self, out: Iterable[int], limit: int) -> list[Row]:
        """What the host can be given now besides `out`, which it has been given: in order, and nothing past a message
        of the same chat whose file is still being fetched."""
        given = set(out)
        waiting: set[str] = set()
        found: list[Row] = []
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, chat, kind, body, raw IS NOT NULL AS waits FROM event ORDER BY seq LIMIT ?", (_LOOK_AHEAD,)
            ).fetchall()
        for row in rows:
            if row["waits"]:
                waiting.add(row["chat"])
            elif row["chat"] not in waiting and row["seq"] not in given:
                found.append(Row(seq=row["seq"], chat=row["chat"], kind=row["kind"], body=json.loads(row["body"])))
        return found[:limit]

    def next_to_fetch(self) -> Row | None:
        """The oldest message whose file is still to be fetched."""
        with self._lock:
            row = self._db.execute("SELECT * FROM event WHERE raw IS NOT NULL ORDER BY seq LIMIT 1").fetchone()
        return _row(row) if row else None

    def fetched(self, seq: int, body: dict[str, Any]) -> None:
        """Its file is here, or will never be."""
        with self._transaction() as db:
            db.execute("UPDATE event SET body = ?, raw = NULL WHERE seq = ?", (json.dumps(body), seq))

    def forget(self, seq: int) -> Row | None:
        """The host has it. Answers what it was; None if it was forgotten before."""
        with self._transaction() as db:
            row = db.execute("DELETE FROM event WHERE seq = ? RETURNING *", (seq,)).fetchone()
        return _row(row) if row else None

    def count(self) -> int:
        """How much waits for the host."""
        with self._lock:
            return self._db.execute("SELECT count(*) FROM event").fetchone()[0]

    # What we send.

    def begin(self, key: str, chat: str) -> Sent:
        """A send begins, or one that began before is asked about."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO sent VALUES (?, NULL, ?, 'begun', ?)", (key, chat, time.time()))
        return self.sent(key)

    def sent(self, key: str) -> Sent:
        """How a send that has begun stands."""
        with self._lock:
            row = self._db.execute("SELECT * FROM sent WHERE key = ?", (key,)).fetchone()
        return Sent(
            key=row["key"], ext_id=row["ext_id"] or "", chat=row["chat"], state=row["state"], begun_at=row["at"]
        )

    def on_wire(self, key: str, ext_id: str) -> None:
        """It has this id and leaves now."""
        with self._transaction() as db:
            db.execute("UPDATE sent SET ext_id = ?, state = 'wire' WHERE key = ?", (ext_id, key))

    def undo(self, key: str) -> None:
        """It certainly did not arrive: the same key may be tried again."""
        with self._transaction() as db:
            db.execute("DELETE FROM sent WHERE key = ?", (key,))

    def acknowledged(self, key: str) -> None:
        """The server has it."""
        with self._transaction() as db:
            db.execute("UPDATE sent SET state = 'server' WHERE key = ? AND state IN ('begun', 'wire')", (key,))

    def reached(self, ext_id: str, state: str, at: str) -> bool:
        """A message of ours has come so far; if that is further than was known, the host will be told."""
        before = _STATES[: _STATES.index(state)]
        marks = ", ".join("?" * len(before))
        with self._transaction() as db:
            row = db.execute(
                f"UPDATE sent SET state = ? WHERE ext_id = ? AND state IN ({marks}) RETURNING key, chat",  # noqa: S608
                (state, ext_id, *before),
            ).fetchone()
            if row is None:
                return False
            body = {"chat": row["chat"], "platform_id": ext_id, "state": state, "at": at, "key": row["key"]}
            db.execute("INSERT INTO event (chat, kind, body) VALUES (?, 'receipt', ?)", (row["chat"], json.dumps(body)))
        return True

    def is_ours(self, ext_id: str) -> bool:
        """Whether we sent the message with this id."""
        with self._lock:
            return self._db.execute("SELECT 1 FROM sent WHERE ext_id = ?", (ext_id,)).fetchone() is not None

    # Who is who.

    def person(self, addresses: Sequence[str], name: str = "") -> str:
        """The one address of somebody whom these addresses mean: the first that was ever seen, else the first here."""
        if not addresses:
            return ""
        known = [found for address in addresses if (found := self._known(address))]
        person = known[0][0] if known else addresses[0]
        if len(known) == len(addresses) and all(found == (person, name or found[1]) for found in known):
            return person  # the common case: nothing to write
        with self._transaction() as db:
            for address in addresses:
                db.execute(
                    "INSERT INTO address VALUES (?, ?, ?) ON CONFLICT (address) DO UPDATE SET person = excluded.person,"
                    " name = CASE excluded.name WHEN '' THEN name ELSE excluded.name END",
                    (address, person, name),
                )
        return person

    def _known(self, address: str) -> tuple[str, str] | None:
        with self._lock:
            row = self._db.execute("SELECT person, name FROM address WHERE address = ?", (address,)).fetchone()
        return (row["person"], row["name"]) if row else None

    def addresses(self, person: str) -> list[str]:
        """Every address known of somebody."""
        with self._lock:
            rows = self._db.execute("SELECT address FROM address WHERE person = ? ORDER BY address", (person,))
            return [row["address"] for row in rows] or [person]

    def name(self, address: str) -> str:
        """What somebody calls themselves; empty if that is not known."""
        found = self._known(address)
        return found[1] if found else ""

    def chat(self, chat: str) -> Chat:
        """What is remembered of a chat."""
        with self._lock:
            row = self._db.execute("SELECT * FROM chat WHERE chat = ?", (chat,)).fetchone()
        if row is None:
            return Chat()
        return Chat(route=row["route"], name=row["name"], expiration=row["expiration"], hidden=bool(row["hidden"]))

    def note_chat(self, chat: str, about: Chat) -> None:
        """Remember this of a chat."""
        if self.chat(chat) == about:
            return
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO chat VALUES (?, ?, ?, ?, ?)",
                (chat, about.route, about.name, about.expiration, about.hidden),
            )


def _move_mark(db: sqlite3.Connection, safe: int | None) -> None:
    if safe is not None:
        db.execute(
            "INSERT INTO mark VALUES ('safe', ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            (safe,),
        )


def _row(row: sqlite3.Row) -> Row:
    return Row(
        seq=row["seq"],
        chat=row["chat"],
        kind=row["kind"],
        body=json.loads(row["body"]),
        origin=row["origin"],
        raw=row["raw"],
    )
