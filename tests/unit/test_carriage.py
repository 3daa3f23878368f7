"""Many connections over one pair of pipes: what both ends make of any bytes, however they are cut."""

import struct
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.carriage import LARGEST, MOST, WINDOW, Carriage, Frame, Kind
from nanoclaw.errors import WireError


def frame(kind: int, number: int, content: bytes = b"") -> bytes:
    return struct.pack("!BIH", kind, number, len(content)) + content


def heard(carriage: Carriage, *frames: bytes) -> list[Frame]:
    return list(carriage.receive(b"".join(frames)))


def opened(*numbers: int) -> Carriage:
    """The host's end, on which these connections were opened."""
    carriage = Carriage()
    heard(carriage, *(frame(Kind.OPEN, number) for number in numbers))
    return carriage


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@given(st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(0, 2000), max_size=20))
def test_what_one_end_says_the_other_hears_however_it_is_cut(contents: list[bytes], places: list[int]) -> None:
    inside, host = Carriage(), Carriage()
    number, said = inside.open()
    said = inside.ready() + said + b"".join(inside.data(number, content) for content in contents) + inside.end(number)
    frames = [each for piece in cut(said, places) for each in host.receive(piece)]
    assert [each.kind for each in frames[:2]] == [Kind.READY, Kind.OPEN]
    assert b"".join(each.data for each in frames) == b"".join(contents)
    assert frames[-1] == Frame(Kind.END, number)


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_any_bytes_are_frames_or_refused(pieces: list[bytes]) -> None:
    carriage = Carriage()
    try:
        for piece in pieces:
            for each in carriage.receive(piece):
                assert len(each.data) <= LARGEST
    except WireError:
        pass


@pytest.mark.parametrize(
    "said",
    [
        frame(6, 1),
        struct.pack("!BIH", Kind.DATA, 1, LARGEST + 1),
        frame(Kind.OPEN, 0),
        frame(Kind.OPEN, 1) * 2,
        frame(Kind.OPEN, 2) + frame(Kind.OPEN, 1),
        b"".join(frame(Kind.OPEN, number) for number in range(1, MOST + 2)),
        frame(Kind.OPEN, 1) + frame(Kind.DATA, 1, b"x" * LARGEST) * (WINDOW // LARGEST + 1),
        frame(Kind.OPEN, 1) + frame(Kind.END, 1) + frame(Kind.DATA, 1, b"x"),
        frame(Kind.OPEN, 1) + frame(Kind.TAKEN, 1, b"\0\0\0\1"),
        frame(Kind.OPEN, 1) + frame(Kind.TAKEN, 1, b"\1"),
    ],
)
def test_what_no_end_of_ours_says_is_refused(said: bytes) -> None:
    with pytest.raises(WireError):
        heard(Carriage(), said)


def test_nobody_sends_more_than_there_is_room_for_until_some_is_taken() -> None:
    host = opened(1)
    sent = 0
    while room := host.room(1):
        host.data(1, b"x" * min(room, LARGEST))
        sent += min(room, LARGEST)
    assert sent == WINDOW
    assert host.room(1) == 0
    heard(host, frame(Kind.TAKEN, 1, struct.pack("!I", 5)))
    assert host.room(1) == 5


def test_a_connection_is_forgotten_when_both_have_ended_it() -> None:
    host = opened(*range(1, MOST + 1))
    assert host.is_full
    heard(host, frame(Kind.END, 1))
    assert host.is_full
    assert host.end(1) == frame(Kind.END, 1)
    assert not host.is_full
    assert (host.end(1), host.drop(1), host.taken(1, 0)) == (b"", b"", b"")


def test_what_crosses_with_the_end_of_its_connection_is_no_news() -> None:
    host = opened(1, 2)
    assert host.drop(1) == frame(Kind.GONE, 1)
    assert heard(host, frame(Kind.DATA, 1, b"x"), frame(Kind.TAKEN, 1, b"\0\0\0\1"), frame(Kind.GONE, 1)) == []
    assert heard(host, frame(Kind.GONE, 2)) == [Frame(Kind.GONE, 2)]
    assert host.drop(2) == b""


def test_readiness_is_said_once() -> None:
    assert heard(Carriage(), frame(Kind.READY, 0), frame(Kind.READY, 0)) == [Frame(Kind.READY, 0)]
