"""The connection's state machine, how fast we write, what host and worker say to each other."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import hypothesis.strategies as st
import pytest
from hypothesis import given

from nanoclaw.channels.whatsapp.machine import LONGEST_PAUSE, RESTING, Event, Link, begin, pause, step, told
from nanoclaw.channels.whatsapp.pace import Pace
from nanoclaw.channels.whatsapp.protocol import LARGEST, ProtocolError, Unpacker, pack
from nanoclaw.channels.whatsapp.silence import Silence
from nanoclaw.channels.whatsapp.worker.hearing import Hearing

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = st.tuples(st.sampled_from(get_args(Event)), st.floats(0, 400))


def after(*events: Event, link: Link | None = None) -> Link:
    link = link or begin(NOW)
    for event in events:
        link = step(link, event, NOW, chance=0.0)
    return link


@given(st.lists(EVENTS, max_size=30), st.floats(0, 0.999))
def test_every_state_either_runs_or_has_a_timer_or_waits_for_a_person(
    events: list[tuple[Event, float]], chance: float
) -> None:
    link, now = begin(NOW), NOW
    for event, seconds in events:
        now += timedelta(seconds=seconds)
        before = link
        link = step(link, event, now, chance=chance, until=now + timedelta(hours=1))
        assert link.runs or link.due is not None or link.phase in RESTING
        assert link.phase != "connected" or link.due is None
        if before.phase in RESTING and event != "linked":
            assert link == before
        if before.phase == "banned" and before.due is not None and now < before.due and event == "due":
            assert link == before
        if link.phase in ("unreachable", "crashed", "deaf", "refused") and link.due is not None and link != before:
            assert link.due - now <= LONGEST_PAUSE * 1.5


def test_a_first_failure_is_mended_at_once_and_later_ones_wait_longer_and_longer() -> None:
    waits = [pause(failures, 0.0) for failures in range(1, 12)]
    assert waits[0] == timedelta()
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_PAUSE
    assert pause(5, 0.999) > pause(5, 0.0)


def test_a_connection_forgets_earlier_failures() -> None:
    failed = after("connected", "crashed")
    assert failed.failures == 1
    again = step(failed, "due", NOW, chance=0.0)
    assert (again.phase, again.failures) == ("connecting", 1)
    assert after("connected", link=again).failures == 0


def test_who_does_not_come_back_in_time_is_replaced() -> None:
    lost = after("connected", "lost")
    assert lost.phase == "connecting"
    assert lost.due is not None
    assert step(lost, "due", lost.due, chance=0.0).phase == "unreachable"
    assert step(lost, "due", lost.due - timedelta(seconds=1), chance=0.0) == lost


@pytest.mark.parametrize("event", ["logged_out", "replaced", "outdated", "unlinked", "unusable"])
def test_what_a_person_must_mend_ends_only_by_a_new_link(event: Event) -> None:
    link = after("connected", event, "due", "connected", "crashed")
    assert link.phase == event
    assert all(told(link)) if event != "unusable" else told(link)[0]
    assert after("linked", link=link).phase == "connecting"


def test_a_ban_lasts_as_long_as_it_lasts() -> None:
    until = NOW + timedelta(hours=5)
    link = step(begin(NOW), "banned", NOW, chance=0.0, until=until)
    assert step(link, "due", NOW, chance=0.0) == link
    assert step(link, "due", until, chance=0.0).phase == "connecting"


def test_the_first_message_waits_for_nothing_and_the_next_for_its_pause() -> None:
    pace = Pace(1.0, 20)
    assert pace.wait("a", 100.0, 0.5) == 0.0
    pace.sent("a", 100.0)
    assert pace.wait("b", 100.0, 0.0) == 0.5
    assert pace.wait("b", 100.0, 0.999) < 1.5
    assert pace.wait("b", 110.0, 0.999) == 0.0


def test_one_chat_gets_only_so_many_within_a_minute_and_others_go_on() -> None:
    pace = Pace(0.0, 3)
    for second in range(3):
        pace.sent("a", float(second))
    assert pace.wait("a", 3.0, 0.0) == 57.0
    assert pace.wait("b", 3.0, 0.0) == 0.0
    assert pace.wait("a", 60.0, 0.0) == 0.0


FRAMES = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=4), max_size=6)


@given(FRAMES, st.integers(1, 7))
def test_frames_survive_any_cut(frames: list[dict[str, object]], size: int) -> None:
    data = b"".join(pack(frame) for frame in frames)
    unpacker = Unpacker()
    found = [frame for at in range(0, len(data), size) for frame in unpacker.feed(data[at : at + size])]
    assert found == frames


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x01{"])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Unpacker().feed(data))


def test_too_long_a_frame_is_not_sent() -> None:
    with pytest.raises(ProtocolError):
        pack({"text": "x" * LARGEST})


def hearing() -> Hearing:
    return Hearing(quiet=45, silence=600, echo=60, now=0)


def test_a_server_that_only_answers_is_quiet_and_then_silent() -> None:
    ear = hearing()
    for now in range(0, 600, 30):
        ear.heard("iq", now)
        ear.answered(now)
        assert not ear.is_silent(now)
    assert not ear.is_quiet(600)
    assert ear.is_silent(601)
    ear.heard("notification", 602)
    assert not ear.is_silent(1200)


def test_a_server_that_says_nothing_is_asked() -> None:
    ear = hearing()
    ear.heard("iq", 40)
    assert not ear.is_quiet(45)
    assert ear.is_quiet(46)
    ear.answered(46)
    assert not ear.is_quiet(90)


@pytest.mark.parametrize(("stanza", "silent"), [("iq", True), ("ack", True), ("receipt", False), ("message", False)])
def test_what_was_sent_brings_a_receipt_or_the_connection_is_silent(stanza: str, silent: bool) -> None:
    ear = hearing()
    ear.sent(10)
    ear.sent(50)
    ear.heard(stanza, 60)
    assert ear.is_silent(71) is silent
    ear.connected(72)
    assert not ear.is_silent(140)


def test_patience_with_silence_grows_while_nothing_was_missed() -> None:
    silence = Silence(600, 60)
    seen: list[tuple[float, float]] = []
    for at in range(5):
        seen.append((silence.seconds, silence.echo))
        silence.renewed(at)
    assert seen == [(600, 60), (1200, 1200), (2400, 2400), (3600, 3600), (3600, 3600)]
    assert silence.renewed_at == 4
    silence.broken()
    assert (silence.seconds, silence.echo) == (600, 60)


def test_a_silent_connection_is_made_anew_at_once_and_is_no_failure() -> None:
    link = after("connected", "silent")
    assert (link.phase, link.due, link.failures) == ("renewing", NOW, 0)
    assert not link.runs
    assert after("due", link=link).phase == "connecting"
