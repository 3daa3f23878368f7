"""The library's keys, taken back to before what did not get to the disk."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from nanoclaw.channels.whatsapp.worker.journal import (
    Irrevocable,
    JournalError,
    before_receiving,
    is_own,
    open_keys,
)

_TABLES = """
CREATE TABLE whatsmeow_sessions (our_jid TEXT, their_id TEXT, session bytea, PRIMARY KEY (our_jid, their_id));
CREATE TABLE whatsmeow_sender_keys (our_jid TEXT, chat_id TEXT, sender_id TEXT, sender_key bytea NOT NULL,
  PRIMARY KEY (our_jid, chat_id, sender_id));
CREATE TABLE whatsmeow_pre_keys (jid TEXT, key_id INTEGER, key bytea NOT NULL, uploaded BOOLEAN NOT NULL,
  PRIMARY KEY (jid, key_id));
"""
_ALWAYS = 0


def a_session(root: int = 0, received: int = 0, sent: int = 0, *, pending: bool = False) -> bytes:
    state = {
        "RootKey": f"root-{root}",
        "SenderBaseKey": "base",
        "PendingPreKey": {"BaseKey": "base"} if pending else None,
        "ReceiverChains": [{"ChainKey": {"Index": received}}],
        "SenderChain": {"ChainKey": {"Index": sent}},
    }
    return json.dumps({"SessionState": state, "PreviousStates": []}).encode()


def a_sender_key(iteration: int, private: str | None = "AAAA=") -> bytes:
    state = {"SenderChainKey": {"Iteration": iteration}, "SigningKeyPrivate": private}
    return json.dumps({"SenderKeyStates": [state]}).encode()


class Keys:
    """The library's tables, changed as the library changes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._do(_TABLES)

    def _do(self, script: str) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            db.executescript(script)

    def _run(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute(sql, values)

    def session(self, peer: str, session: bytes) -> None:
        sql = "INSERT INTO whatsmeow_sessions VALUES ('me', ?, ?) ON CONFLICT DO UPDATE SET session = excluded.session"
        self._run(sql, peer, session)

    def sender_key(self, peer: str, key: bytes) -> None:
        sql = (
            "INSERT INTO whatsmeow_sender_keys VALUES ('me', 'chat', ?, ?)"
            " ON CONFLICT DO UPDATE SET sender_key = excluded.sender_key"
        )
        self._run(sql, peer, key)

    def prekey(self, number: int) -> None:
        self._run("INSERT INTO whatsmeow_pre_keys VALUES ('me', ?, 'key', true)", number)

    def spend_prekey(self, number: int) -> None:
        self._run("DELETE FROM whatsmeow_pre_keys WHERE key_id = ?", number)

    def move_session(self, peer: str, to: str) -> None:
        self._run("INSERT INTO whatsmeow_sessions SELECT our_jid, ?, session FROM whatsmeow_sessions", to)
        self._run("DELETE FROM whatsmeow_sessions WHERE their_id = ?", peer)

    def date_all(self, at: int) -> None:
        """Let every change so far have been at this time."""
        self._run("UPDATE nanoclaw_journal SET at = ?", at)

    @property
    def all(self) -> dict[str, list[tuple[object, ...]]]:
        with closing(sqlite3.connect(self.path)) as db:
            tables = ("whatsmeow_sessions", "whatsmeow_sender_keys", "whatsmeow_pre_keys")
            return {table: sorted(db.execute(f"SELECT * FROM {table}")) for table in tables}

    def kept(self) -> int:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute("SELECT count(*) FROM nanoclaw_journal").fetchone()[0]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path / "session.db")
    keys.prekey(7)
    keys.session("bob", a_session())
    keys.sender_key("bob", a_sender_key(0))
    assert open_keys(keys.path, _ALWAYS) == 0
    return keys


def test_what_a_message_changed_is_taken_back_once(keys: Keys) -> None:
    before = keys.all
    keys.session("bob", a_session(root=1, received=1))
    keys.sender_key("bob", a_sender_key(1))
    keys.sender_key("bob", a_sender_key(2))
    keys.spend_prekey(7)
    assert open_keys(keys.path, _ALWAYS) == 3
    assert keys.all == before
    assert open_keys(keys.path, _ALWAYS) == 0


def test_what_is_on_the_disk_stays_decrypted(keys: Keys) -> None:
    keys.session("bob", a_session(received=1))
    keys.sender_key("bob", a_sender_key(1))
    keys.date_all(1000)
    on_disk = keys.all
    keys.sender_key("bob", a_sender_key(2))
    assert open_keys(keys.path, 1001) == 1
    assert keys.all == on_disk


