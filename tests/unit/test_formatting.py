"""What of an agent's text a chat is shown."""

import pytest

from nanoclaw.formatting import printable, reply_text, shorten


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
