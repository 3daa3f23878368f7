"""What the page reads from the database: that it is right, and that a long history does not make it slow."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from nanoclaw.clock import iso
from nanoclaw.model import (
    Folder,
    InboundMessage,
    InboundReceipt,
    Jid,
    MediaFile,
    NetworkDecision,
    OutboxState,
    OutgoingFile,
    Quote,
    RunId,
    Seq,
)
from nanoclaw.store import conversation, health, messages, network, outbox, refused, runs, tasks, usage
from nanoclaw.store.conversation import MOST_TEXT, Line, NamedFile, Place, Quoted
from nanoclaw.store.database import connect, transaction
from nanoclaw.store.waiting import what_waits
from tests.large import FOLDERS, RUNS, fill

NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
CHAT: Final = Jid("local:family")
FAMILY: Final = Folder("family")
BERLIN: Final = ZoneInfo("Europe/Berlin")

MOST_STEPS: Final = 60_000
"""Of SQLite's machine, for what one page asks once: a few milliseconds. A look at every message takes a million."""


@pytest.fixture
def db(tmp_path: Path) -> Generator[sqlite3.Connection]:
    with closing(connect(tmp_path / "n.db", NOW)) as connection, transaction(connection):
        yield connection


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Generator[sqlite3.Connection]:
    """See `tests.large`."""
    with closing(connect(tmp_path_factory.mktemp("large") / "n.db", NOW)) as connection:
        with transaction(connection):
            fill(connection, NOW)
        yield connection


