"""What the worker keeps on the disk, and what it sends."""

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from neonize.proto.Neonize_pb2 import UploadResponse

from nanoclaw.channels.whatsapp.protocol import Account
from nanoclaw.channels.whatsapp.worker.outgoing import Quoted, build, kind_of, result_of
from nanoclaw.channels.whatsapp.worker.people import People
from nanoclaw.channels.whatsapp.worker.receiver import Arrivals
from nanoclaw.channels.whatsapp.worker.spool import Chat, Spool

BOB, BOB_LID, GROUP = "15550002@s.whatsapp.net", "900002@lid", "1203@g.us"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path: Path) -> Generator[Spool]:
    spool = Spool(path)
    yield spool
    spool.close()


class Handled:
    """Plays the library: how often events began and ended to be handled, each time it is asked."""

    def __init__(self, *counts: int) -> None:
        self._counts = list(counts)
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]


def message(ext_id: str, chat: str = GROUP, sender: str = BOB) -> dict[str, Any]:
    return {"chat": chat, "sender": sender, "ext_id": ext_id, "text": ext_id}


def test_what_came_in_survives_and_is_given_in_order_until_it_is_forgotten(spool: Spool, path: Path) -> None:
    for number in range(3):
        spool.put("message", message(f"m{number}"))
    again = Spool(path)
    rows = again.ready((), 10)
    assert [row.body["ext_id"] for row in rows] == ["m0", "m1", "m2"]
    assert again.forget(rows[0].seq) is not None
    assert again.forget(rows[0].seq) is None
    assert [row.body["ext_id"] for row in again.ready([rows[1].seq], 10)] == ["m2"]
    again.close()


def test_the_same_message_is_kept_once_even_after_it_was_forgotten(spool: Spool) -> None:
    assert spool.put("message", message("m"))
    spool.forget(spool.ready((), 1)[0].seq)
    assert not spool.put("message", message("m"))
    assert spool.put("message", message("m", sender="15550003@s.whatsapp.net"))
    assert spool.has_seen("m")
    assert not spool.has_seen("other")


def test_when_a_message_was_written_is_remembered_and_an_old_one_is_not_forgotten_sooner(
    spool: Spool, path: Path
) -> None:
    now = time.time()
    spool.put("message", message("new"), at=now - 60)
    spool.put("message", message("ancient"), at=0)
    again = Spool(path)
    assert again.written("new", GROUP, BOB) == now - 60
    ancient = again.written("ancient", GROUP, BOB)
    assert ancient is not None
    assert ancient < now - 4 * 86_400
    assert again.written("new", GROUP, BOB_LID) is None
    again.close()


def test_since_when_keys_may_have_changed_moves_on_with_what_is_kept_and_never_back(spool: Spool, path: Path) -> None:
    assert spool.safe() is None
    spool.begin_keys(1000)
    spool.put("message", message("one"), safe=1010)
    spool.put("message", message("one"), safe=1020)  # it came again
    assert spool.safe() == 1020
    spool.note_seen("two", safe=1015)
    spool.note_safe(1012)
    assert Spool(path).safe() == 1020
    spool.begin_keys(900)
    assert spool.safe() == 900


def test_numbers_are_never_given_twice(spool: Spool) -> None:
    spool.put("message", message("a"))
    first = spool.ready((), 1)[0].seq
    spool.forget(first)
    spool.put("message", message("b"))
    assert spool.ready((), 1)[0].seq > first


def test_a_file_that_is_being_fetched_holds_back_its_chat_and_no_other(spool: Spool) -> None:
    spool.put("message", message("with file"), raw=b"raw")
    spool.put("message", message("after it"))
    spool.put("message", message("elsewhere", chat=BOB))
    assert [row.body["ext_id"] for row in spool.ready((), 10)] == ["elsewhere"]
    waiting = spool.next_to_fetch()
    assert waiting is not None
    assert waiting.raw == b"raw"
    spool.fetched(waiting.seq, {**waiting.body, "text": "fetched"})
    assert spool.next_to_fetch() is None
    assert [row.body["text"] for row in spool.ready((), 10)] == ["fetched", "after it", "elsewhere"]


def test_a_key_is_remembered_with_how_far_its_message_has_come(spool: Spool) -> None:
    assert spool.begin("k", GROUP).state == "begun"
    spool.on_wire("k", "ID")
    assert spool.begin("k", "another").state == "wire"
    spool.acknowledged("k")
    assert (spool.sent("k").state, spool.sent("k").ext_id, spool.sent("k").chat) == ("server", "ID", GROUP)
    assert spool.reached("ID", "read", "at")
    assert not spool.reached("ID", "device", "at")
    assert not spool.reached("unknown", "device", "at")
    spool.acknowledged("k")
    assert spool.sent("k").state == "read"
    (row,) = spool.ready((), 10)
    assert row.kind == "receipt"
    assert row.body == {"chat": GROUP, "platform_id": "ID", "state": "read", "at": "at", "key": "k"}
    assert spool.is_ours("ID")