def test_changes_are_dated_in_milliseconds_of_this_machines_clock(keys: Keys) -> None:
    before = time.time_ns() // 1_000_000
    keys.sender_key("bob", a_sender_key(1))
    after = time.time_ns() // 1_000_000
    with closing(sqlite3.connect(keys.path)) as db:
        (at,) = db.execute("SELECT at FROM nanoclaw_journal").fetchone()
    assert before <= at <= after


def test_who_wrote_for_the_first_time_is_a_stranger_again(keys: Keys) -> None:
    before = keys.all
    keys.session("eve", a_session(received=1))
    keys.sender_key("eve", a_sender_key(1))
    assert open_keys(keys.path, _ALWAYS) == 2
    assert keys.all == before


def test_what_we_sent_before_a_message_came_is_not_sent_with_the_same_key_again(keys: Keys) -> None:
    keys.session("bob", a_session(sent=1))
    keys.session("bob", a_session(sent=2))
    keys.session("bob", a_session(sent=2, received=1))
    assert open_keys(keys.path, _ALWAYS) == 1
    assert keys.all["whatsmeow_sessions"] == [("me", "bob", a_session(sent=2))]


def test_keys_that_we_have_sent_with_since_are_left_and_those_of_others_are_not(keys: Keys) -> None:
    keys.session("eve", a_session(received=1))
    keys.session("bob", a_session(received=1))
    keys.sender_key("bob", a_sender_key(1))
    keys.session("bob", a_session(received=1, sent=1))
    assert open_keys(keys.path, _ALWAYS) == 1
    assert keys.all["whatsmeow_sessions"] == [("me", "bob", a_session(received=1, sent=1))]
    assert keys.all["whatsmeow_sender_keys"] == [("me", "chat", "bob", a_sender_key(1))]


def test_our_own_key_of_a_group_only_ever_goes_on(keys: Keys) -> None:
    keys.sender_key("me", a_sender_key(0, private="YHXO="))
    keys.sender_key("me", a_sender_key(1, private="YHXO="))
    before = keys.all
    assert open_keys(keys.path, _ALWAYS) == 0
    assert keys.all == before
    assert not is_own(a_sender_key(0, private=None))
    assert not is_own(b'{"SenderKeyStates": null}')


def test_keys_that_were_moved_to_another_address_are_left(keys: Keys) -> None:
    keys.session("bob", a_session(received=1))
    keys.move_session("bob", to="bob-hidden")
    keys.sender_key("bob", a_sender_key(1))
    before = keys.all
    assert open_keys(keys.path, _ALWAYS) == 0
    assert keys.all == before


def test_keys_of_another_shape_are_an_error_and_left(keys: Keys) -> None:
    keys.session("bob", b"protobuf")
    keys.sender_key("bob", a_sender_key(1))
    before = keys.all
    with pytest.raises(JournalError):
        open_keys(keys.path, _ALWAYS)
    assert keys.all == before


def test_nothing_is_taken_back_where_nobody_knows_since_when(keys: Keys) -> None:
    keys.sender_key("bob", a_sender_key(1))
    before = keys.all
    assert open_keys(keys.path, None) == 0
    assert keys.all == before


def test_a_thousand_changes_are_kept(keys: Keys) -> None:
    for number in range(1100):
        keys.sender_key("bob", a_sender_key(number))
    assert keys.kept() == 1000


def test_a_library_that_has_made_no_tables_yet_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "session.db"
    assert open_keys(path, _ALWAYS) == 0
    assert not path.exists()
    path.touch()
    assert open_keys(path, _ALWAYS) == 0
    assert path.read_bytes() == b""


@given(st.lists(st.sampled_from(("sent", "received", "received in turn")), max_size=8))
def test_a_session_goes_back_to_before_the_first_message_unless_we_have_sent_since(ways: list[str]) -> None:
    root = received = sent = 0
    states = [a_session()]
    for way in ways:
        root += way == "received in turn"
        received += way != "sent"
        sent = 0 if way == "received in turn" else sent + (way == "sent")
        states.append(a_session(root, received, sent))
    first = next((number for number, way in enumerate(ways) if way != "sent"), len(ways))
    if "sent" in ways[first:]:
        with pytest.raises(Irrevocable):
            before_receiving(states)
    else:
        assert before_receiving(states) == states[first]


def test_a_session_that_we_began_is_not_one_that_a_message_began() -> None:
    ours = a_session(pending=True)
    assert before_receiving([None, ours]) == ours
    assert before_receiving([None, a_session()]) is None