def said(db: sqlite3.Connection, text: str, at: datetime, **more: object) -> Seq:
    files = more.pop("files", ())
    message = InboundMessage(
        channel="local", account="local", chat=CHAT, chat_name="family", sender="local:Bob", sender_name="Bob",
        ext_id=f"{at} {text[:9]}", text=text, sent_at=at, **more,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    return messages.insert(db, message, at, "stranger", files).seq  # pyright: ignore[reportArgumentType]


def answered(db: sqlite3.Connection, text: str, at: datetime, **more: object) -> int:
    outbox.put(db, text, CHAT, "reply", text, RunId(7), at, **more)  # pyright: ignore[reportArgumentType]
    return outbox.last_id(db)


def sent(db: sqlite3.Connection, parts: int = 1) -> None:
    (item,) = outbox.take(db, NOW)
    for number in range(1, parts + 1):
        outbox.part_sent(db, item, number, f"wire-{item.id}-{number}", NOW, last=number == parts)


def received(db: sqlite3.Connection, platform_id: str, *states: str) -> None:
    for state in states:
        outbox.note_receipt(db, InboundReceipt(chat=CHAT, platform_id=platform_id, state=state, at=NOW))  # pyright: ignore[reportArgumentType]


def all_lines(db: sqlite3.Connection) -> list[Line]:
    return conversation.lines(db, CHAT, Place(), 100)


def test_people_and_the_assistant_are_shown_in_the_order_in_which_they_spoke(db: sqlite3.Connection) -> None:
    first = said(db, "hello", NOW)
    answered(db, "hi", NOW + timedelta(seconds=2))
    said(db, "how are you?", NOW + timedelta(seconds=1))
    lines = all_lines(db)
    assert [(line.of, line.text) for line in lines] == [
        ("message", "hello"),
        ("message", "how are you?"),
        ("reply", "hi"),
    ]
    assert lines[0].id == first
    assert (lines[0].sender, lines[0].standing, lines[0].state) == ("Bob", "stranger", None)
    assert (lines[2].sender, lines[2].state, lines[2].run_id) == ("", OutboxState.READY, 7)


def test_a_message_is_shown_with_all_that_belongs_to_it(db: sqlite3.Connection) -> None:
    quote = Quote(ext_id="x", sender="y", sender_name="Ann", text="q" * 400, ours=False)
    there = MediaFile(kind="image", mime="image/png", size=1, name="a.png", file="1.png")
    lost = MediaFile(kind="voice", mime="audio/ogg", size=1, name="", problem="too large")
    seq = said(db, "look", NOW, quote=quote, files=(there, lost))
    messages.rewrite(db, seq, "look here", NOW)
    (line,) = all_lines(db)
    assert (line.text, line.edited, line.deleted) == ("look here", True, False)
    assert line.files == (NamedFile(name="a.png"), NamedFile(name="voice", problem="too large"))
    assert line.quoted == Quoted(sender="Ann", text="q" * 300)
    messages.withdraw(db, seq, NOW)
    (line,) = all_lines(db)
    assert (line.text, line.files, line.quoted, line.deleted) == ("", (), None, True)


def test_an_answer_is_shown_with_what_it_answers_and_how_far_all_of_it_has_come(db: sqlite3.Connection) -> None:
    seq = said(db, "what is it?", NOW)
    sheet = OutgoingFile(file="x/1.pdf", name="1.pdf", mime="application/pdf")
    number = answered(db, "this", NOW, answers=seq, files=[sheet])
    sent(db, parts=2)
    assert all_lines(db)[1].reached is None
    received(db, f"wire-{number}-1", "server", "device", "read")
    assert all_lines(db)[1].reached is None  # nothing is known of its second part
    received(db, f"wire-{number}-2", "server", "device")
    line = all_lines(db)[1]
    assert line.reached == "device"
    assert line.quoted == Quoted(sender="Bob", text="what is it?")
    assert line.files == (NamedFile(name="1.pdf"),)


def test_of_a_text_that_is_too_long_the_beginning_is_shown_and_the_rest_is_found(db: sqlite3.Connection) -> None:
    long = "x" * 100_000
    seq, number = said(db, long, NOW), answered(db, long, NOW)
    for line in all_lines(db):
        assert (len(line.text), line.length) == (MOST_TEXT, 100_000)
    assert conversation.whole_text(db, CHAT, "message", seq) == long
    assert conversation.whole_text(db, CHAT, "reply", number) == long
    assert conversation.whole_text(db, Jid("local:other"), "message", seq) is None


def test_leafing_through_shows_everything_once(db: sqlite3.Connection) -> None:
    for number in range(25):
        said(db, f"m{number}", NOW + timedelta(seconds=number // 3))
        answered(db, f"a{number}", NOW + timedelta(seconds=number // 2))
    seen: list[str] = []
    place = Place()
    while found := conversation.lines(db, CHAT, place, 7):
        seen = [line.text for line in found] + seen
        place = conversation.earliest(found, place)
    assert sorted(seen) == sorted([f"m{number}" for number in range(25)] + [f"a{number}" for number in range(25)])


def test_what_is_lost_is_told_with_why_for_as_long_as_it_is_asked_for(db: sqlite3.Connection) -> None:
    for number, ending in enumerate((outbox.reject, None)):
        answered(db, f"x{number}", NOW + timedelta(days=number))
        (item,) = outbox.take(db, NOW + timedelta(days=2))
        if ending:
            ending(db, item, "refused", NOW)
        else:
            outbox.part_unknown(db, item, 1, "no answer", NOW, last=True)
    newest, oldest = conversation.lost(db, NOW, 10)
    assert (newest.state, newest.error) == (OutboxState.UNKNOWN, "no answer")
    assert (oldest.state, oldest.error, oldest.run_id) == (OutboxState.FAILED, "refused", 7)
    assert conversation.lost(db, NOW + timedelta(hours=1), 10) == [newest]


def test_refused_hosts_are_counted_by_group_and_reason(db: sqlite3.Connection) -> None:
    def asked(folder: str, host: str, verdict: str = "refused", port: int = 443) -> NetworkDecision:
        return NetworkDecision(
            at=NOW, folder=Folder(folder), host=host, port=port, verdict=verdict, reason="policy"  # pyright: ignore[reportArgumentType]
        )  # fmt: skip

    rows = [asked("a", "x"), asked("a", "y"), asked("a", "x"), asked("b", "x"), asked("a", "x", port=80)]
    network.add(db, [*rows, asked("a", "z", "allowed"), asked("a", "z", "failed")])
    found = [(each.folder, each.host, each.port, each.times) for each in refused.hosts(db, 10)]
    assert found == [("a", "x", 80, 1), ("b", "x", 443, 1), ("a", "x", 443, 2), ("a", "y", 443, 1)]
    assert [each.folder for each in refused.hosts(db, 10, Folder("b"))] == ["b"]
    assert len(refused.hosts(db, 2)) == 2


def test_a_day_is_as_long_as_the_clock_says(db: sqlite3.Connection) -> None:
    """Berlin's clocks went forward on 29 March 2026: that day began at 23:00 UTC and ended at 22:00."""
    for at in ("2026-03-28T22:59:59", "2026-03-28T23:00:00", "2026-03-29T21:59:59", "2026-03-29T22:00:00"):
        db.execute(
            "INSERT INTO run (folder, chat, cause, state, due_at, created_at, ended_at, provider)"
            " VALUES ('family', 'x', 'messages', 'done', ?1, ?1, ?1, 'claude')",
            (f"{at}.000000Z",),
        )
    found = usage.by_day(db, datetime(2026, 3, 1, tzinfo=UTC), BERLIN)
    assert [(each.day.day, each.runs) for each in found] == [(28, 1), (29, 2), (30, 1)]


def test_whether_writing_works_is_found_by_writing(db: sqlite3.Connection) -> None:
    health.note(db, NOW)
    health.note(db, NOW + timedelta(seconds=1))
    assert [row["at"] for row in db.execute("SELECT at FROM health")] == [iso(NOW + timedelta(seconds=1))]


def steps(db: sqlite3.Connection, look: Callable[[sqlite3.Connection], object]) -> int:
    """How many steps of SQLite's machine a look takes, to a hundred."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 100
        return 0

    db.set_progress_handler(count, 100)
    try:
        assert look(db)
    finally:
        db.set_progress_handler(None, 0)
    return counted


LOOKS: Final[dict[str, Callable[[sqlite3.Connection], object]]] = {
    "the newest of a conversation": lambda db: conversation.lines(db, CHAT, Place(), 61),
    "the middle of a conversation": lambda db: conversation.lines(db, CHAT, Place(seq=30_000, outbox_id=3_000), 61),
    "the oldest of a conversation": lambda db: conversation.lines(db, CHAT, Place(seq=50, outbox_id=20), 61),
    "what goes on in a large group": lambda db: conversation.activity(db, FAMILY, CHAT),
    "what goes on in a small group": lambda db: conversation.activity(db, Folder("g7"), Jid("local:g7")),
    "what was lost lately": lambda db: conversation.lost(db, NOW - timedelta(days=20), 200),
    "runs": lambda db: runs.recent(db, 51),
    "runs of a small group": lambda db: runs.recent(db, 51, Folder("g7")),
    "old runs of a small group": lambda db: runs.recent(db, 51, Folder("g7"), RunId(5_000)),
    "the run that answers a message": lambda db: [runs.answering(db, FAMILY, Seq(50_000))],
    "when the next run is due": lambda db: [runs.next_due(db, ())],
    "what waits": lambda db: what_waits(db),
    "replies that did not arrive": lambda db: outbox.undelivered(db),
    "what was being sent": lambda db: [outbox.interrupted(db)],
    "where something is to be sent": lambda db: [outbox.waiting_chats(db)],
    "losses": lambda db: [outbox.untold(db, NOW)],
    "what a group spent today": lambda db: usage.spent(db, FAMILY, NOW - timedelta(days=1)),
    "what a run is told after a long silence": lambda db: messages.between(db, CHAT, Seq(0), Seq(20_000), 200),
    "whether others have spoken": lambda db: messages.has_newer(db, CHAT, Seq(0)),
    "the runs of today": lambda db: usage.by_day(db, NOW - timedelta(days=1), BERLIN),
    "refused hosts": lambda db: refused.hosts(db, 100),
    "refused hosts of a group": lambda db: refused.hosts(db, 100, FAMILY),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_costs_the_same_however_much_there_is(name: str, large: sqlite3.Connection) -> None:
    taken = steps(large, LOOKS[name])
    assert taken < MOST_STEPS, f"{name} takes {taken} steps"


def test_the_overview_of_all_groups_looks_at_no_history(large: sqlite3.Connection) -> None:
    groups = [(Folder(folder), Jid(f"local:{folder}")) for folder in FOLDERS]
    taken = steps(large, lambda db: [conversation.activity(db, folder, chat) for folder, chat in groups])
    taken += steps(large, lambda db: [tasks.existing(db)])
    assert taken < MOST_STEPS


def test_the_cost_of_many_runs_is_summed_in_one_go(large: sqlite3.Connection) -> None:
    days = usage.by_day(large, NOW - timedelta(days=91), BERLIN)
    assert sum(each.runs for each in days) == RUNS
    taken = steps(large, lambda db: usage.by_day(db, NOW - timedelta(days=91), BERLIN))
    assert taken < 150 * RUNS
