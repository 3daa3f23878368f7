"""What a sign-in program prints, read; and how signing in looks in a terminal."""

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import segno

from nanoclaw.cli.qr import qr_lines
from nanoclaw.providers import ProviderName
from nanoclaw.signin.codex_words import plain, read_failure, read_start
from nanoclaw.signin.programs import find_program, is_new_enough

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DEVICE = """
Welcome to Codex [v\x1b[90m0.163.0\x1b[0m]
\x1b[90mOpenAI's command-line coding agent\x1b[0m

Follow these steps to sign in with ChatGPT using device code authorization:

1. Open this link in your browser and sign in to your account
   \x1b[94mhttps://auth.openai.com/codex/device\x1b[0m

2. Enter this one-time code \x1b[90m(expires in 15 minutes)\x1b[0m
   \x1b[94mABCD-12345\x1b[0m

\x1b[90mContinue only if you started this login in Codex.\x1b[0m
"""
BROWSER = """\
Starting local login server on http://localhost:1455.
If your browser did not open, navigate to this URL to authenticate:

https://auth.openai.com/oauth/authorize?response_type=code&redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback
"""


def shown(text: str) -> str:
    return "".join(plain(line.encode()) + "\n" for line in text.splitlines())


def test_address_code_and_time_of_a_device_sign_in_are_read_once_all_are_there():
    lines = shown(DEVICE).splitlines()
    starts = [read_start("\n".join(lines[:count]), NOW, device=True) for count in range(len(lines) + 1)]
    assert [start is None for start in starts].index(False) == lines.index("   ABCD-12345") + 1
    started = starts[-1]
    assert started is not None
    assert started.url == "https://auth.openai.com/codex/device"
    assert started.code == "ABCD-12345"
    assert started.expires_at == NOW + timedelta(minutes=15)


def test_a_sign_in_in_the_browser_has_an_address_and_no_code():
    started = read_start(shown(BROWSER), NOW, device=False)
    assert started is not None
    assert started.url.startswith("https://auth.openai.com/oauth/authorize?response_type=code&redirect_uri=")
    assert started.code is None


def test_a_failure_is_told_in_words_for_people():
    unreachable = "Error logging in with device code: error sending request for url (https://auth.openai.com/x)"
    assert read_failure(unreachable).reason == "the sign-in service cannot be reached"
    over = f"{DEVICE}Error logging in with device code: device auth failed with status 400 Bad Request"
    assert "its time is over" in read_failure(over).reason
    assert "trouble of its own" in read_failure("… device auth failed with status 500 Internal Server Error").reason


def test_a_failure_that_is_not_known_is_told_in_codexs_own_words():
    failed = read_failure("hello\nError logging in: the moon is in the wrong place\n\n")
    assert failed.reason == "codex did not sign in: the moon is in the wrong place"
    assert read_failure("").reason == "codex did not sign in: codex said nothing"


def test_a_program_on_path_must_be_as_new_as_the_one_that_is_pinned():
    assert is_new_enough("codex", "codex-cli 99.0.0\n")
    assert not is_new_enough("codex", "codex-cli 0.1.0\n")
    assert not is_new_enough("codex", "no version at all\n")


@pytest.mark.anyio
@pytest.mark.parametrize("provider", ["claude", "codex"])
async def test_without_a_toolkit_the_programs_of_this_python_are_taken(
    provider: ProviderName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = await find_program(provider)
    assert found is not None
    assert found.is_relative_to(sys.prefix)
    assert found.name == provider


def test_a_qr_code_in_the_terminal_has_the_modules_that_it_must_have():
    address = "https://auth.openai.com/codex/device"
    lines = qr_lines(address, 80)
    blocks = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    rows: list[list[int]] = []
    for line in lines:
        assert line.startswith("\x1b[38;5;16;48;5;231m")  # black on white, on dark and on light terminals
        pairs = [blocks[character] for character in re.sub(r"\x1b\[[0-9;]*m", "", line)]
        rows += [[upper for upper, _ in pairs], [lower for _, lower in pairs]]
    wanted = [
        [int(module) for module in row] for row in segno.make(address, error="l", micro=False).matrix_iter(border=2)
    ]
    assert rows[: len(wanted)] == wanted
    assert all(not any(row) for row in rows[len(wanted) :])


def test_a_qr_code_that_does_not_fit_is_left_out():
    assert qr_lines("https://auth.openai.com/codex/device", 32) == []
    assert len(qr_lines("https://auth.openai.com/codex/device", 33)) == 17
