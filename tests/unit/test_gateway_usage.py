"""What answers cost, as the gateway reads it off the stream."""

import json
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.gateway.usage import UsageReader
from nanoclaw.model import TokenUsage

EVENTS = ("content-type", "text/event-stream; charset=utf-8")
WHOLE = ("content-type", "application/json")


def read(*pieces: bytes, headers: tuple[tuple[str, str], ...] = (EVENTS,), status: int = 200) -> TokenUsage | None:
    reader = UsageReader()
    reader.begin(h11.Response(status_code=status, headers=list(headers)))
    for piece in pieces:
        reader.feed(piece)
    return reader.usage()


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


OPENAI = b"".join(
    (
        event(
            "response.created", response={"id": "r", "usage": None, "instructions": 'say "usage":{"input_tokens":1}'}
        ),
        event("response.output_text.delta", delta='"usage": {"output_tokens": 999}'),
        event(
            "response.completed",
            response={
                "output": [{"type": "message", "content": [{"text": "hello"}]}],
                "usage": {
                    "input_tokens": 100,
                    "input_tokens_details": {"cached_tokens": 60},
                    "output_tokens": 7,
                    "total_tokens": 107,
                },
            },
        ),
    )
)
ANTHROPIC = b"".join(
    (
        event(
            "message_start",
            message={
                "usage": {
                    "input_tokens": 10,
                    "cache_creation_input_tokens": 5,
                    "cache_read_input_tokens": 80,
                    "output_tokens": 1,
                }
            },
        ),
        event("content_block_delta", delta={"text": "hello"}),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 0, "output_tokens": 15}),
        event("message_stop"),
    )
)
COSTS = [
    (OPENAI, TokenUsage(input_tokens=100, cached_input_tokens=60, output_tokens=7)),
    (ANTHROPIC, TokenUsage(input_tokens=95, cached_input_tokens=80, output_tokens=15)),
]


@pytest.mark.parametrize(("body", "usage"), COSTS, ids=["openai", "anthropic"])
@given(cuts=st.lists(st.integers(0, max(len(OPENAI), len(ANTHROPIC))), max_size=12))
def test_a_stream_says_what_it_cost_however_it_is_cut(body: bytes, usage: TokenUsage, cuts: list[int]):
    places = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    assert read(*(body[start:end] for start, end in pairwise(places))) == usage


def test_a_stream_whose_lines_end_as_in_windows_is_read():
    assert read(OPENAI.replace(b"\n", b"\r\n")) == COSTS[0][1]


def test_a_whole_answer_says_what_it_cost():
    body = json.dumps({"type": "message", "usage": {"input_tokens": 3, "output_tokens": 4}}).encode()
    assert read(body[:20], body[20:], headers=(WHOLE,)) == TokenUsage(input_tokens=3, output_tokens=4)


def test_a_stream_that_breaks_off_counts_as_far_as_it_came():
    assert read(ANTHROPIC[: ANTHROPIC.index(b"event: message_delta")]) == TokenUsage(
        input_tokens=95, cached_input_tokens=80, output_tokens=1
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((EVENTS, ("content-encoding", "gzip")), 200),
        ((("content-type", "text/html"),), 200),
        ((EVENTS,), 500),
        ((), 200),
    ],
)
def test_what_cannot_be_read_counts_as_nothing(headers: tuple[tuple[str, str], ...], status: int):
    assert read(OPENAI, headers=headers, status=status) is None


@pytest.mark.parametrize(
    "data",
    [
        b'{"usage":{"input_tokens":-5,"output_tokens":"many"}}',
        b'{"usage":{"input_tokens":true,"output_tokens":1e3}}',
        b'{"usage":{"input_tokens":99999999999999999999}}',
        b'{"usage":{"input_tokens":5',
        b'[{"usage":{}}]',
        b'{"usage":{"input_tokens_details":[1]}}',
        b'{"a":' * 5000 + b'{"usage":{}}',
    ],
)
def test_numbers_that_cannot_be_are_none(data: bytes):
    assert read(b"data: " + data + b"\n\n") is None


def test_an_event_too_long_to_keep_is_passed_over_and_the_next_is_read():
    assert read(b"data: " + b"x" * 300_000, b"x" * 300_000 + b'"usage":{', b"\n", OPENAI) == COSTS[0][1]


@given(st.lists(st.binary(max_size=50), max_size=20), st.sampled_from([EVENTS, WHOLE]))
def test_no_bytes_are_too_strange(pieces: list[bytes], kind: tuple[str, str]):
    read(*pieces, headers=(kind,))
