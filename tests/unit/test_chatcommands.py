"""What is a command, and who may give it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.chatcommands import COMMANDS, ChatCommand, help_text, may_use, parse_command


@pytest.mark.parametrize("text", ["/status", "  /STATUS ", "@Andy /status", "@andy, /status", "@Andy: /status"])
def test_a_command_is_known_with_and_without_the_trigger(text: str) -> None:
    assert parse_command(text, "@Andy") == ChatCommand("status")


@pytest.mark.parametrize(
    "text",
    ["/", "/unknown", "status", "do /status", "/status now please", "//status", "@Andy1 /status", "/etc/passwd", ""],
)
def test_what_only_looks_like_one_goes_to_the_agent(text: str) -> None:
    assert parse_command(text, "@Andy") is None


def test_an_argument_is_checked_and_the_right_ones_are_named() -> None:
    assert parse_command("/provider Codex", "@Andy") == ChatCommand("provider", "codex")
    assert parse_command("/stop all", "@Andy") == ChatCommand("stop", "all")
    for text in ("/provider", "/provider gpt"):
        command = parse_command(text, "@Andy")
        assert command
        assert command.problem == "Write /provider claude or /provider codex."
    wrong = parse_command("/help me", "@Andy")
    assert wrong
    assert wrong.problem == "Write /help alone."


def test_settings_are_the_owners_and_strangers_are_not_answered() -> None:
    for name, entry in COMMANDS.items():
        command = ChatCommand(name)
        assert may_use(command, "owner")
        assert may_use(command, "member") is not entry.owner_only
        assert not may_use(command, "stranger")
    assert {name for name, entry in COMMANDS.items() if entry.owner_only} == {"provider", "level"}


def test_the_help_names_what_one_may_write_and_no_more() -> None:
    assert all(f"/{name}:" in help_text("owner") for name in COMMANDS)
    assert "/provider" not in help_text("member")
    assert "/why" in help_text("member")


@given(st.text())
def test_whatever_is_written_is_a_command_or_none(text: str) -> None:
    command = parse_command(text, "@Andy")
    assert command is None or command.name in COMMANDS
