"""What answers and flags of the guide mean."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.cli.setup_flags import Flags, picked
from nanoclaw.cli.setup_person import build_share
from nanoclaw.config import Home
from nanoclaw.errors import UsageError
from nanoclaw.groups import check_folder
from nanoclaw.model import Jid
from nanoclaw.setup import other_groups
from nanoclaw.setup.chats import chat_with
from nanoclaw.setup.memory import Memory
from nanoclaw.setup.step import Chat
from nanoclaw.setup.talk import Option
from nanoclaw.setup.whatsapp import no_phone
from tests.unit.test_docs import commands

PROVIDERS = (Option(value="claude", text="Claude (Claude Code)"), Option(value="codex", text="OpenAI Codex"))
CHATS = [
    Chat(jid=Jid(f"{number}@g.us"), name=name) for number, name in enumerate(("Family", "Family 2", "Work", "7"), 1)
]


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("1", "claude"),
        ("2", "codex"),
        ("codex", "codex"),
        ("OPENAI", "codex"),
        (" 2 ", "codex"),
        ("claude code", "claude"),
    ],
)
def test_a_number_a_value_and_a_clear_part_of_the_text_mean_an_option(answer: str, meant: str) -> None:
    assert picked(answer, PROVIDERS) == meant


@pytest.mark.parametrize("answer", ["", "0", "3", "-1", "c", "both", "²", "1.0"])
def test_anything_else_means_none(answer: str) -> None:
    assert picked(answer, PROVIDERS) is None


def test_a_flag_that_cannot_be_is_refused_with_what_can() -> None:
    flags = Flags({"provider": "gemini", "phone": "me"})
    with pytest.raises(UsageError, match="--provider is 'gemini'") as refused:
        flags.given_choice("provider", PROVIDERS)
    assert "claude" in refused.value.hint
    with pytest.raises(UsageError, match="--phone is 'me'"):
        flags.given_text("phone", no_phone)
    assert flags.given_choice("engine", PROVIDERS) is None
    assert Flags({"provider": "CODEX"}).given_choice("provider", PROVIDERS) == "codex"
    for part in ("open", "2", "c"):
        with pytest.raises(UsageError):
            Flags({"provider": part}).given_choice("provider", PROVIDERS)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("none", []),
        ("1, 3", ["Family", "Work"]),
        ("family", ["Family"]),
        ("work,work,3", ["Work"]),
        ("2@g.us", ["Family 2"]),
        ("wo", ["Work"]),
        ("7", ["7"]),
    ],
)
def test_groups_are_meant_by_number_name_and_address(answer: str, names: list[str]) -> None:
    assert [chat.name for chat in other_groups.picked(answer, CHATS)] == names


@pytest.mark.parametrize(
    ("answer", "why"), [("fam", "more than one"), ("9", "no group"), ("1, nobody", "nobody means no")]
)
def test_what_means_no_group_or_several_is_told(answer: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        other_groups.picked(answer, CHATS)


def test_a_folder_has_the_groups_name_as_far_as_a_folder_can() -> None:
    assert other_groups.folder_for("Family & friends", ()) == "family-friends"
    assert other_groups.folder_for("Überraschung!", ()) == "uberraschung"
    assert other_groups.folder_for("家族", ()) == "group"
    assert other_groups.folder_for("Main", ("main", "main-2")) == "main-3"
    assert other_groups.folder_for("global", ()) == "global-2"


@given(st.text(), st.sets(st.text(max_size=3), max_size=3))
def test_every_name_makes_a_folder_that_can_be_and_is_free(name: str, taken: set[str]) -> None:
    folder = other_groups.folder_for(name, {*taken, "main"})
    assert check_folder(folder) == folder
    assert folder not in taken


def test_a_phone_number_makes_the_address_of_a_chat() -> None:
    assert chat_with("+49 151 123-45 678") == "4915112345678@s.whatsapp.net"
    assert no_phone("+49 (151) 1234567") == ""
    for wrong in ("", "12", "my number", "1" * 16, "+49 151 12345678 x"):
        assert no_phone(wrong)


def test_a_builds_own_count_is_how_far_it_has_come() -> None:
    assert build_share("STEP 1/12: FROM base") == 0.0
    assert build_share("STEP 7/12: RUN make") == 0.5
    for other in ("STEP 1: FROM x", "STEP x/y", "STEP 1/0: a", "Collecting codex", "", "#7 [3/9] RUN"):
        assert build_share(other) is None


def test_decisions_are_remembered_privately_and_a_broken_file_is_none(tmp_path: Path) -> None:
    home = Home(tmp_path)
    memory = Memory(home)
    assert memory.recall("service") is None
    memory.remember(service=False)
    memory.remember(groups="none")
    assert (memory.recall("service"), memory.recall("groups")) == (False, "none")
    path = home.run / "setup.json"
    assert path.stat().st_mode & 0o777 == 0o600
    for broken in ("[]", "{", "\x00"):
        path.write_text(broken, encoding="utf-8")
        assert memory.recall("service") is None


@pytest.mark.parametrize("name", [".claude/skills/setup/SKILL.md", "docs/howto/set-up.md"])
def test_what_people_and_agents_are_told_to_run_can_be_run(name: str) -> None:
    text = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    known = dict(commands())
    options = {option for each in known.values() for option in each}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= {*options, "--help"}
    for words in re.findall(r"nanoclaw ((?:[a-z]+ ?)+)", " | ".join(re.findall(r"`([^`\n]+)`", text))):
        path = f"nanoclaw {words.strip()}"
        assert any(path == each or path.startswith(f"{each} ") for each in known), path
