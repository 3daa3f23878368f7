"""From Markdown to what WhatsApp shows."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from nanoclaw.channels.whatsapp.formatting import formatted

PLAIN = st.text(alphabet="abc XYZ.,;:!?äß🙂\n", max_size=200)
MARKDOWN = st.text(alphabet="ab *_~`#[]()|>-+\\!\n1.0:/", max_size=200)


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("**bold** and *italic*", "*bold* and _italic_"),
        ("__bold__ and _italic_", "*bold* and _italic_"),
        ("***both***", "*_both_*"),
        ("**a *b* c**", "*a _b_ c*"),
        ("~~gone~~", "~gone~"),
        ("`x = **2**`", "`x = **2**`"),
        ("``a`b``", "`a`b`"),
        ("# Title", "*Title*"),
        ("### A **bold** title ###", "*A bold title*"),
        ("[docs](https://a.b/c)", "docs (https://a.b/c)"),
        ("[https://a.b](https://a.b)", "https://a.b"),
        ("[wiki](https://a.b/c_(d))", "wiki (https://a.b/c_(d))"),
        ("<https://a.b>", "https://a.b"),
        ("![a cat](cat.png)", "a cat (cat.png)"),
        ("see https://a.b/__init__.py", "see https://a.b/__init__.py"),
        ("* one\n+ two\n- three", "- one\n- two\n- three"),
        ("1. one\n   - two", "1. one\n   - two"),
        ("- [ ] open\n- [x] done", "☐ open\n☑ done"),
        ("> quoted **text**", "> quoted *text*"),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        ("2 * 3 * 4 and snake_case_name", "2 * 3 * 4 and snake_case_name"),
        (r"\*not italic\*", "*not italic*"),
        ("```python\n**x** [a](b)\n```", "```\n**x** [a](b)\n```"),
        ("~~~\ncode\n~~~", "```\ncode\n```"),
        ("````\n```\n````", "```\n```\n```"),
        ("```\nnever closed", "```\nnever closed\n```"),
        ("| A | B |\n|---|:-:|\n| x | y |\n| z | |", "- *x* — B: y\n- *z*"),
        ("| A |\n|---|", "- A"),
        ("a | b", "a | b"),
    ],
)
def test_markdown_becomes_what_whatsapp_shows(markdown: str, shown: str) -> None:
    assert formatted(markdown) == shown


@given(PLAIN)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert formatted(text) == text


@given(st.text(max_size=300) | MARKDOWN)
def test_no_text_is_too_odd(text: str) -> None:
    assert "\x00" not in formatted(text)


@given(st.text(alphabet="ab *_~[]()|#-\n", max_size=100))
def test_code_is_kept_to_the_letter(code: str) -> None:
    assert formatted(f"before\n```\n{code}\n```\nafter") == f"before\n```\n{code}\n```\nafter"


@given(MARKDOWN)
def test_no_word_is_lost(text: str) -> None:
    words = re.findall(r"[ab]+", "".join(line for line in text.split("\n") if not re.search(r"[|`~]", line)))
    shown = formatted("\n".join(line for line in text.split("\n") if not re.search(r"[|`~]", line)))
    assert "".join(re.findall(r"[ab]+", shown)) == "".join(words)
