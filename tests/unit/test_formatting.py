"""What of an agent's text a chat is shown."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.formatting import printable, reply_text, shorten, split_text


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("hello", "hello"),
        (" hello\n", "hello"),
        ("<internal>thought</internal>hello", "hello"),
        ("a<internal>x</internal>b<INTERNAL>\ny\n</internal>c", "abc"),
        ("<internal>only</internal>", ""),
        ("said <internal>never closed", "said"),
        ("\x1b[31mred\x07", "[31mred"),
        ("one\r\ntwo\rthree\tfour", "one\ntwo\nthree\tfour"),
        ("half \ud800 pair", "half  pair"),
    ],
)
def test_reply_text(output: str, shown: str) -> None:
    assert reply_text(output) == shown


def test_control_sequences_of_a_terminal_do_not_survive() -> None:
    assert printable("\x9b2J") == "2J"
    assert printable("\x1b]0;title\x07") == "]0;title"


def test_shorten_makes_one_line() -> None:
    assert shorten("a\n  b", 10) == "a b"
    assert shorten("abcdef", 4) == "abc…"


def test_a_short_text_is_one_part() -> None:
    assert split_text("hello", 64) == ["hello"]
    assert split_text("x" * 64, 64) == ["x" * 64]


def test_a_text_is_cut_between_paragraphs_before_lines_and_words() -> None:
    paragraph = "one two three four five six"
    assert split_text(f"{paragraph}\n\n{paragraph} x\n{paragraph}", 80) == [paragraph, f"{paragraph} x\n{paragraph}"]
    assert split_text(f"{paragraph}\n{paragraph}\n{paragraph}", 64) == [f"{paragraph}\n{paragraph}", paragraph]
    assert split_text("word " * 15 + "end", 64) == [("word " * 12).strip(), "word word word end"]


def test_code_that_is_cut_through_is_closed_and_opened_again_in_its_language() -> None:
    code = "\n".join(f"    line = {number}" for number in range(10))
    parts = split_text(f"```python\n{code}\n```", 100)
    assert all(part.startswith("```python\n") and part.endswith("\n```") for part in parts)
    lines = [line for part in parts for line in part.splitlines() if not line.startswith("```")]
    assert lines == code.splitlines()


@pytest.mark.parametrize("character", ["👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "e\u0301", "🏴\U000e0067\U000e0062\U000e007f"])
def test_no_visible_character_is_cut(character: str) -> None:
    for shift in range(12):
        parts = split_text("x" * shift + character * 60, 64)
        assert len(parts) > 1
        assert all(part.strip("x") == character * part.count(character) for part in parts)


_LINE = st.text(st.sampled_from("abcxyzäé*_.,:-👍    "), min_size=1, max_size=60)
_CODE = st.lists(_LINE, min_size=1, max_size=6).map(lambda lines: "```py\n" + "\n".join(lines) + "\n```")
_TEXT = st.lists(_LINE | _CODE, min_size=1, max_size=20).flatmap(
    lambda blocks: st.sampled_from(["\n", "\n\n"]).map(lambda border: border.join(blocks))
)


@given(_TEXT, st.integers(64, 300))
def test_all_words_arrive_in_parts_of_the_right_size_with_whole_code(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert all(0 < len(part) <= limit for part in parts)
    assert all(part.count("```") % 2 == 0 for part in parts)
    assert words("\n".join(parts)) == words(text)


def words(text: str) -> list[str]:
    return re.sub(r"```(py\n)?", " ", text).split()


def test_no_fence_is_cut_in_two() -> None:
    for before in range(40, 70):
        parts = split_text("x" * before + "```" + "y" * 80 + "```", 64)
        assert not [part for part in parts if re.search("(?<!`)`{1,2}(?!`)", part)]


def test_code_that_nobody_closed_is_closed_within_the_limit() -> None:
    for length in range(50, 200):
        parts = split_text("```\n" + "ab " * length, 64)
        assert all(len(part) <= 64 and part.count("```") == 2 for part in parts)


@given(st.text(max_size=2000), st.integers(64, 300))
def test_of_any_text_nothing_is_lost_but_white_space(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert all(len(part) <= limit for part in parts)
    assert re.sub(r"[\s`]", "", "".join(parts)) == re.sub(r"[\s`]", "", text)


@given(st.text(st.sampled_from("`a \n"), max_size=400), st.integers(64, 100))
def test_fences_of_every_part_are_balanced_whatever_the_text(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert all(len(part) <= limit for part in parts)
    assert len(parts) == 1 or all(part.count("```") % 2 == 0 for part in parts)


def test_what_was_put_together_to_look_like_an_internal_part_stays_inside():
    assert reply_text("a <interna\x00l>secret") == "a"
    assert reply_text("a <inter<internal></internal>nal>secret") == "a"


def test_what_turns_a_text_around_is_left_out_and_what_languages_need_stays():
    assert printable("safe\u202egpj.exe\u2066x\u2069") == "safegpj.exex"
    assert printable("\u200f\u05d0\u200e \U0001f468\u200d\U0001f469") == "\u200f\u05d0\u200e \U0001f468\u200d\U0001f469"
