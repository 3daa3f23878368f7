"""docs/reference/ is what the code says, and the index leads to every page."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.unit.generated import reference

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"


@pytest.mark.parametrize("path", reference.pages(), ids=lambda path: path.name)
def test_every_page_is_as_the_code_has_it(path: Path):
    assert path.read_text(encoding="utf-8") == reference.pages()[path], "run `make docs`"


def test_the_script_says_what_is_out_of_date():
    script = ROOT / "scripts" / "reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_stands_by_hand_stays():
    by_hand = reference.hand_written()
    assert "nobody is signed in to" in by_hand
    assert by_hand.strip() in reference.pages()[DOCS / "reference" / "errors.md"]


def test_a_sentence_is_listed_once_either_by_hand_or_from_the_code():
    rest = reference.pages()[DOCS / "reference" / "errors.md"].split(reference.END)[1]
    assert not [sentence for _, fragment, sentence, _ in reference.sentences() if fragment in reference.hand_written()
                and f"| `{sentence}` |" in rest]  # fmt: skip


def test_every_page_is_reached_from_the_index_which_fits_a_screen():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in re.findall(r"\]\(([^)]+)\)", index)}
    pages = {path.resolve() for path in DOCS.rglob("*.md")} - {DOCS / "README.md"}
    assert {page for page in pages if page not in linked and page.parent not in linked} == set()
    assert len(index.splitlines()) <= 50
