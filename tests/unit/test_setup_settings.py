"""Changing one line of nanoclaw.toml."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.config import Home, Settings, load_settings
from nanoclaw.errors import ConfigError
from nanoclaw.initialise import initialise
from nanoclaw.setup.settings_file import change_settings, with_settings

FILE = """\
# mine
assistant_name = "Andy"  # a comment
# timezone = ""  # empty: the machine's

[sandbox]
# engine = "auto"  # or podman
memory = "4g"

[runs]
max_concurrent = 2
"""


def test_a_key_is_changed_where_it_stands() -> None:
    changed = with_settings(FILE, {"assistant_name": "Ada", "sandbox.memory": "1g"})
    assert changed == FILE.replace('"Andy"  # a comment', '"Ada"').replace('"4g"', '"1g"')


def test_the_comment_that_shows_a_default_makes_place() -> None:
    changed = with_settings(FILE, {"timezone": "Europe/Berlin", "sandbox.engine": "bubblewrap"})
    assert changed == FILE.replace('# timezone = ""  # empty: the machine\'s', 'timezone = "Europe/Berlin"').replace(
        '# engine = "auto"  # or podman', 'engine = "bubblewrap"'
    )


def test_a_key_that_is_not_there_comes_to_the_end_of_its_table() -> None:
    changed = with_settings(FILE, {"owners": ("4915112345678",), "sandbox.pids": 5, "whatsapp.enabled": True})
    assert tomllib.loads(changed) == {
        **tomllib.loads(FILE),
        "owners": ["4915112345678"],
        "sandbox": {"memory": "4g", "pids": 5},
        "whatsapp": {"enabled": True},
    }
    assert changed.startswith(FILE.split("\n\n")[0])
    assert 'memory = "4g"\npids = 5\n\n[runs]' in changed


def test_an_empty_file_gets_what_it_needs() -> None:
    assert with_settings("", {"timezone": "UTC", "page.port": 0}) == 'timezone = "UTC"\n\n[page]\nport = 0\n'


@given(st.text())
def test_any_text_comes_back_as_it_was(text: str) -> None:
    name = text.encode("utf-8", "ignore").decode()
    assert tomllib.loads(with_settings(FILE, {"assistant_name": name}))["assistant_name"] == name


@pytest.mark.parametrize(
    "text", ['sandbox = {memory = "1g"}\n', 'sandbox.memory = "1g"\n', 'a = """\n[sandbox]\n"""\n', "broken ="]
)
def test_what_cannot_be_changed_line_by_line_is_left_alone(text: str) -> None:
    with pytest.raises(ConfigError):
        with_settings(text, {"sandbox.engine": "podman"})


def test_a_fresh_home_can_be_set_in_every_way_that_the_guide_sets_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    initialise(home)
    change_settings(home, {"assistant_name": "Ada", "timezone": "Asia/Tokyo", "sandbox.engine": "bubblewrap"})
    change_settings(home, {"whatsapp.enabled": True, "whatsapp.shared_number": True, "owners": ("4915112345678",)})
    settings = load_settings(home)
    assert (settings.assistant_name, settings.timezone, settings.sandbox.engine) == ("Ada", "Asia/Tokyo", "bubblewrap")
    assert (settings.whatsapp.enabled, settings.whatsapp.shared_number) == (True, True)
    assert settings.owners == ("4915112345678",)
    assert settings.runs == Settings().runs