def test_a_key_whose_message_did_not_leave_can_be_tried_again(spool: Spool) -> None:
    spool.begin("k", GROUP)
    spool.undo("k")
    assert spool.begin("k", GROUP).state == "begun"


def test_a_person_keeps_the_address_that_was_known_first(spool: Spool) -> None:
    assert spool.person([BOB_LID]) == BOB_LID
    assert spool.person([BOB, BOB_LID], "Bob") == BOB_LID
    assert spool.person([BOB]) == BOB_LID
    assert spool.name(BOB) == spool.name(BOB_LID) == "Bob"
    assert spool.addresses(BOB_LID) == [BOB, BOB_LID]
    assert spool.person([BOB], "") == BOB_LID
    assert spool.name(BOB) == "Bob"


def test_a_chat_is_called_as_it_was_registered(spool: Spool) -> None:
    people = People(spool, Account(phone="15550001", lid="900001"), shared=False)
    assert people.chat([BOB, BOB_LID]) == BOB
    people.follow([BOB_LID])
    assert people.chat([BOB]) == BOB_LID
    assert people.follows(people.chat([BOB]))
    assert list(people.own) == ["15550001@s.whatsapp.net", "900001@lid"]


def test_chats_are_remembered(spool: Spool) -> None:
    assert spool.chat(GROUP) == Chat()
    about = Chat(route=GROUP, name="Family", expiration=60, hidden=True)
    spool.note_chat(GROUP, about)
    assert spool.chat(GROUP) == about


@pytest.mark.parametrize(
    ("mime", "kind"),
    [
        ("image/png", "image"),
        ("image/svg+xml", "document"),
        ("video/mp4", "video"),
        ("audio/ogg", "voice"),
        ("audio/mpeg", "audio"),
        ("application/pdf", "document"),
        ("", "document"),
    ],
)
def test_a_file_is_sent_as_what_clients_can_show(mime: str, kind: str) -> None:
    assert kind_of(mime) == kind
    built = build("words", quoted=None, expiration=0, file=UploadResponse(FileLength=3), name="n", mime=mime)
    part = {"voice": "audioMessage"}.get(kind, f"{kind}Message")
    assert built.HasField(part)  # pyright: ignore[reportArgumentType]


def test_a_reply_quotes_and_lasts_as_long_as_the_chats_messages() -> None:
    quoted = Quoted(ext_id="Q", participant=BOB, text="before")
    context = build("x", quoted=quoted, expiration=60, file=None).extendedTextMessage.contextInfo
    assert (context.stanzaID, context.participant, context.expiration) == ("Q", BOB, 60)
    assert context.quotedMessage.conversation == "before"
    assert not build("x", quoted=None, expiration=0, file=None).extendedTextMessage.HasField("contextInfo")


@pytest.mark.parametrize(
    ("problem", "on_wire", "result"),
    [
        ("message send timed out", True, "unknown"),
        ("websocket not connected", False, "unavailable"),
        ("failed to get device list: info query timed out", False, "unavailable"),
        ("server returned error 403", True, "rejected"),
        ("server returned error 429", True, "unavailable"),
        ("failed to get group members: that group does not exist", False, "rejected"),
        ("the store doesn't contain a device JID", False, "unavailable"),
        ("upload failed with status code 500", False, "unavailable"),
    ],
)
def test_a_failed_send_is_unknown_only_if_it_may_have_arrived(problem: str, on_wire: bool, result: str) -> None:
    assert result_of(problem, on_wire=on_wire) == result


def test_a_message_is_given_up_only_when_the_library_has_had_nothing_to_hand_over_for_a_while() -> None:
    busy = Handled(*(count for number in range(0, 60, 2) for count in (number, number + 1)), 60)
    assert not Arrivals(nap=0.001).wait("never", busy)
    assert busy.asked > 60
    hanging = Handled(*[1] * 40, 2)
    assert not Arrivals(nap=0.001).wait("never", hanging)
    assert hanging.asked > 40


def test_a_message_that_came_is_not_waited_for() -> None:
    arrivals = Arrivals()
    arrivals.note("came")
    handled = Handled(0)
    assert arrivals.wait("came", handled)
    assert handled.asked == 1
